"""Accepted messages: found by their id, recalled, and handed out again for admission."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.ids import home_day
from dispatcher.domain.journal import proven
from dispatcher.domain.message import Lane, Message
from dispatcher.domain.paths import Path
from dispatcher.ledger.accept import accept
from dispatcher.ledger.driver import Connection, Source, ask, ask_together
from dispatcher.ledger.journal import entries_of
from dispatcher.ports.messages import Acceptance, StoredHome, StoredMessage, Submission

#: What a journal entry says about places: their proof, the path it is credited to, and when.
ProvenIn = Callable[[bytes], Mapping[int, tuple[Proof, Path | None, Millis]]]

_MESSAGE = "m.home, m.place, m.idx, m.recipients, m.due, m.recalled_at, m.content, m.user_ids, m.device_ids"
_HOME = "day, home, app, lane, size, due, admitted"

#: Primary key of message_keys.
_KEY = "SELECT home, place FROM message_keys WHERE app = $1 AND message_id = $2"
#: Index deliveries_of_message: for ids whose key is gone.
_PLACE = "SELECT home, place FROM deliveries WHERE app = $1 AND message_id = $2 ORDER BY day DESC, place LIMIT 1"
#: Primary key of messages, read downwards: the message that covers a place begins at or below it.
_COVERING = f"""
SELECT {_MESSAGE}, h.admitted FROM messages m JOIN homes h ON h.day = m.day AND h.home = m.home
WHERE m.day = $1 AND m.home = $2 AND m.place <= $3 ORDER BY m.place DESC LIMIT 1
"""  # noqa: S608
_RECALL = """
UPDATE messages SET recalled_at = coalesce(recalled_at, $4) WHERE day = $1 AND home = $2 AND place = $3
"""
#: Primary key of deliveries. By dominance; who confirmed it stays.
_RECALL_ARCHIVED = """
UPDATE deliveries SET ended = $5 WHERE day = $1 AND home = $2 AND place >= $3 AND place < $4 AND ended < $5
"""
_CLEAR = """
INSERT INTO clearings (app, message_id, recalled_at, due) VALUES ($1, $2, $3, $3)
ON CONFLICT (app, message_id) DO UPDATE SET due = excluded.due, recalled_at = excluded.recalled_at, tries = 0
"""
_ADMITTED = "UPDATE homes SET admitted = true WHERE day = $1 AND home = ANY($2::bigint[]) AND NOT admitted"
#: Index homes_unadmitted.
_UNADMITTED = f"""
SELECT {_HOME} FROM homes
WHERE NOT admitted AND archived_at IS NULL AND due < $2 AND (accepted_at < $1 OR due > accepted_at)
ORDER BY due LIMIT $3
"""  # noqa: S608
#: Index homes_unadmitted.
_NEXT_DUE = """
SELECT min(due) FROM homes
WHERE NOT admitted AND archived_at IS NULL AND due > $1 AND due <= $2 AND due > accepted_at
"""
#: Index homes_unadmitted.
_SHARING = """
SELECT coalesce(sum(size), 0) FROM homes
WHERE NOT admitted AND archived_at IS NULL AND due >= $3 AND due < $4 AND app = $1 AND lane = $2
"""
#: Index homes_open.
_OPEN = f"""
SELECT {_HOME} FROM homes
WHERE archived_at IS NULL AND (admitted OR $4) AND home > $1 AND day >= $2 ORDER BY home LIMIT $3
"""  # noqa: S608
#: Primary keys of messages and deliveries.
_CONTENTS = f"""
SELECT {_MESSAGE} FROM messages m WHERE m.day = ANY($1::int[]) AND m.home = ANY($2::bigint[]) ORDER BY m.home, m.place
"""  # noqa: S608
_SETTLED = "SELECT home, place FROM deliveries WHERE day = ANY($1::int[]) AND home = ANY($2::bigint[])"

#: Primary key of erasures.
_ERASED = "SELECT app, user_id, at FROM erasures WHERE app = ANY($1::text[]) AND user_id = ANY($2::text[])"

_decode_message = msgspec.msgpack.Decoder(Message).decode
#: The recipients of a stored message, in the order of their places.
decode_users = msgspec.msgpack.Decoder(list[str]).decode
_decode_devices = msgspec.msgpack.Decoder(dict[str, list[str]]).decode


class SqlMessages:
    """:class:`dispatcher.ports.messages.Messages` on PostgreSQL. *proven_in* reads journal entries."""

    def __init__(self, engine: Source, *, proven_in: ProvenIn = proven) -> None:
        self._engine = engine
        self._proven_in = proven_in

    async def accept(self, submissions: Sequence[Submission], now: Millis) -> list[Acceptance | Exception]:
        """See the port."""
        return await accept(self._engine, submissions, now)

    async def mark_admitted(self, homes: Sequence[int]) -> None:
        """See the port."""
        by_day: dict[int, list[int]] = defaultdict(list)
        for home in sorted(homes):
            by_day[home_day(home)].append(home)

        async def work(connection: Connection) -> None:
            for day, members in by_day.items():
                await connection.execute(_ADMITTED, day, members)

        await ask(self._engine, work)

    async def unadmitted(self, before: Millis, *, due_before: Millis, limit: int) -> list[StoredHome]:
        """See the port; the longest due first."""

        async def work(connection: Connection) -> list[StoredHome]:
            return await self._load(connection, await connection.fetch(_UNADMITTED, before, due_before, limit))

        return await ask(self._engine, work)

    async def next_due(self, after: Millis, until: Millis) -> Millis | None:
        """See the port."""

        async def work(connection: Connection) -> Millis | None:
            due: Millis | None = await connection.fetchval(_NEXT_DUE, after, until)
            return due

        return await ask(self._engine, work)

    async def sharing(self, app: str, lane: Lane, since: Millis, until: Millis) -> int:
        """See the port."""

        async def work(connection: Connection) -> int:
            return int(await connection.fetchval(_SHARING, app, lane.value, since, until))

        return await ask(self._engine, work)

    async def open_homes(self, after: int, limit: int, *, unadmitted: bool = False) -> list[StoredHome]:
        """See the port."""

        async def work(connection: Connection) -> list[StoredHome]:
            return await self._load(
                connection, await connection.fetch(_OPEN, after, home_day(after), limit, unadmitted)
            )

        return await ask(self._engine, work)

    async def find(self, app: str, message_id: str) -> StoredMessage | None:
        """See the port; beyond the key's days, what is archived is still found."""

        async def work(connection: Connection) -> StoredMessage | None:
            return await _find(connection, app, message_id)

        return await ask(self._engine, work)

    async def recall(self, app: str, message_id: str, now: Millis) -> StoredMessage | None:
        """See the port; a second recall keeps the first one's time."""

        async def work(connection: Connection) -> StoredMessage | None:
            found = await _find(connection, app, message_id)
            if found is None:
                return None
            day, end = home_day(found.home), found.place + len(found.user_ids)
            await connection.execute(_RECALL, day, found.home, found.place, now)
            await connection.execute(_RECALL_ARCHIVED, day, found.home, found.place, end, End.RECALLED.value)
            await connection.execute(_CLEAR, app, message_id, now)
            return await _find(connection, app, message_id)

        return await ask_together(self._engine, work)

    async def _load(self, connection: Connection, homes: Sequence[Any]) -> list[StoredHome]:
        if not homes:
            return []
        ids = [row["home"] for row in homes]
        days = sorted({row["day"] for row in homes})
        admitted = {row["home"]: row["admitted"] for row in homes}
        messages: dict[int, list[StoredMessage]] = defaultdict(list)
        for row in await connection.fetch(_CONTENTS, days, ids):
            messages[row["home"]].append(_stored(row, admitted=admitted[row["home"]]))
        settled: dict[int, set[int]] = defaultdict(set)
        for row in await connection.fetch(_SETTLED, days, ids):
            settled[row["home"]].add(row["place"])
        erased = _erased(messages, await connection.fetch(_ERASED, *_recipients(messages)))
        proofs = self._proofs(await entries_of(connection, ids))
        return [
            StoredHome(
                home=row["home"],
                app=row["app"],
                lane=Lane(row["lane"]),
                size=row["size"],
                due=row["due"],
                messages=messages[row["home"]],
                settled=frozenset(settled[row["home"]]),
                erased=frozenset(erased.get(row["home"], ())),
                proven={
                    place: proof
                    for place, proof in proofs.get(row["home"], {}).items()
                    if place not in settled[row["home"]]
                },
            )
            for row in homes
        ]

    def _proofs(
        self, entries: Mapping[int, Sequence[bytes]]
    ) -> dict[int, dict[int, tuple[Proof, Path | None, Millis]]]:
        """The highest proof a place; of equal ones the first."""
        found: dict[int, dict[int, tuple[Proof, Path | None, Millis]]] = {}
        for home, of_home in entries.items():
            places = found.setdefault(home, {})
            for entry in of_home:
                for place, proof in self._proven_in(entry).items():
                    if place not in places or proof[0] > places[place][0]:
                        places[place] = proof
        return found


