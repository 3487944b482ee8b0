"""Journal entries: what happened to a home's deliveries, in order, as opaque bytes."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import MINUTE
from dispatcher.domain.ids import home_day
from dispatcher.domain.journal import is_outcome, read_entry
from dispatcher.ledger.columns import as_integers, integers
from dispatcher.ledger.engine import Connection, ask
from dispatcher.ports.operations import OUTCOMES, Measure

_APPEND = f"""
INSERT INTO journal (day, home, seq, entry)
SELECT * FROM unnest({as_integers(1, "int")}, {as_integers(2)}, {as_integers(3)}, $4::bytea[])
ON CONFLICT DO NOTHING
"""  # noqa: S608
#: The same, and what was answered into the roll-ups: in the statement that stores an entry, so once.
_APPEND_AND_COUNT = f"""
WITH stored AS (
    INSERT INTO journal (day, home, seq, entry)
    SELECT * FROM unnest({as_integers(1, "int")}, {as_integers(2)}, {as_integers(3)}, $4::bytea[])
    ON CONFLICT DO NOTHING RETURNING day, home, seq
)
INSERT INTO rollup_deltas (app, at, kind, class, path, platform, strategy, version, name, n)
SELECT h.app, a.at, {Measure.OUTCOME.value}, '', a.path, '', '', 0, a.name, sum(a.n)
FROM unnest({as_integers(5)}, {as_integers(6)}, {as_integers(7)}, {as_integers(8, "smallint")},
    {as_integers(9, "smallint")}, {as_integers(10)}) AS a(home, seq, at, path, name, n)
JOIN stored USING (home, seq) JOIN homes h USING (day, home)
GROUP BY 1, 2, 5, 9
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

    columns = (days, integers(homes), integers(sequences), bodies)
    answers = [answer for home, sequence, entry in ordered for answer in _answers(home, sequence, entry)]

    async def work(connection: Connection) -> None:
        if answers:
            counted = [integers(column) for column in zip(*answers, strict=True)]
            await connection.execute(_APPEND_AND_COUNT, *columns, *counted)
        else:
            await connection.execute(_APPEND, *columns)

    await ask(engine, work)


def _answers(home: int, sequence: int, entry: bytes) -> Iterator[tuple[int, int, int, int, int, int]]:
    """(home, sequence, minute, path, outcome, how many) of an entry that tells what providers answered."""
    if not is_outcome(entry):
        return
    read = read_entry(entry)
    if read.path is None:
        return
    words = read.columns.get("outcome") or [read.shared.get("outcome")] * len(read.members)
    for word, count in Counter(words).items():
        if word in OUTCOMES:
            minute = read.at - read.at % MINUTE
            yield home, sequence, minute, read.path.code, OUTCOMES.index(word) + 1, count


async def entries_of(connection: Connection, homes: Sequence[int]) -> dict[int, list[bytes]]:
    """Entries by home, in order; homes without any are absent."""
    days = sorted({home_day(home) for home in homes})
    found: dict[int, list[bytes]] = defaultdict(list)
    for row in await connection.fetch(_ENTRIES, days, homes):
        found[row["home"]].append(row["entry"])
    return found
