"""What a rebuild after a lost hot store leans on: its lives are numbered here, and one process rebuilds at a time."""

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.ledger.engine import Connection, ask
from dispatcher.ledger.locks import try_lock

__all__ = ["current_epoch", "next_epoch", "try_lock"]

_CURRENT = "SELECT epoch FROM hot_epoch"
_NEXT = "UPDATE hot_epoch SET epoch = epoch + 1 RETURNING epoch"


async def current_epoch(engine: AsyncEngine) -> int:
    """The number of the hot store's latest life; 0 before the first."""

    async def work(connection: Connection) -> int:
        return int(await connection.fetchval(_CURRENT))

    return await ask(engine, work)


async def next_epoch(engine: AsyncEngine) -> int:
    """The number for a new life, never given twice; one whose answer was lost is skipped."""

    async def work(connection: Connection) -> int:
        return int(await connection.fetchval(_NEXT))

    return await ask(engine, work)