def _recipients(messages: Mapping[int, Sequence[StoredMessage]]) -> tuple[list[str], list[str]]:
    found = [message for of_home in messages.values() for message in of_home]
    return sorted({one.message.app for one in found}), sorted({user for one in found for user in one.user_ids})


def _erased(messages: Mapping[int, Sequence[StoredMessage]], rows: Sequence[Any]) -> dict[int, set[int]]:
    """Places whose user was erased after the message was accepted."""
    found: dict[int, set[int]] = defaultdict(set)
    gone = {(row["app"], row["user_id"]): row["at"] for row in rows}
    for home, of_home in messages.items() if gone else ():
        for one in of_home:
            for offset, user_id in enumerate(one.user_ids):
                if one.message.accepted_at <= gone.get((one.message.app, user_id), -1):
                    found[home].add(one.place + offset)
    return found


async def _find(connection: Connection, app: str, message_id: str) -> StoredMessage | None:
    row = await connection.fetchrow(_KEY, app, message_id)
    if row is None:
        row = await connection.fetchrow(_PLACE, app, message_id)
    if row is None:
        return None
    home, place = row
    found = await connection.fetchrow(_COVERING, home_day(home), home, place)
    return None if found is None else _stored(found, admitted=found["admitted"])


def _stored(row: Any, *, admitted: bool) -> StoredMessage:
    return StoredMessage(
        message=_decode_message(row["content"]),
        home=row["home"],
        place=row["place"],
        index=row["idx"],
        user_ids=decode_users(row["user_ids"]),
        device_ids=None if row["device_ids"] is None else _decode_devices(row["device_ids"]),
        due=row["due"],
        admitted=admitted,
        recalled=row["recalled_at"] is not None,
    )
