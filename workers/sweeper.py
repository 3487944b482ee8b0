"""The sweep loop: short ticks under a lease, one process at a time."""

import asyncio
import logging

from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import SECOND, Millis
from dispatcher.ports.homes import Queue
from workers.drains import Drains

LEASE: Millis = 3 * SECOND
TURN: Millis = 20 * SECOND
TICK_S = 0.1
RENEW: Millis = SECOND
HINT_AGAIN: Millis = 250
_log = logging.getLogger(__name__)


async def sweep_turn(stores: Stores, drains: Drains) -> None:
    """Sweeps for one turn where nobody else does; Celery hints at the next one every second."""
    async with stores.locks.hold("sweep", LEASE) as lease:
        if lease is None:
            return
        until = renewed = stores.clock()
        until += TURN
        hinted: dict[Queue, Millis] = {}
        while not drains.stopping and (now := stores.clock()) < until:
            if now - renewed >= RENEW:
                if not await lease.renew():
                    return
                renewed = now
                await _watch_nodes(stores, now)
            wait = await _tick(stores, drains, hinted, now)
            await asyncio.sleep(wait)


async def _tick(stores: Stores, drains: Drains, hinted: dict[Queue, Millis], now: Millis) -> float:
    due, upcoming = await stores.parts.homes.next_due(now)
    more = False
    for queue, shards in due.items():
        if queue.name == "sweep":
            more |= await drains.sweep_once(queue, shards)
        elif now - hinted.get(queue, 0) >= HINT_AGAIN:
            hinted[queue] = now
            await drains.hint([queue])
    if more:
        return 0.0
    ahead = (upcoming - stores.clock()) / SECOND if upcoming is not None else TICK_S
    return min(max(ahead, 0.01), TICK_S)


async def _watch_nodes(stores: Stores, now: Millis) -> None:
    """A gateway that died took its phones' receipts with it: SMS steps hold for one grace (invariant 9)."""
    lapsed = await stores.parts.presences.take_lapsed_nodes(now)
    if lapsed:
        _log.warning("gateway nodes lapsed", extra={"nodes": lapsed})
        await stores.parts.hold.hold(now + stores.parts.rules.grace_ms, "gateway_lost")
