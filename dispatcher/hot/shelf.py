"""Results that took long to compute, kept for whoever cannot wait for fresh ones. Fails open: nothing is kept then."""

from redis.exceptions import RedisError

from dispatcher.domain.clock import Millis
from dispatcher.hot.store import HotStore


class RedisShelf:
    """Bytes by name."""

    def __init__(self, store: HotStore) -> None:
        self._store = store

    async def get(self, name: str) -> bytes | None:
        """What lies there."""
        try:
            found: bytes | None = await self._store.client.get(self._store.key(f"shelf:{name}"))
        except RedisError:
            return None
        return found

    async def put(self, name: str, value: bytes, lasts_ms: Millis) -> None:
        """For so long."""
        try:
            await self._store.client.set(self._store.key(f"shelf:{name}"), value, px=lasts_ms)
        except RedisError:
            return
