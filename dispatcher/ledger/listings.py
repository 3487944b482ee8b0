"""Pages of deliveries: archived ones from their index, a range for each class and end, merged; open ones by home."""

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY, Millis, day_of
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.ids import DeliveryRef, home_day
from dispatcher.domain.paths import PATH_BY_CODE
from dispatcher.ledger.engine import Connection, ask
from dispatcher.ledger.rollups import classes_of
from dispatcher.ports.operations import ListedDelivery, Wanted

_LARGEST = 2**63 - 1
_ROW = """home, place, user_id, message_id, class, ended, proof, confirmed_by, confirmed_at, accepted_at, settled_at,
strategy, version, rule, platform, tracks"""
#: Index deliveries_listing, one descent for each class and end in each partition of the days asked for.
_PAGE = f"""
SELECT found.* FROM unnest($2::text[]) AS wanted(class) CROSS JOIN unnest($3::smallint[]) AS asked(ended)
CROSS JOIN LATERAL (
    SELECT {_ROW} FROM deliveries d
    WHERE d.app = $1 AND d.class = wanted.class AND d.ended = asked.ended
        AND (d.home, d.place) < ($4::bigint, $5::int) AND d.day BETWEEN $6 AND $7
        AND d.accepted_at >= $8 AND d.accepted_at < $9
    ORDER BY d.home DESC, d.place DESC LIMIT $10
) AS found
ORDER BY found.home DESC, found.place DESC LIMIT $10
"""  # noqa: S608
#: Index deliveries_of_user.
_OF_USER = f"""
SELECT {_ROW} FROM deliveries d
WHERE d.app = $1 AND d.user_id = $2 AND (d.home, d.place) < ($3::bigint, $4::int) AND d.day BETWEEN $5 AND $6
    AND d.accepted_at >= $7 AND d.accepted_at < $8 AND ($9::text IS NULL OR d.class = $9)
    AND d.ended = ANY($10::smallint[])
    AND ($11::text IS NULL OR position($11 IN convert_from(d.tracks, 'UTF8')) > 0)
ORDER BY d.home DESC, d.place DESC LIMIT $12
"""  # noqa: S608
_FIRST_DAY = "SELECT min(day) FROM homes"
#: Index homes_open, backwards.
_OPEN_HOMES = """
SELECT home FROM homes WHERE archived_at IS NULL AND app = $1 AND home <= $2 AND home >= $3
ORDER BY home DESC LIMIT $4
"""
_decode_tracks = msgspec.json.Decoder(list[dict[str, Any]]).decode
_quoted = msgspec.json.Encoder().encode


class SqlListings:
    """:class:`dispatcher.ports.operations.Listings` on PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def settled(self, wanted: Wanted, before: DeliveryRef | None, limit: int) -> list[ListedDelivery]:
        """See the port. Looks at the newest days first, at more of them the longer it finds too little."""
        ends = [end.value for end in End if end is not End.OPEN and (wanted.ends is None or end in wanted.ends)]
        if not ends:
            return []
        start = before or DeliveryRef(_LARGEST, 0)
        since, until = wanted.since or 0, wanted.until if wanted.until is not None else _LARGEST

        async def work(connection: Connection) -> list[ListedDelivery]:
            first = await connection.fetchval(_FIRST_DAY)
            if first is None:
                return []
            # A home is born a moment before its messages are accepted, possibly the day before.
            lowest = max(first, day_of(since) - 1)
            highest = await connection.fetchval("SELECT max(day) FROM homes")
            highest = min(highest, home_day(start.home) if before else highest, _day(until, highest))
            if wanted.user_id is not None:
                device = None if wanted.device_id is None else _quoted(wanted.device_id).decode()
                rows = await connection.fetch(
                    _OF_USER, wanted.app, wanted.user_id, start.home, start.place, lowest, highest, since, until,
                    wanted.klass, ends, device, limit,
                )  # fmt: skip
                return [_listed(row) for row in rows]
            classes = [wanted.klass] if wanted.klass is not None else await classes_of(connection, wanted.app)
            rows = []
            for low, high in _spans(lowest, highest):
                rows += await connection.fetch(
                    _PAGE, wanted.app, classes, ends, start.home, start.place, low, high, since, until,
                    limit - len(rows),
                )  # fmt: skip
                if len(rows) >= limit:
                    break
            return [_listed(row) for row in rows]

        return await ask(self._engine, work)

    async def open_homes(self, app: str, before: int, since: int, limit: int) -> list[int]:
        """See the port."""

        async def work(connection: Connection) -> list[int]:
            rows = await connection.fetch(_OPEN_HOMES, app, min(before, _LARGEST), max(since, 0), limit)
            return [row["home"] for row in rows]

        return await ask(self._engine, work)


def _day(until: Millis, highest: int) -> int:
    return highest if until >= (highest + 1) * DAY else day_of(until)


def _spans(lowest: int, highest: int) -> Iterator[tuple[int, int]]:
    """Days from the newest on, in spans that grow threefold: the usual page looks at two partitions."""
    width = 2
    while highest >= lowest:
        yield max(lowest, highest - width + 1), highest
        highest -= width
        width *= 3


def _listed(row: Any) -> ListedDelivery:
    tracks = _decode_tracks(row["tracks"]) if row["tracks"] else []
    return ListedDelivery(
        ref=DeliveryRef(row["home"], row["place"]),
        user_id=row["user_id"],
        message_id=row["message_id"],
        klass=row["class"],
        state=End(row["ended"]).name.lower(),
        proof=Proof(row["proof"]),
        confirmed_by=PATH_BY_CODE.get(row["confirmed_by"]),
        confirmed_at=row["confirmed_at"],
        accepted_at=row["accepted_at"],
        settled_at=row["settled_at"],
        strategy=row["strategy"],
        version=row["version"],
        rule=row["rule"],
        platform=row["platform"],
        devices=[track["device_id"] for track in tracks if track.get("device_id")],
    )
