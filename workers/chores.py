"""Work that keeps the house, each piece under a lease, so that two beats do no harm."""

import logging
from collections.abc import Mapping
from functools import partial

from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import DAY, HOUR, MINUTE, SECOND, Millis
from dispatcher.domain.device import TokenState
from dispatcher.ledger.stale import IDLE, UNSEEN, end_tokens, unseen
from dispatcher.ledger.upkeep import Retention, upkeep
from dispatcher.pipeline.archive import archive_shard
from dispatcher.pipeline.audit import audit
from dispatcher.pipeline.clearing import clear_due
from dispatcher.pipeline.reconcile import rebuild_if_lost, reconcile
from dispatcher.pipeline.stale import end_unseen
from dispatcher.pipeline.teach import Budget
from dispatcher.pipeline.webhooks import Watch
from dispatcher.telemetry import CircuitState
from workers.figures import tidy_operators

#: For how long the archiver looks after users that were erased while something of theirs was in flight.
ERASED_LATELY: Millis = 30 * MINUTE

_log = logging.getLogger(__name__)


async def archive_turn(stores: Stores) -> None:
    """Moves journals and settled deliveries of all shards to the ledger."""
    async with stores.locks.hold("archive", 30 * SECOND) as lease:
        if lease is None:
            return
        lessons = Budget()
        erased = await stores.directory.erased_since(stores.clock() - ERASED_LATELY)
        watch = await watch_of(stores, erased)
        for shard in range(stores.hot.shards):
            await archive_shard(shard, stores.parts, stores.clock(), lessons, watch)
            if not await lease.renew():
                return
        if erased:  # what was in flight when they were erased is in the ledger by now
            await stores.directory.erase_again(stores.clock() - ERASED_LATELY)


async def watch_of(stores: Stores, erased: Mapping[tuple[str, str], Millis]) -> Watch | None:
    """Derives webhook events from what is archived; None where nobody wants any, which costs one query a turn."""
    subscriptions = await stores.webhooks.subscriptions()
    return Watch(stores.parts, stores.webhooks, subscriptions, erased) if subscriptions else None


async def clear_turn(stores: Stores) -> None:
    """Takes recalled notifications off screens, by clearing pushes."""
    async with stores.locks.hold("clear", 30 * SECOND) as lease:
        if lease is not None:
            await clear_due(stores.parts, stores.clearings, stores.clock())


async def remember_turn(stores: Stores) -> None:
    """Writes what was learned since the last turn to the ledger."""
    async with stores.locks.hold("remember", 5 * MINUTE) as lease:
        if lease is not None:
            await stores.parts.learning.archive(stores.clock())


async def reconcile_turn(stores: Stores) -> None:
    """Rebuilds a lost hot store; admits homes that it never got and scheduled ones that come due."""
    now = stores.clock()

    async def stamp(epoch: int) -> None:
        await stores.hot.client.set(stores.hot.key("epoch"), epoch)

    await rebuild_if_lost(stores.parts, stores.epochs, stamp, now)
    # also after a loss: what was admitted a moment before it, and not marked yet, is in no open home
    async with stores.locks.hold("reconcile", MINUTE) as lease:
        if lease is not None:
            await reconcile(stores.parts, now)


async def audit_turn(stores: Stores) -> None:
    """Compares open homes with waves and repairs partial loss."""
    async with stores.locks.hold("audit", 5 * MINUTE) as lease:
        if lease is not None:
            repaired = await audit(stores.parts, stores.hot.shards, stores.clock())
            if repaired:
                _log.warning("the audit repaired", extra={"count": repaired})


async def health_turn(stores: Stores) -> None:
    """Tells how paths fare: by their circuits and switches, and by their receipts."""
    async with stores.locks.hold("health", 30 * SECOND) as lease:
        if lease is not None:
            states = await stores.desk.circuits.tell_again(stores.clock())
            for (app, path), state in states.items():
                stores.metrics.circuit(path, app, CircuitState(state.value))
            await stores.desk.receipt_watch.turn(stores.clock())


#: How often all devices are looked through for those that nobody was heard of.
STALE_EVERY = 6 * HOUR


async def stale_turn(stores: Stores) -> int:
    """Ends the tokens of devices that nobody was heard of; how many."""
    total = 0
    turns = [*((path, TokenState.DEAD) for path in IDLE), *((path, TokenState.STALE) for path in UNSEEN)]
    for path, state in turns:
        after = ("", "")
        while found := await unseen(stores.engine, path, state, stores.clock(), after):
            total += await end_unseen(found, partial(end_tokens, stores.engine), stores.parts, stores.clock())
            after = (found[-1].app, found[-1].device_id)
    return total


async def upkeep_turn(stores: Stores) -> None:
    """Makes partitions ahead, drops those past retention, clears old keys; now and then ends stale tokens."""
    key = stores.hot.key("stale:looked")
    if await stores.hot.client.set(key, 1, nx=True, px=STALE_EVERY):
        _log.info("tokens of unseen devices ended", extra={"devices": await stale_turn(stores)})
    async with stores.locks.hold("upkeep", 5 * MINUTE) as lease:
        if lease is not None:
            days = max(stores.settings.retention_default // DAY, 1)
            kept = Retention(deliveries=days, messages=days, journal=min(days, 30), sms=days)
            report = await upkeep(stores.engine, stores.clock(), retention=kept)
            await tidy_operators(stores)
            _log.info("upkeep done", extra={"report": str(report)})
