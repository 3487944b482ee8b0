"""Journal entries: what happened to a home's deliveries, in order, as opaque bytes."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.ids import home_day
from dispatcher.ledger.columns import as_integers, integers
from dispatcher.ledger.engine import Connection, ask

_APPEND = f"""
INSERT INTO journal (day, home, seq, entry)
SELECT * FROM unnest({as_integers(1, "int")}, {as_integers(2)}, {as_integers(3)}, $4::bytea[])
ON CONFLICT DO NOTHING
"""  # noqa: S608
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
    days = integers([home_day(home) for home in homes])

    async def work(connection: Connection) -> None:
        await connection.execute(_APPEND, days, integers(homes), integers(sequences), bodies)

    await ask(engine, work)


async def entries_of(connection: Connection, homes: Sequence[int]) -> dict[int, list[bytes]]:
    """Entries by home, in order; homes without any are absent."""
    days = sorted({home_day(home) for home in homes})
    found: dict[int, list[bytes]] = defaultdict(list)
    for row in await connection.fetch(_ENTRIES, days, homes):
        found[row["home"]].append(row["entry"])
    return found
