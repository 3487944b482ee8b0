"""The hot store's lives, numbered here, and the one process that rebuilds it after a loss."""

from contextlib import AbstractAsyncContextManager

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.ledger.engine import Connection, ask
from dispatcher.ledger.locks import try_lock

_CURRENT = "SELECT epoch FROM hot_epoch"
_NEXT = "UPDATE hot_epoch SET epoch = epoch + 1 RETURNING epoch"


class SqlEpochs:
    """Numbers lives and hands out the rebuilder's lock."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def current(self) -> int:
        """The number of the latest life; 0 before the first."""
        return await self._number(_CURRENT)

    async def next(self) -> int:
        """The number for a new life, never given twice; one whose answer was lost is skipped."""
        return await self._number(_NEXT)

    def rebuilding(self) -> AbstractAsyncContextManager[bool]:
        """True inside where this process is the only rebuilder, until the block ends or its connection does."""
        return try_lock(self._engine, "rebuild")

    async def _number(self, statement: str) -> int:
        async def work(connection: Connection) -> int:
            return int(await connection.fetchval(statement))

        return await ask(self._engine, work)
