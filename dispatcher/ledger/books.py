"""The ledger's side of the books: what was accepted and what of it is archived, by app and class (invariant 7)."""

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY, Millis, day_of
from dispatcher.ledger.engine import Connection, ask

#: Both sides in one statement, so from one snapshot. Sequential over the days asked for: a job's question, no door's.
_BOOKS = """
SELECT app, class, coalesce(accepted, 0)::bigint, coalesce(archived, 0)::bigint
FROM (SELECT app, class, sum(recipients) AS accepted FROM messages
      WHERE day >= $2 AND accepted_at <= $1 GROUP BY app, class) AS taken
FULL JOIN (SELECT app, class, count(*) AS archived FROM deliveries
      WHERE day >= $2 AND accepted_at <= $1 GROUP BY app, class) AS done USING (app, class)
ORDER BY app, class
"""


async def accepted_and_archived(
    engine: AsyncEngine, at: Millis, *, since: Millis | None = None
) -> dict[tuple[str, str], tuple[int, int]]:
    """Deliveries (accepted, archived) by (app, class), of messages accepted up to *at*; the difference must be open.

    *since*: leave out the days before that moment's; None: all that is kept.
    """
    first = 0 if since is None else day_of(since - DAY)

    async def work(connection: Connection) -> dict[tuple[str, str], tuple[int, int]]:
        rows = await connection.fetch(_BOOKS, at, first)
        return {(app, klass): (accepted, archived) for app, klass, accepted, archived in rows}

    return await ask(engine, work)


class SqlBooks:
    """The same for whoever holds no engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def accepted_and_archived(self, at: Millis) -> dict[tuple[str, str], tuple[int, int]]:
        """See :func:`accepted_and_archived`."""
        return await accepted_and_archived(self._engine, at)
