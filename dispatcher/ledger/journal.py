"""Journal entries: what happened to a home's deliveries, in order, as opaque bytes."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.ids import home_day
from dispatcher.ledger.engine import Connection, ask

_APPEND = """
INSERT INTO journal (day, home, seq, entry) SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bytea[])
ON CONFLICT DO NOTHING
"""
#: Primary key of journal.
_ENTRIES = """
SELECT home, entry FROM journal WHERE day = ANY($1::int[]) AND home = ANY($2::bigint[]) ORDER BY home, seq
"""


async def append(engine: AsyncEngine, entries: Sequence[tuple[int, int, bytes]]) -> None:
    """(home, sequence, entry) rows; one that is there stays as it is."""
    if not entries:
        return
    ordered = sorted(entries, key=lambda entry: entry[:2])
    homes, sequences, bodies = zip(*ordered, strict=True)

    async def work(connection: Connection) -> None:
        await connection.execute(_APPEND, [home_day(home) for home in homes], homes, sequences, bodies)

    await ask(engine, work)


async def entries_of(connection: Connection, homes: Sequence[int]) -> dict[int, list[bytes]]:
    """Entries by home, in order; homes without any are absent."""
    days = sorted({home_day(home) for home in homes})
    found: dict[int, list[bytes]] = defaultdict(list)
    for row in await connection.fetch(_ENTRIES, days, homes):
        found[row["home"]].append(row["entry"])
    return found
