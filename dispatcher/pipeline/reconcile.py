"""Repairs: homes the hot store never got, scheduled ones that come due, and a whole hot store that was lost."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.pipeline.admit import admit_home
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.homes import Queue

BEHIND: Millis = 2 * SECOND
AHEAD: Millis = 2_500  #: what comes due before the next look is waited for, so that it is admitted on time
TURN: Millis = 20 * SECOND
LIMIT = 50
_log = logging.getLogger(__name__)


class Epochs(Protocol):
    """The hot store's lives, numbered by the ledger."""

    async def current(self) -> int:
        """The number of the life that the ledger knows."""

    async def next(self) -> int:
        """Begins a new one."""

    def rebuilding(self) -> AbstractAsyncContextManager[bool]:
        """True where this process is the only rebuilder now (advisory lock)."""


Stamp = Callable[[int], Awaitable[None]]
Sleep = Callable[[float], Awaitable[None]]  #: seconds


async def reconcile(parts: Parts, now: Millis, *, sleep: Sleep = asyncio.sleep) -> int:
    """Admits what the ledger has and the hot store has not; answers how many homes that were.

    A scheduled message is in nobody's inbox before its ``not_before``: what is due in a moment is waited for.
    """
    count, until = 0, now + TURN
    while homes := await parts.messages.unadmitted(now - BEHIND, due_before=now + AHEAD, limit=LIMIT):
        for stored in sorted(homes, key=lambda home: home.due):
            if (early := stored.due - parts.clock()) > 0:
                await sleep(early / SECOND)
            await admit_home(stored, parts, parts.clock())
            await parts.messages.mark_admitted([stored.home])
            await parts.hints([Queue("plan", stored.lane)])
        count += len(homes)
        now = parts.clock()
        if len(homes) < LIMIT or now > until:
            break
    return count


async def rebuild_if_lost(parts: Parts, epochs: Epochs, stamp: Stamp, now: Millis) -> bool:
    """Where the hot store's epoch key is gone, re-admits every unsettled message. True where it was lost.

    SMS steps hold for one grace afterwards; a first start is no loss.
    """
    if await parts.inboxes.epoch() != 0:
        return False
    async with epochs.rebuilding() as ours:
        if not ours or await parts.inboxes.epoch() != 0:
            return False
        first = await epochs.current() == 0
        if not first:
            await parts.hold.hold(now + parts.rules.grace_ms, "hot_store_lost")
        epoch = await epochs.next()
        count = after = 0
        while homes := await parts.messages.open_homes(after, LIMIT):
            for stored in homes:
                await admit_home(stored, parts, now)
            after = homes[-1].home
            count += len(homes)
        await stamp(epoch)
        if not first:
            _log.warning("hot store was lost; rebuilt from the ledger", extra={"homes": count, "epoch": epoch})
        return not first
