"""Archiving: settled deliveries into the ledger, in columns."""

from collections.abc import Sequence

from msgspec.structs import replace

from dispatcher.domain.delivery import dominant
from dispatcher.domain.ids import home_created, home_day
from dispatcher.ledger.columns import as_integers, as_texts, integers, optional_integers, optional_texts, texts
from dispatcher.ledger.driver import Connection, Source, ask
from dispatcher.ports.messages import SettledDelivery

#: One statement, so one transaction. What is there keeps the dominant end, the highest proof, its first confirmation.
_ARCHIVE = f"""
WITH closed AS (
    UPDATE homes SET archived_at = $22
    WHERE day = ANY($23::int[]) AND home = ANY($24::bigint[]) AND archived_at IS NULL
)
INSERT INTO deliveries AS d (day, home, place, app, user_id, message_id, class, seq, ended, proof, confirmed_by,
    confirmed_at, accepted_at, settled_at, strategy, version, rule, platform, body, tracks, attempted)
SELECT * FROM unnest({as_integers(1, "int")}, {as_integers(2)}, {as_integers(3, "int")}, {as_texts(4)},
    array_replace({as_texts(5)}, NULL, ''),
    {as_texts(6)}, {as_texts(7)}, {as_integers(8)}, {as_integers(9, "smallint")}, {as_integers(10, "smallint")},
    {as_integers(11, "smallint")}, {as_integers(12)}, {as_integers(13)}, {as_integers(14)}, {as_texts(15)},
    {as_integers(16, "int")}, {as_texts(17)}, {as_texts(18)}, $19::bytea[], $20::bytea[],
    $21::text::boolean[])
ON CONFLICT (day, home, place) DO UPDATE SET
    ended = greatest(d.ended, excluded.ended),
    proof = greatest(d.proof, excluded.proof),
    confirmed_by = CASE WHEN d.confirmed_at IS NULL THEN excluded.confirmed_by ELSE d.confirmed_by END,
    confirmed_at = coalesce(d.confirmed_at, excluded.confirmed_at),
    tracks = excluded.tracks,
    attempted = coalesce(d.attempted, false) OR excluded.attempted
WHERE excluded.ended > d.ended OR excluded.proof > d.proof
    OR (d.confirmed_at IS NULL AND excluded.confirmed_at IS NOT NULL)
"""  # noqa: S608


async def archive(engine: Source, rows: Sequence[SettledDelivery], emptied: Sequence[int]) -> None:
    """See :meth:`dispatcher.ports.messages.Deliveries.archive`.

    Rows are written in the order of their addresses, so two archivers cannot deadlock. A home's ``archived_at`` is the
    latest settlement of the call, else its own birth: the moment is for people, whether it is set is what counts.
    """
    merged: dict[tuple[int, int], SettledDelivery] = {}
    for row in rows:
        address = (row.ref.home, row.ref.place)
        merged[address] = _merge(merged[address], row) if address in merged else row
    columns = _columns([merged[address] for address in sorted(merged)])
    homes = sorted(emptied)
    closed_at = max((row.settled_at for row in rows), default=max(map(home_created, homes), default=0))

    async def work(connection: Connection) -> None:
        await connection.execute(_ARCHIVE, *columns, closed_at, sorted({home_day(home) for home in homes}), homes)

    if merged or homes:
        await ask(engine, work)


def _columns(rows: Sequence[SettledDelivery]) -> list[object]:
    """$1 to $21 of the statement."""
    homes = [row.ref.home for row in rows]
    return [
        integers([home_day(home) for home in homes]),
        integers(homes),
        integers([row.ref.place for row in rows]),
        texts([row.app for row in rows]),
        optional_texts([row.user_id for row in rows]),  # nobody, where they were erased
        texts([row.message_id for row in rows]),
        texts([row.klass for row in rows]),
        integers([row.seq for row in rows]),
        integers([row.end.value for row in rows]),
        integers([row.proof.value for row in rows]),
        integers([0 if row.confirmed_by is None else row.confirmed_by.code for row in rows]),
        optional_integers([row.confirmed_at for row in rows]),
        integers([row.accepted_at for row in rows]),
        integers([row.settled_at for row in rows]),
        optional_texts([row.strategy for row in rows]),
        optional_integers([row.version for row in rows]),
        optional_texts([row.rule for row in rows]),
        optional_texts([row.platform for row in rows]),
        [row.body for row in rows],
        [row.tracks for row in rows],
        "{" + ",".join(["t" if row.attempted else "f" for row in rows]) + "}",
    ]


def _merge(one: SettledDelivery, other: SettledDelivery) -> SettledDelivery:
    first = one if one.confirmed_at is not None else other
    return replace(
        other,
        end=dominant(one.end, other.end),
        proof=max(one.proof, other.proof),
        confirmed_by=first.confirmed_by,
        confirmed_at=first.confirmed_at,
        settled_at=one.settled_at,
        attempted=one.attempted or other.attempted,
    )
