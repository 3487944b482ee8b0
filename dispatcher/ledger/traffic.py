"""Recorded traffic out of the ledger: homes carry their birth in their number, so a window is a range of keys."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import Millis, day_of
from dispatcher.domain.ids import home_day, make_home
from dispatcher.domain.message import Message
from dispatcher.ledger.engine import Connection, ask
from dispatcher.ledger.messages import decode_users
from dispatcher.ports.traffic import RecordedMessage

#: Primary key of homes, for both.
_SIZE = """
SELECT coalesce(sum(size), 0)::bigint FROM homes
WHERE day BETWEEN $1 AND $2 AND home >= $3 AND home < $4 AND app = $5
"""
_HOMES = """
SELECT home, size FROM homes
WHERE day BETWEEN $1 AND $2 AND home > $3 AND home < $4 AND app = $5 ORDER BY home LIMIT $6
"""
#: Primary key of messages.
_MESSAGES = """
SELECT home, place, content, user_ids FROM messages
WHERE day = ANY($1::int[]) AND home = ANY($2::bigint[]) ORDER BY home, place
"""
_decode = msgspec.msgpack.Decoder(Message).decode


class SqlTraffic:
    """:class:`dispatcher.ports.traffic.Traffic` on PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def size(self, app: str, since: Millis, until: Millis) -> int:
        """See the port."""
        window = (day_of(since), day_of(until), make_home(since, 0, 0), make_home(until, 0, 0), app)

        async def work(connection: Connection) -> int:
            return int(await connection.fetchval(_SIZE, *window))

        return await ask(self._engine, work)

    async def homes(
        self, app: str, since: Millis, until: Millis, *, after: int, limit: int
    ) -> Sequence[tuple[int, int]]:
        """See the port."""
        first = max(make_home(since, 0, 0) - 1, after)
        window = (day_of(since), day_of(until), first, make_home(until, 0, 0), app, limit)

        async def work(connection: Connection) -> list[tuple[int, int]]:
            return [(row["home"], row["size"]) for row in await connection.fetch(_HOMES, *window)]

        return await ask(self._engine, work)

    async def messages(self, homes: Sequence[int]) -> dict[int, list[RecordedMessage]]:
        """See the port."""
        days = sorted({home_day(home) for home in homes})

        async def work(connection: Connection) -> dict[int, list[RecordedMessage]]:
            found: dict[int, list[RecordedMessage]] = defaultdict(list)
            for home, place, content, users in await connection.fetch(_MESSAGES, days, list(homes)):
                found[home].append(RecordedMessage(place=place, message=_decode(content), user_ids=decode_users(users)))
            return found

        return await ask(self._engine, work)
