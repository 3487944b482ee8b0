"""Settled deliveries: stored in bulk, raised by late proof, read as history."""

from collections.abc import Sequence
from typing import Any

from dispatcher.domain.clock import DAY, Millis, day_of
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.ids import DeliveryRef, home_day
from dispatcher.domain.paths import PATH_BY_CODE, Path
from dispatcher.ledger import journal
from dispatcher.ledger.archive import archive
from dispatcher.ledger.driver import Connection, Source, ask, ask_together
from dispatcher.ledger.messages import decode_users
from dispatcher.ports.messages import HistoryEntry, SettledDelivery

#: Beyond this a home is no number of ours: an id made up outside.
_LARGEST_HOME = 2**63 - 1

_ROW = """home, place, app, user_id, message_id, class, seq, ended, proof, confirmed_by, confirmed_at, accepted_at,
settled_at, strategy, version, rule, platform, body, tracks"""

_CLOSE = """
UPDATE homes SET archived_at = $3 WHERE day = $1 AND home = ANY($2::bigint[]) AND archived_at IS NULL
"""
#: Primary key of deliveries.
_STANDING = """
SELECT proof, ended FROM deliveries
WHERE day = $1 AND home = $2 AND place = $3 AND app = $4 AND user_id = $5 FOR UPDATE
"""
_LIFT = """
UPDATE deliveries SET proof = greatest(proof, $4), ended = greatest(ended, $5),
    confirmed_by = CASE WHEN confirmed_at IS NULL THEN $6 ELSE confirmed_by END,
    confirmed_at = coalesce(confirmed_at, $7)
WHERE day = $1 AND home = $2 AND place = $3
"""
#: Primary key of deliveries.
_OF_MESSAGE = f"""
SELECT {_ROW} FROM deliveries WHERE day = $1 AND home = $2 AND place >= $3 AND place < $4 ORDER BY place
"""  # noqa: S608
#: Index deliveries_of_user, in the days of the window only.
_HISTORY = """
SELECT seq, home, place, message_id, body FROM deliveries
WHERE app = $1 AND user_id = $2 AND seq < $3 AND day BETWEEN $4 AND $5 AND accepted_at >= $6 AND accepted_at < $7
    AND ended <> 5 -- recalled
ORDER BY seq DESC LIMIT $8
"""
#: Primary keys of message_keys, then of messages.
_KEYS = "SELECT message_id, home, place FROM message_keys WHERE app = $1 AND message_id = ANY($2::text[])"
_USERS = """
SELECT m.message_id, m.home, m.place, m.user_ids FROM messages m
JOIN unnest($2::bigint[], $3::int[]) AS at(home, place) ON m.home = at.home AND m.place = at.place
WHERE m.day = ANY($1::int[])
"""


class SqlDeliveries:
    """:class:`dispatcher.ports.messages.Deliveries` on PostgreSQL."""

    def __init__(self, engine: Source) -> None:
        self._engine = engine

    async def archive(self, rows: Sequence[SettledDelivery], emptied: Sequence[int]) -> None:
        """See the port; the homes close in the same transaction."""
        await archive(self._engine, rows, emptied)

    async def close_homes(self, homes: Sequence[int], now: Millis) -> None:
        """See the port."""
        by_day: dict[int, list[int]] = {}
        for home in sorted(homes):
            by_day.setdefault(home_day(home), []).append(home)

        async def work(connection: Connection) -> None:
            for day, members in by_day.items():
                await connection.execute(_CLOSE, day, members, now)

        await ask(self._engine, work)

    async def late_proof(
        self, ref: DeliveryRef, proof: Proof, by: Path | None, at: Millis, *, app: str, user_id: str
    ) -> tuple[bool, bool, bool]:
        """See the port; ``known`` is False for another user's delivery too."""
        if ref.home > _LARGEST_HOME:
            return False, False, False
        day = home_day(ref.home)

        async def work(connection: Connection) -> tuple[bool, bool, bool]:
            row = await connection.fetchrow(_STANDING, day, ref.home, ref.place, app, user_id)
            if row is None:
                return False, False, False
            if proof <= row["proof"]:
                return True, False, False
            code = 0 if by is None else by.code
            await connection.execute(_LIFT, day, ref.home, ref.place, proof, End.CONFIRMED, code, at)
            return True, True, row["ended"] < End.CONFIRMED

        return await ask_together(self._engine, work)

    async def of_message(self, home: int, place: int, count: int) -> list[SettledDelivery]:
        """See the port."""

        async def work(connection: Connection) -> list[SettledDelivery]:
            rows = await connection.fetch(_OF_MESSAGE, home_day(home), home, place, place + count)
            return [_delivery(row) for row in rows]

        return await ask(self._engine, work)

    async def history(
        self, app: str, user_id: str, *, before: int | None, after_time: Millis, before_time: Millis, limit: int
    ) -> list[HistoryEntry]:
        """See the port; *after_time* is inside the window, *before_time* is not."""
        # A home is born a moment before its messages are accepted, possibly the day before.
        first, last = day_of(after_time - DAY), day_of(before_time)
        seq = 2**63 - 1 if before is None else before

        async def work(connection: Connection) -> list[HistoryEntry]:
            rows = await connection.fetch(_HISTORY, app, user_id, seq, first, last, after_time, before_time, limit)
            return [
                HistoryEntry(seq=seq, ref=DeliveryRef(home, place), message_id=message_id, body=body)
                for seq, home, place, message_id, body in rows
            ]

        return await ask(self._engine, work)

    async def find_for_user(self, app: str, user_id: str, message_ids: Sequence[str]) -> dict[str, DeliveryRef]:
        """See the port; within the keys' days, archived or not."""

        async def work(connection: Connection) -> dict[str, DeliveryRef]:
            keys = await connection.fetch(_KEYS, app, list(dict.fromkeys(message_ids)))
            homes = [key["home"] for key in keys]
            days = sorted({home_day(home) for home in homes})
            rows = await connection.fetch(_USERS, days, homes, [key["place"] for key in keys]) if keys else []
            found = {}
            for message_id, home, place, packed in rows:
                users = decode_users(packed)
                if user_id in users:
                    found[message_id] = DeliveryRef(home, place + users.index(user_id))
            return found

        return await ask(self._engine, work)

    async def append_journal(self, entries: Sequence[tuple[int, int, bytes]]) -> None:
        """See the port."""
        await journal.append(self._engine, entries)

    async def journal(self, home: int) -> list[bytes]:
        """See the port."""

        return (await self.journals([home])).get(home, [])

    async def journals(self, homes: Sequence[int]) -> dict[int, list[bytes]]:
        """See the port."""

        async def work(connection: Connection) -> dict[int, list[bytes]]:
            return await journal.entries_of(connection, homes)

        return await ask(self._engine, work)


def _delivery(row: Any) -> SettledDelivery:
    return SettledDelivery(
        ref=DeliveryRef(row["home"], row["place"]),
        app=row["app"],
        user_id=row["user_id"],
        message_id=row["message_id"],
        klass=row["class"],
        seq=row["seq"],
        end=End(row["ended"]),
        proof=Proof(row["proof"]),
        confirmed_by=PATH_BY_CODE.get(row["confirmed_by"]),
        confirmed_at=row["confirmed_at"],
        accepted_at=row["accepted_at"],
        settled_at=row["settled_at"],
        strategy=row["strategy"],
        version=row["version"],
        rule=row["rule"],
        platform=row["platform"],
        body=row["body"],
        tracks=row["tracks"],
    )
