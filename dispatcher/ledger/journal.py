"""Journal entries: what happened to a home's deliveries, in order, as opaque bytes."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from dispatcher.domain.clock import MINUTE
from dispatcher.domain.ids import home_day
from dispatcher.domain.journal import SORTS, is_outcome, read_entry
from dispatcher.ledger.columns import as_integers, as_texts, integers, optional_texts
from dispatcher.ledger.driver import Connection, Source, ask
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
SELECT h.app, a.at, {Measure.OUTCOME.value}, coalesce(a.class, ''), a.path, coalesce(a.platform, ''),
    coalesce(a.strategy, ''), a.version, a.name, sum(a.n)
FROM unnest({as_integers(5)}, {as_integers(6)}, {as_integers(7)}, {as_integers(8, "smallint")},
    {as_integers(9, "smallint")}, {as_integers(10)}, {as_integers(11, "int")}, {as_texts(12)}, {as_texts(13)},
    {as_texts(14)}) AS a(home, seq, at, path, name, n, version, class, platform, strategy)
JOIN stored USING (home, seq) JOIN homes h USING (day, home)
GROUP BY 1, 2, 4, 5, 6, 7, 8, 9
"""  # noqa: S608
#: Primary key of journal.
_ENTRIES = """
SELECT home, entry FROM journal WHERE day = ANY($1::int[]) AND home = ANY($2::bigint[]) ORDER BY home, seq
"""


#: Home, sequence, minute, path, outcome, how many; then version, class, platform and strategy.
_Answers = tuple[int, int, int, int, int, int, int, str, str, str]
#: Entries of before outcomes were told apart.
_UNTOLD = ("", "", "", 0)


async def append(engine: Source, entries: Sequence[tuple[int, int, bytes]]) -> None:
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
            *numbers, classes, platforms, strategies = zip(*answers, strict=True)
            counted = [integers(column) for column in numbers]
            named = [optional_texts(column) for column in (classes, platforms, strategies)]
            await connection.execute(_APPEND_AND_COUNT, *columns, *counted, *named)
        else:
            await connection.execute(_APPEND, *columns)

    await ask(engine, work)


def _answers(home: int, sequence: int, entry: bytes) -> Iterator[_Answers]:
    """What providers answered, of an entry that tells of it."""
    if not is_outcome(entry):
        return
    read = read_entry(entry)
    if read.path is None:
        return
    count = len(read.members)
    words = read.columns.get("outcome") or [read.shared.get("outcome")] * count
    sorts = read.shared.get(SORTS) or [_UNTOLD]
    which = read.columns.get(SORTS) or [0] * count
    minute = read.at - read.at % MINUTE
    for (word, sort), times in Counter(zip(words, which, strict=True)).items():
        if word in OUTCOMES:
            klass, platform, strategy, version = sorts[sort]
            number = OUTCOMES.index(word) + 1
            yield home, sequence, minute, read.path.code, number, times, version, klass, platform, strategy


async def entries_of(connection: Connection, homes: Sequence[int]) -> dict[int, list[bytes]]:
    """Entries by home, in order; homes without any are absent."""
    days = sorted({home_day(home) for home in homes})
    found: dict[int, list[bytes]] = defaultdict(list)
    for row in await connection.fetch(_ENTRIES, days, homes):
        found[row["home"]].append(row["entry"])
    return found
