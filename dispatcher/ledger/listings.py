"""Pages of deliveries: archived ones from their index, a range for each class and end, merged; open ones by home."""

import asyncio
from collections.abc import Collection, Iterator
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY, MINUTE, Millis
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.ids import DeliveryRef, home_created, home_day, make_home
from dispatcher.domain.paths import PATH_BY_CODE
from dispatcher.ledger.engine import Connection, ask
from dispatcher.ledger.messages import decode_users
from dispatcher.ledger.rollups import classes_of
from dispatcher.ports.operations import ListedDelivery, OpenMessage, Wanted

#: After so long a page ends early and says where to go on: what is asked for is rare.
PATIENCE_S = 0.1
_LARGEST, _PLACES = 2**63 - 1, 2**16
_SINCE = home_created(0)  #: before it no home was born
_FAR: Millis = _SINCE + 2**40  #: the last moment that a home's number can tell
_ROW = """home, place, user_id, message_id, class, ended, proof, confirmed_by, confirmed_at, accepted_at, settled_at,
strategy, version, rule, platform, tracks"""
#: Index deliveries_listing, one descent for each class and end in each partition of the days asked for.
_PAGE = f"""
SELECT found.* FROM unnest($2::text[]) AS wanted(class) CROSS JOIN unnest($3::smallint[]) AS asked(ended)
CROSS JOIN LATERAL (
    SELECT {_ROW} FROM deliveries d
    WHERE d.app = $1 AND d.class = wanted.class AND d.ended = asked.ended
        AND (d.home, d.place) < ($4::bigint, $5::int) AND d.home >= $6 AND d.day BETWEEN $7 AND $8
        AND d.accepted_at >= $9 AND d.accepted_at < $10
    ORDER BY d.home DESC, d.place DESC LIMIT $11
) AS found
ORDER BY found.home DESC, found.place DESC LIMIT $11
"""  # noqa: S608
#: Index deliveries_of_user.
_OF_USER = f"""
SELECT {_ROW} FROM deliveries d
WHERE d.app = $1 AND d.user_id = $2 AND ($3::text IS NULL OR d.class = $3) AND d.ended = ANY($4::smallint[])
    AND ($5::text IS NULL OR position($5 IN convert_from(d.tracks, 'UTF8')) > 0)
    AND (d.home, d.place) < ($6::bigint, $7::int) AND d.home >= $8 AND d.day BETWEEN $9 AND $10
    AND d.accepted_at >= $11 AND d.accepted_at < $12
ORDER BY d.home DESC, d.place DESC LIMIT $13
"""  # noqa: S608
_DAYS = "SELECT min(day), max(day) FROM homes"
#: Index homes_open, backwards.
_OPEN_HOMES = """
SELECT day, home, admitted FROM homes
WHERE archived_at IS NULL AND app = $1 AND home <= $2 AND home >= $3 AND day BETWEEN $4 AND $5
ORDER BY home DESC LIMIT $6
"""
#: Primary key of messages. A user's id is looked for as it stands packed; who is really meant is seen once unpacked.
_OPEN_MESSAGES = """
SELECT home, place, message_id, class, accepted_at, due, recalled_at, user_ids FROM messages
WHERE day = ANY($1::int[]) AND home = ANY($2::bigint[]) AND accepted_at >= $3 AND accepted_at < $4
    AND ($5::text IS NULL OR class = $5) AND ($6::bytea IS NULL OR position($6 IN user_ids) > 0)
ORDER BY home DESC, place DESC
"""
#: Primary key of deliveries.
_ARCHIVED = "SELECT home, place FROM deliveries WHERE day = ANY($1::int[]) AND home = ANY($2::bigint[])"
_decode_tracks = msgspec.json.Decoder(list[dict[str, Any]]).decode
_quoted = msgspec.json.Encoder().encode
_packed = msgspec.msgpack.Encoder().encode


