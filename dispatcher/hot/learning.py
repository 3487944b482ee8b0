"""Learned histories kept hot.

Keys: ``{u:<app>:<user>}:learn`` one value a user, all devices in it, lapsing after days without use; a hash
``learn:segments:<app>``; a set ``learn:taught`` of what the ledger does not know yet. Memory is bounded by
:data:`DEVICES_KEPT` a user, :data:`SEGMENTS_KEPT` an app, and by the lapse; the ledger has what lapsed.
"""

from collections import defaultdict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.paths import Path
from dispatcher.hot.store import HotStore
from dispatcher.ports.learning import Lesson, SegmentRates, UserRates
from strategies import learn
from strategies.learn import EMPTY, Learned, Rates

EXPIRY_S = 3 * 24 * 3600
#: A user of whom nothing is known is asked of the ledger again after so long.
NOTHING_EXPIRY_S = 3600
DEVICES_KEPT = 8
SEGMENTS_KEPT = 2_000
SEGMENTS_LIFE: Millis = 5 * SECOND
ARCHIVE_AT_ONCE = 2_000
_NOTHING = b""
_SEPARATOR = "\x1f"  # in no id


class History(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One history with its short form in front, so that planning never unpacks a sketch."""

    rates: Rates
    packed: bytes


_encode = msgspec.msgpack.Encoder().encode
_user = msgspec.msgpack.Decoder(dict[str, dict[Path, History]]).decode
_history = msgspec.msgpack.Decoder(History).decode
Histories = dict[str, dict[Path, History]]


class Archive(Protocol):
    """Where histories survive the hot store: the ledger."""

    def load(self, app: str, keys: Sequence[str]) -> Awaitable[Mapping[str, bytes]]: ...

    def segments(self, app: str) -> Awaitable[Mapping[str, bytes]]: ...

    def save(self, rows: Sequence[tuple[str, str, bytes]], now: Millis) -> Awaitable[None]: ...

    def forget(self, app: str, key: str) -> Awaitable[None]: ...


class RedisLearning:
    """The port :class:`~dispatcher.ports.learning.Learning` on Redis or Valkey."""

    def __init__(self, store: HotStore, archive: Archive) -> None:
        self._store = store
        self._archive = archive
        self._segments: dict[str, tuple[Millis, SegmentRates]] = {}

    async def of_users(self, app: str, user_ids: Sequence[str]) -> Mapping[str, UserRates]:
        return {
            user_id: {device: {path: one.rates for path, one in paths.items()} for device, paths in devices.items()}
            for user_id, devices in (await self._read(app, user_ids)).items()
        }

    async def segments(self, app: str, now: Millis) -> SegmentRates:
        known = self._segments.get(app)
        if known is not None and now < known[0]:
            return known[1]
        found = {key: one.rates for key, one in (await self._read_segments(app)).items()}
        self._segments[app] = (now + SEGMENTS_LIFE, found)
        return found

    async def device(self, app: str, user_id: str, device_id: str) -> Mapping[Path, Learned]:
        devices = (await self._read(app, [user_id])).get(user_id, {})
        return {path: learn.unpack(one.packed) for path, one in devices.get(device_id, {}).items()}

    async def teach(self, app: str, lessons: Sequence[Lesson], now: Millis) -> None:
        if not lessons:
            return
        now_s = now / SECOND
        users = await self._read(app, sorted({lesson.user_id for lesson in lessons}))
        segments = await self._read_segments(app)
        taught: dict[str, History] = {}
        for lesson in lessons:
            paths = users.setdefault(lesson.user_id, {}).setdefault(lesson.device_id, {})
            paths[lesson.path] = _taught(paths.get(lesson.path), lesson, now_s)
            if lesson.segment is not None:
                before = taught.get(lesson.segment) or segments.get(lesson.segment)
                taught[lesson.segment] = _taught(before, lesson, now_s)
        pipe = self._store.client.pipeline(transaction=False)
        for user_id, devices in users.items():
            pipe.set(self._key(app, user_id), _encode(_newest(devices)), ex=EXPIRY_S)
        names = [f"{app}{_SEPARATOR}u:{user_id}" for user_id in users]
        if taught:
            pipe.hset(self._segment_key(app), mapping={key: _encode(one) for key, one in taught.items()})
            names += [f"{app}{_SEPARATOR}{key}" for key in taught]
            over = len(segments.keys() | taught.keys()) - SEGMENTS_KEPT
            if over > 0:
                oldest = sorted(segments.keys() - taught.keys(), key=lambda key: segments[key].rates.at_s)
                pipe.hdel(self._segment_key(app), *(oldest[:over] or [""]))
        pipe.sadd(self._store.key("learn:taught"), *names)
        await pipe.execute()

    async def archive(self, now: Millis) -> int:
        key = self._store.key("learn:taught")
        total = 0
        while names := await self._store.client.srandmember(key, ARCHIVE_AT_ONCE):
            rows = await self._rows([name.decode() for name in names])
            await self._archive.save(rows, now)
            await self._store.client.srem(key, *names)  # only now: an archiver that dies leaves them to the next
            total += len(rows)
            if len(names) < ARCHIVE_AT_ONCE:
                break
        return total

    async def forget_user(self, app: str, user_id: str) -> None:
        await self._store.client.srem(self._store.key("learn:taught"), f"{app}{_SEPARATOR}u:{user_id}")
        await self._store.client.delete(self._key(app, user_id))
        await self._archive.forget(app, f"u:{user_id}")

    async def _read(self, app: str, user_ids: Sequence[str]) -> dict[str, Histories]:
        if not user_ids:
            return {}
        values = await self._store.client.mget([self._key(app, user_id) for user_id in user_ids])
        found = {user_id: value for user_id, value in zip(user_ids, values, strict=True) if value is not None}
        missing = [user_id for user_id in user_ids if user_id not in found]
        if missing:
            loaded = await self._archive.load(app, [f"u:{user_id}" for user_id in missing])
            kept: list[Any] = [EXPIRY_S, NOTHING_EXPIRY_S]
            for user_id in missing:
                value = found[user_id] = loaded.get(f"u:{user_id}", _NOTHING)
                kept.append(value)
            await self._store.run("learning_keep", [self._key(app, one) for one in missing], kept, state=False)
        return {user_id: _user(value) for user_id, value in found.items() if value}

    async def _read_segments(self, app: str) -> dict[str, History]:
        fields = await self._store.client.hgetall(self._segment_key(app))
        if not fields:
            loaded = await self._archive.segments(app)
            fields = {key.encode(): value for key, value in loaded.items()} or {_NOTHING: _NOTHING}
            await self._store.client.hset(self._segment_key(app), mapping=fields)
        return {key.decode(): _history(value) for key, value in fields.items() if value}

    async def _rows(self, names: Iterable[str]) -> list[tuple[str, str, bytes]]:
        by_app: dict[str, list[str]] = defaultdict(list)
        for name in names:
            app, _, key = name.partition(_SEPARATOR)
            by_app[app].append(key)
        rows: list[tuple[str, str, bytes]] = []
        for app, keys in by_app.items():
            users = [key for key in keys if key[:2] == "u:"]
            segments = [key for key in keys if key[:2] == "s:"]
            values: list[Any] = []
            if users:
                values += await self._store.client.mget([self._key(app, key[2:]) for key in users])
            if segments:
                values += await self._store.client.hmget(self._segment_key(app), segments)
            rows += [(app, key, value) for key, value in zip([*users, *segments], values, strict=True) if value]
        return rows

    def _key(self, app: str, user_id: str) -> str:
        return self._store.user(app, user_id) + "learn"

    def _segment_key(self, app: str) -> str:
        return self._store.key(f"learn:segments:{app}")


def _taught(before: History | None, lesson: Lesson, now_s: float) -> History:
    learned = EMPTY if before is None else learn.unpack(before.packed)
    after = learn.taught(learned, now_s, lesson.attempts, lesson.proven_s)
    return History(learn.rates(after), learn.pack(after))


def _newest(devices: Histories) -> Histories:
    if len(devices) <= DEVICES_KEPT:
        return devices
    order = sorted(devices, key=lambda device: -max(one.rates.at_s for one in devices[device].values()))
    return {device: devices[device] for device in order[:DEVICES_KEPT]}
