"""Permits, brakes and locks that all processes share. Permits fail open: sending beats silence."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from secrets import token_hex

from redis.exceptions import RedisError

from dispatcher.domain.clock import MINUTE, SECOND, Millis
from dispatcher.hot.store import HotStore
from dispatcher.ports.throttle import Brakes

#: A brake set again so soon after its end is still the same one.
AGAIN: Millis = 10 * SECOND
#: At most so many braked members of a key are looked at.
MEMBERS = 10_000


class RedisThrottle:
    """The port :class:`~dispatcher.ports.throttle.Throttle`."""

    def __init__(self, store: HotStore) -> None:
        self._store = store

    async def permit(self, key: str, *, limit: int, window_ms: Millis, now: Millis, cost: int = 1) -> Millis:
        args = [limit, window_ms, now, cost]
        try:
            return int(await self._store.run("permit", [self._store.key(f"rate:{key}")], args, state=False))
        except RedisError:
            return 0

    async def brake(self, key: str, until: Millis, now: Millis) -> None:
        await self._store.run("brake", [self._store.key(f"brake:{key}")], [now, until, AGAIN], state=False)

    async def brake_members(self, key: str, members: Mapping[str, Millis], now: Millis) -> None:
        name = self._store.key(f"brake:{key}:members")
        pipe = self._store.client.pipeline(transaction=False)
        pipe.zadd(name, dict(members), gt=True)
        pipe.zremrangebyscore(name, "-inf", now)
        pipe.pexpire(name, max(max(members.values()) - now, 0) + MINUTE)
        await pipe.execute()

    async def brakes(self, key: str, now: Millis) -> Brakes:
        name = self._store.key(f"brake:{key}")
        pipe = self._store.client.pipeline(transaction=False)
        pipe.get(name)
        pipe.zrangebyscore(f"{name}:members", f"({now}", "+inf", 0, MEMBERS, withscores=True)
        try:
            value, members = await pipe.execute()
        except RedisError:
            return Brakes()
        since, until = _read(value)
        whole = until > now
        return Brakes(
            since=since if whole else 0,
            until=until if whole else 0,
            members={member.decode(): int(score) for member, score in members},
        )

    async def braked_until(self, key: str, now: Millis) -> Millis:
        try:
            _, until = _read(await self._store.client.get(self._store.key(f"brake:{key}")))
        except RedisError:
            return 0
        return until if until > now else 0


def _read(value: bytes | None) -> tuple[Millis, Millis]:
    since, _, until = (value or b"0 0").partition(b" ")
    return int(since), int(until)


class Lease:
    """A lock that is ours until its lease ends; renew it while the work goes on."""

    def __init__(self, store: HotStore, key: str, token: str, lease_ms: Millis) -> None:
        self._store = store
        self._key = key
        self._token = token
        self._lease_ms = lease_ms

    async def renew(self) -> bool:
        """False where it lapsed and another may have it."""
        args = [self._token, self._lease_ms]
        return bool(await self._store.run("renew", [self._key], args, state=False))


class RedisLocks:
    """Leases by name: one holder at a time, lapsing on their own."""

    def __init__(self, store: HotStore) -> None:
        self._store = store

    @asynccontextmanager
    async def hold(self, name: str, lease_ms: Millis) -> AsyncIterator[Lease | None]:
        """The lease where the lock is ours for up to *lease_ms*; None where another has it."""
        key, token = self._store.key(f"lock:{name}"), token_hex(8)
        if not await self._store.client.set(key, token, nx=True, px=lease_ms):
            yield None
            return
        try:
            yield Lease(self._store, key, token, lease_ms)
        finally:
            await self._store.run("release", [key], [token], state=False)
