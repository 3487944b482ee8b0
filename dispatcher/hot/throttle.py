"""Permits, brakes and locks that all processes share. Permits fail open: sending beats silence."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_hex

from redis.exceptions import RedisError

from dispatcher.domain.clock import Millis
from dispatcher.hot.store import HotStore


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

    async def brake(self, key: str, until: Millis) -> None:
        await self._store.client.set(self._store.key(f"brake:{key}"), until, pxat=until)

    async def braked_until(self, key: str, now: Millis) -> Millis:
        until = int(await self._store.client.get(self._store.key(f"brake:{key}")) or 0)
        return until if until > now else 0


class RedisLocks:
    """Leases by name: one holder at a time, lapsing on their own."""

    def __init__(self, store: HotStore) -> None:
        self._store = store

    @asynccontextmanager
    async def hold(self, name: str, lease_ms: Millis) -> AsyncIterator[bool]:
        """True where the lock is ours for up to *lease_ms*; False where another has it."""
        key, token = self._store.key(f"lock:{name}"), token_hex(8)
        held = bool(await self._store.client.set(key, token, nx=True, px=lease_ms))
        try:
            yield held
        finally:
            if held:
                await self._store.run("release", [key], [token], state=False)
