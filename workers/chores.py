"""Work that keeps the house, each piece under a lease, so that two beats do no harm."""

import logging

from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import MINUTE, SECOND
from dispatcher.ledger.upkeep import upkeep
from dispatcher.pipeline.archive import archive_shard
from dispatcher.pipeline.audit import audit
from dispatcher.pipeline.reconcile import rebuild_if_lost, reconcile
from dispatcher.pipeline.teach import Budget

_log = logging.getLogger(__name__)


async def archive_turn(stores: Stores) -> None:
    """Moves journals and settled deliveries of all shards to the ledger."""
    async with stores.locks.hold("archive", 30 * SECOND) as lease:
        if lease is None:
            return
        lessons = Budget()
        for shard in range(stores.hot.shards):
            await archive_shard(shard, stores.parts, stores.clock(), lessons)
            if not await lease.renew():
                return


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

    if await rebuild_if_lost(stores.parts, stores.epochs, stamp, now):
        return
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
            await stores.desk.circuits.tell_again(stores.clock())
            await stores.desk.receipt_watch.turn(stores.clock())


async def upkeep_turn(stores: Stores) -> None:
    """Makes partitions ahead, drops those past retention, clears old keys."""
    async with stores.locks.hold("upkeep", 5 * MINUTE) as lease:
        if lease is not None:
            report = await upkeep(stores.engine, stores.clock())
            _log.info("upkeep done", extra={"report": str(report)})
