"""What keeps figures, sessions and seals in order."""

import logging

from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import DAY, MINUTE
from dispatcher.ledger.blocks import forget_blocks
from dispatcher.ledger.operators import forget_sessions
from dispatcher.ledger.reseal import is_done
from dispatcher.ledger.rollups import fold, forget
from dispatcher.pipeline.kept_books import KeptBooks
from workers.resealing import reseal_all

_log = logging.getLogger(__name__)


async def figures_turn(stores: Stores) -> None:
    """Folds what was counted since the last turn. Counts the books once a minute, less often where that takes long."""
    async with stores.locks.hold("figures", 5 * MINUTE) as lease:
        if lease is None:
            return
        await fold(stores.engine)
        now = stores.clock()
        if now >= int(await stores.desk.shelf.get("books-due") or 0):
            books = KeptBooks(stores.books, stores.parts, stores.desk.shelf)
            for app in await stores.apps.apps():
                await books.count(app.app_id)
            took = stores.clock() - now
            await stores.desk.shelf.put("books-due", str(now + max(MINUTE, 30 * took)).encode(), DAY)


async def tidy_operators(stores: Stores) -> None:
    """Drops what ended; seals again what an earlier master secret sealed. Part of the upkeep."""
    now = stores.clock()
    await forget(stores.engine, now)
    await forget_sessions(stores.engine, now)
    await forget_blocks(stores.engine, now)
    if stores.settings.previous_secret_keys and not await is_done(stores.engine, stores.sealer.tag):
        for kind, tally in (await reseal_all(stores)).items():
            if tally.earlier:
                _log.warning("values were sealed again with the newest master secret", extra={"count": tally.earlier})
            if tally.broken:
                _log.error("no master secret opens these", extra={"kind": kind, "count": len(tally.broken)})
