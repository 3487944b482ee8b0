"""Repairs: homes the hot store never got, scheduled ones that come due, and a whole hot store that was lost."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Protocol

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.pipeline.admit import admit_home
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.release import Release
from dispatcher.ports.homes import Queue
from dispatcher.ports.messages import StoredHome

BEHIND: Millis = 2 * SECOND
AHEAD: Millis = 2_500  #: what comes due before the next look is waited for, so that it is admitted on time
TURN: Millis = 20 * SECOND
LIMIT = 200
SLOTS = 16  #: homes admitted at once
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

    A scheduled message is in nobody's inbox before its ``not_before``: what is due in a moment is waited for, and read
    once it is due, so that a recall until then counts. Where thousands share a minute they are spread over it.
    """
    count, until, release = 0, now + TURN, Release(parts)
    while now <= until:
        homes = await parts.messages.unadmitted(now - BEHIND, due_before=now + 1, limit=LIMIT)
        admitted = await _admit_all(homes, release, parts)
        count += len(admitted)
        now = max(now, parts.clock())
        if len(homes) < LIMIT:
            due = await parts.messages.next_due(now, now + AHEAD)
            if due is None:
                break
            await sleep((due - now) / SECOND)
            now = max(due, parts.clock())
        elif not admitted:
            break
    return count


async def _admit_all(homes: Sequence[StoredHome], release: Release, parts: Parts) -> list[StoredHome]:
    """Several at once; one that fails is left for the next turn."""
    slots = asyncio.Semaphore(SLOTS)
    moments = [await release.moment(stored, parts.clock()) for stored in homes]  # in order: a crowd is counted once

    async def admit(stored: StoredHome, due: Millis) -> None:
        async with slots:
            await admit_home(replace(stored, due=due), parts, parts.clock())

    admissions = map(admit, homes, moments)
    results = await asyncio.gather(*admissions, return_exceptions=True)
    admitted = []
    for stored, result in zip(homes, results, strict=True):
        if result is None:
            admitted.append(stored)
        elif not isinstance(result, Exception) or len(homes) == 1:
            raise result
        else:
            _log.error("a home could not be admitted", extra={"home": f"{stored.home:016x}"}, exc_info=result)
    if admitted:
        await parts.hints(sorted({Queue("plan", stored.lane) for stored in admitted}, key=str))
        await parts.messages.mark_admitted([stored.home for stored in admitted])
    return admitted


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
