"""The ledger's side of the books: what was accepted and what of it is archived, by app and class (invariant 7)."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY, Millis, day_of
from dispatcher.ledger.engine import Connection, ask

#: Both sides in one statement, so from one snapshot. Sequential over the days asked for: a job's question, no door's.
_BOOKS = """
SELECT app, class, coalesce(accepted, 0)::bigint AS accepted, coalesce(archived, 0)::bigint AS archived,
    coalesce(settled, 0)::bigint AS settled
FROM (SELECT app, class, sum(recipients) AS accepted FROM messages
      WHERE day >= $2 AND accepted_at <= $1 GROUP BY app, class) AS taken
FULL JOIN (SELECT app, class, count(*) AS archived, count(*) FILTER (WHERE settled_at <= $1) AS settled FROM deliveries
      WHERE day >= $2 AND accepted_at <= $1 GROUP BY app, class) AS done USING (app, class)
ORDER BY app, class
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Deliveries accepted up to the cut: all, those archived by now, and those settled by the cut."""

    accepted: int
    archived: int
    settled: int


async def accepted_and_archived(
    engine: AsyncEngine, at: Millis, *, since: Millis | None = None
) -> dict[tuple[str, str], Count]:
    """Counts by (app, class) of what was accepted up to *at*; ``accepted - archived`` is what must be open.

    *since*: leave out the days before that moment's; None: all that is kept.
    """
    first = 0 if since is None else day_of(since - DAY)

    async def work(connection: Connection) -> dict[tuple[str, str], Count]:
        return {
            (app, klass): Count(accepted=accepted, archived=archived, settled=settled)
            for app, klass, accepted, archived, settled in await connection.fetch(_BOOKS, at, first)
        }

    return await ask(engine, work)
