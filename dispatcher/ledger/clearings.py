"""Clearing pushes that are to be sent; rows come with recalls (see messages.py)."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import Millis
from dispatcher.ledger.engine import Connection, ask
from dispatcher.ports.clearings import Clearing

#: Index clearings_due.
_DUE = """
SELECT app, message_id, recalled_at, tries, cleared FROM clearings WHERE due <= $1 ORDER BY due, message_id LIMIT $2
"""
_AGAIN = """
UPDATE clearings SET tries = tries + 1, cleared = $3, due = $4 WHERE app = $1 AND message_id = $2
"""
_DONE = "DELETE FROM clearings WHERE app = $1 AND message_id = $2 AND recalled_at = $3"


class SqlClearings:
    """:class:`dispatcher.ports.clearings.Clearings` on PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def due(self, now: Millis, limit: int) -> list[Clearing]:
        """See the port."""

        async def work(connection: Connection) -> list[Clearing]:
            return [
                Clearing(
                    app=row["app"],
                    message_id=row["message_id"],
                    recalled_at=row["recalled_at"],
                    tries=row["tries"],
                    cleared=frozenset(row["cleared"]),
                )
                for row in await connection.fetch(_DUE, now, limit)
            ]

        return await ask(self._engine, work)

    async def again(self, clearing: Clearing, cleared: Sequence[str], due: Millis) -> None:
        """See the port."""
        await self._write(_AGAIN, clearing.app, clearing.message_id, sorted(cleared), due)

    async def done(self, clearing: Clearing) -> None:
        """See the port."""
        await self._write(_DONE, clearing.app, clearing.message_id, clearing.recalled_at)

    async def _write(self, statement: str, *values: object) -> None:
        async def work(connection: Connection) -> None:
            await connection.execute(statement, *values)

        await ask(self._engine, work)