class SqlListings:
    """:class:`dispatcher.ports.operations.Listings` on PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def settled(
        self, wanted: Wanted, before: DeliveryRef | None, limit: int
    ) -> tuple[list[ListedDelivery], DeliveryRef | None]:
        """See the port. Looks at the newest days first, at more of them the longer it finds too little."""
        ends = [end.value for end in End if end is not End.OPEN and (wanted.ends is None or end in wanted.ends)]
        if not ends:
            return [], None
        since, until = wanted.since or 0, wanted.until if wanted.until is not None else _LARGEST
        lowest_home, highest_home = _homes_between(since, until)
        start = before or DeliveryRef(_LARGEST, 0)
        start = min(start, DeliveryRef(highest_home, _PLACES), key=lambda ref: (ref.home, ref.place))
        clock = asyncio.get_running_loop().time
        enough = clock() + PATIENCE_S

        async def work(connection: Connection) -> tuple[list[ListedDelivery], DeliveryRef | None]:
            first, last = await connection.fetchrow(_DAYS)
            if first is None:
                return [], None
            lowest, highest = max(first, home_day(lowest_home)), min(last, home_day(start.home))
            query, asked = await self._query(connection, wanted, ends)
            rows: list[Any] = []
            for low, high in _spans(lowest, highest):
                bounds = (start.home, start.place, lowest_home, low, high, since, until, limit - len(rows))
                rows += await connection.fetch(query, *asked, *bounds)
                if len(rows) >= limit:
                    break
                if low > lowest and clock() > enough:
                    return [_listed(row) for row in rows], DeliveryRef(make_home(low * DAY, 0, 0), 0)
            return [_listed(row) for row in rows], None

        return await ask(self._engine, work)

    async def _query(self, connection: Connection, wanted: Wanted, ends: list[int]) -> tuple[str, list[Any]]:
        """Which one answers, and its first three to five arguments."""
        if wanted.user_id is None:
            classes = [wanted.klass] if wanted.klass is not None else await classes_of(connection, wanted.app)
            return _PAGE, [wanted.app, classes, ends]
        device = None if wanted.device_id is None else _quoted(wanted.device_id).decode()
        return _OF_USER, [wanted.app, wanted.user_id, wanted.klass, ends, device]

    async def open_messages(
        self, wanted: Wanted, before: DeliveryRef, homes: int
    ) -> tuple[list[OpenMessage], int | None]:
        """See the port."""
        since, until = wanted.since or 0, wanted.until if wanted.until is not None else _LARGEST
        lowest, highest = _homes_between(since, until)
        highest = min(highest, before.home)
        user = None if wanted.user_id is None else _packed(wanted.user_id)

        async def work(connection: Connection) -> tuple[list[OpenMessage], int | None]:
            found = await connection.fetch(
                _OPEN_HOMES, wanted.app, highest, lowest, home_day(lowest), home_day(highest), homes + 1
            )
            more, found = len(found) > homes, found[:homes]
            if not found:
                return [], None
            admitted = {row["home"]: row["admitted"] for row in found}
            where = (sorted({row["day"] for row in found}), list(admitted))
            archived = {tuple(row) for row in await connection.fetch(_ARCHIVED, *where)}
            rows = await connection.fetch(_OPEN_MESSAGES, *where, since, until, wanted.klass, user)
            messages = [_open(row, admitted[row["home"]], wanted.user_id, before, archived) for row in rows]
            return [one for one in messages if one.places], found[-1]["home"] if more else None

        return await ask(self._engine, work)


def _open(
    row: Any, admitted: bool, user_id: str | None, before: DeliveryRef, archived: Collection[tuple[int, int]]
) -> OpenMessage:
    home, first = row["home"], row["place"]
    return OpenMessage(
        home=home,
        message_id=row["message_id"],
        klass=row["class"],
        accepted_at=row["accepted_at"],
        due=row["due"],
        admitted=admitted,
        recalled=row["recalled_at"] is not None,
        places={
            place: user
            for place, user in enumerate(decode_users(row["user_ids"]), first)
            if user_id in {None, user} and (home, place) < (before.home, before.place) and (home, place) not in archived
        },
    )


def _homes_between(since: Millis, until: Millis) -> tuple[int, int]:
    """A home is born in the moment in which its messages are accepted; clocks may be a little apart."""
    lowest = make_home(max(since - MINUTE, _SINCE), 0, 0)
    return lowest, _LARGEST if until >= _FAR else make_home(max(until + MINUTE, _SINCE), 0, 0)


def _spans(lowest: int, highest: int) -> Iterator[tuple[int, int]]:
    """Days from the newest on, in spans that double: the usual page looks at two partitions."""
    width = 2
    while highest >= lowest:
        yield max(lowest, highest - width + 1), highest
        highest -= width
        width *= 2


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
