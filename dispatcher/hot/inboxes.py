"""Inboxes on Redis or Valkey.

Keys under a user's tag: ``q`` ids by seq, ``p`` unproven, ``o`` unopened, ``on`` presence; ``b`` has bodies by id, ids
by ``m:`` and message id, and under ``#`` the last seq given. All lapse 8 or 9 days after the last append; the ledger
serves from then on.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Proof
from dispatcher.hot.presence import presence_value, read_presence
from dispatcher.hot.store import HotStore
from dispatcher.ports.inboxes import Catchup, CatchupAsk, InboxEntry

NEWEST_KEPT = 200
UNPROVEN_KEPT = 2_000
EXPIRY_S = 8 * 24 * 3600
_MESSAGE_ID = re.compile(rb'"message_id":("(?:[^"\\]|\\.)*")')


class RedisInboxes:
    """The port :class:`~dispatcher.ports.inboxes.Inboxes`."""

    def __init__(self, store: HotStore) -> None:
        self._store = store

    async def epoch(self) -> int:
        return int(await self._store.client.get(self._store.key("epoch")) or 0)

    async def append(self, app: str, entries: Sequence[tuple[str, str, bytes]], now: Millis) -> list[tuple[int, int]]:
        places: list[tuple[int, int]] = []
        for start in range(0, len(entries), 500):
            keys: dict[str, int] = {}
            args: list[Any] = [NEWEST_KEPT, UNPROVEN_KEPT, EXPIRY_S, now * 1000]
            for user_id, delivery_id, body in entries[start : start + 500]:
                index = keys.setdefault(user_id, len(keys) + 1)
                args += (index, delivery_id, _message_id(body), body)
            tags = [self._store.user(app, user_id) for user_id in keys]
            reply = await self._store.run("inbox_append", tags, args, state=False)
            numbers = iter(reply)
            places += [(int(seq), int(previous)) for seq, previous in zip(numbers, numbers, strict=True)]
        return places

    async def newest(self, app: str, user_id: str, *, before: int | None, limit: int) -> Sequence[InboxEntry]:
        tag = self._store.user(app, user_id)
        top = "+inf" if before is None else f"({before}"
        rows = await self._store.client.zrevrangebyscore(
            tag + "q", top, "-inf", start=0, num=limit, withscores=True, score_cast_func=_whole
        )
        if not rows:
            return []
        bodies = await self._store.client.hmget(tag + "b", [row[0] for row in rows])
        return [
            InboxEntry(seq=seq, delivery_id=delivery_id.decode(), body=body)
            for (delivery_id, seq), body in zip(rows, bodies, strict=True)
            if body is not None
        ]

    async def catch_up(
        self,
        app: str,
        user_id: str,
        *,
        device_id: str,
        session: str | None,
        after: int | None,
        limit: int,
        now: Millis,
        floor: int | None = None,
    ) -> Catchup:
        ask = CatchupAsk(
            app=app, user_id=user_id, device_id=device_id, session=session, after=after, limit=limit, floor=floor
        )
        return (await self.catch_up_many([ask], now))[0]

    async def catch_up_many(self, asks: Sequence[CatchupAsk], now: Millis) -> list[Catchup]:
        """In one round trip, or a few where there is much to read."""
        replies: list[Any] = []
        while len(replies) < len(asks):
            left = asks[len(replies) :]
            args: list[Any] = []
            for ask in left:
                line = "" if ask.line is None else presence_value(ask.line)
                args += (ask.device_id, ask.session or "", _text(ask.after), ask.limit, _text(ask.floor), line)
            tags = [self._store.user(ask.app, ask.user_id) for ask in left]
            replies += await self._store.run("inbox_catch_up", tags, args, state=False)
        epoch = await self.epoch() if asks else 0
        return [_catchup(ask.device_id, reply, epoch) for ask, reply in zip(asks, replies, strict=True)]

    async def mark(self, app: str, user_id: str, deliveries: Sequence[str], proof: Proof) -> None:
        await self.mark_many(app, [(user_id, proof, deliveries)])

    async def mark_many(self, app: str, marks: Sequence[tuple[str, Proof, Sequence[str]]]) -> None:
        """:meth:`mark` for many users in one round trip."""
        tags: dict[str, int] = {}
        args: list[Any] = []
        for user_id, proof, deliveries in marks:
            index = tags.setdefault(self._store.user(app, user_id), len(tags) + 1)
            for delivery_id in deliveries:
                args += (index, int(proof), delivery_id)
        if args:
            await self._store.run("inbox_mark", list(tags), args, state=False)

    async def remove(self, app: str, user_id: str, deliveries: Sequence[str]) -> None:
        if deliveries:
            await self._store.run("inbox_remove", [self._store.user(app, user_id)], list(deliveries), state=False)

    async def find(self, app: str, user_id: str, message_ids: Sequence[str]) -> dict[str, str]:
        if not message_ids:
            return {}
        found = await self._store.client.hmget(
            self._store.user(app, user_id) + "b", [f"m:{message}" for message in message_ids]
        )
        return {message: ref.decode() for message, ref in zip(message_ids, found, strict=True) if ref is not None}

    async def unread(self, app: str, user_id: str, since: Millis) -> int:
        key = self._store.user(app, user_id) + "o"
        return int(await self._store.client.zcount(key, since * 1000, "+inf"))

    async def forget_user(self, app: str, user_id: str) -> None:
        tag = self._store.user(app, user_id)
        await self._store.client.delete(*(tag + part for part in ("q", "p", "o", "b", "on", "prof")))


def _catchup(device_id: str, reply: list[Any], epoch: int) -> Catchup:
    last_seq, more, online, passed, before, revision = reply[:6]
    rows = iter(reply[6:])
    return Catchup(
        epoch=epoch,
        entries=[
            InboxEntry(seq=int(seq), delivery_id=delivery_id.decode(), body=body)
            for delivery_id, seq, body in zip(rows, rows, rows, strict=True)
        ],
        more=bool(more),
        passed=[delivery_id.decode() for delivery_id in passed],
        online=bool(online),
        last_seq=int(last_seq),
        replaced=read_presence(device_id, before) if before else None,
        revision=int(revision, 16) if revision else None,
    )


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _whole(score: Any) -> int:
    return int(float(score))


def _message_id(body: bytes) -> str:
    match = _MESSAGE_ID.match(body)
    return msgspec.json.decode(match[1], type=str) if match else ""
