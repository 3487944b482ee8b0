"""Archiving: settled deliveries into the ledger, in columns."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.delivery import dominant
from dispatcher.domain.ids import home_created, home_day
from dispatcher.ledger.engine import Connection, ask
from dispatcher.ports.messages import SettledDelivery

#: One statement, so one transaction. What is there keeps the dominant end, the highest proof, its first confirmation.
_ARCHIVE = """
WITH closed AS (
    UPDATE homes SET archived_at = $21
    WHERE day = ANY($22::int[]) AND home = ANY($23::bigint[]) AND archived_at IS NULL
)
INSERT INTO deliveries AS d (day, home, place, app, user_id, message_id, class, seq, ended, proof, confirmed_by,
    confirmed_at, accepted_at, settled_at, strategy, version, rule, platform, body, tracks)
SELECT * FROM unnest($1::int[], $2::bigint[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[],
    $9::smallint[], $10::smallint[], $11::smallint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::text[],
    $16::int[], $17::text[], $18::text[], $19::bytea[], $20::bytea[])
ON CONFLICT (day, home, place) DO UPDATE SET
    ended = greatest(d.ended, excluded.ended),
    proof = greatest(d.proof, excluded.proof),
    confirmed_by = CASE WHEN d.confirmed_at IS NULL THEN excluded.confirmed_by ELSE d.confirmed_by END,
    confirmed_at = coalesce(d.confirmed_at, excluded.confirmed_at),
    tracks = excluded.tracks
WHERE excluded.ended > d.ended OR excluded.proof > d.proof
    OR (d.confirmed_at IS NULL AND excluded.confirmed_at IS NOT NULL)
"""


async def archive(engine: AsyncEngine, rows: Sequence[SettledDelivery], emptied: Sequence[int]) -> None:
    """See :meth:`dispatcher.ports.messages.Deliveries.archive`.

    Rows are written in the order of their addresses, so two archivers cannot deadlock. A home's ``archived_at`` is the
    latest settlement of the call, else its own birth: the moment is for people, whether it is set is what counts.
    """
    merged: dict[tuple[int, int], SettledDelivery] = {}
    for row in rows:
        address = (row.ref.home, row.ref.place)
        merged[address] = _merge(merged[address], row) if address in merged else row
    columns = list(zip(*(_columns(merged[address]) for address in sorted(merged)), strict=True)) or [()] * 20
    homes = sorted(emptied)
    closed_at = max((row.settled_at for row in rows), default=max(map(home_created, homes), default=0))

    async def work(connection: Connection) -> None:
        await connection.execute(_ARCHIVE, *columns, closed_at, sorted({home_day(home) for home in homes}), homes)

    if merged or homes:
        await ask(engine, work)


def _columns(row: SettledDelivery) -> tuple[object, ...]:
    home = row.ref.home
    return (
        home_day(home),
        home,
        row.ref.place,
        row.app,
        row.user_id,
        row.message_id,
        row.klass,
        row.seq,
        row.end,
        row.proof,
        0 if row.confirmed_by is None else row.confirmed_by.code,
        row.confirmed_at,
        row.accepted_at,
        row.settled_at,
        row.strategy,
        row.version,
        row.rule,
        row.platform,
        row.body,
        row.tracks,
    )


def _merge(one: SettledDelivery, other: SettledDelivery) -> SettledDelivery:
    first = one if one.confirmed_at is not None else other
    return replace(
        other,
        end=dominant(one.end, other.end),
        proof=max(one.proof, other.proof),
        confirmed_by=first.confirmed_by,
        confirmed_at=first.confirmed_at,
        settled_at=one.settled_at,
    )
