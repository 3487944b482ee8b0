"""How paths fare, on Redis or Valkey: one value a path under ``paths:<app>:<path>``, lapsing on its own."""

from collections.abc import Mapping

import msgspec
from redis.exceptions import RedisError

from dispatcher.domain.clock import Millis
from dispatcher.domain.paths import Path
from dispatcher.hot.store import HotStore
from dispatcher.ports.shared_facts import PathHealth

LIFE: Millis = 250
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(PathHealth).decode


class RedisSharedFacts:
    """The port :class:`~dispatcher.ports.shared_facts.SharedFacts`; each process asks four times a second at most."""

    def __init__(self, store: HotStore) -> None:
        self._store = store
        self._known: dict[str, tuple[Millis, Mapping[Path, PathHealth]]] = {}

    async def paths(self, app: str, now: Millis) -> Mapping[Path, PathHealth]:
        known = self._known.get(app)
        if known is not None and now < known[0]:
            return known[1]
        try:
            values = await self._store.client.mget([self._key(app, path) for path in Path])
        except RedisError:
            return {}
        found = {path: _decode(value) for path, value in zip(Path, values, strict=True) if value is not None}
        self._known[app] = (now + LIFE, found)
        return found

    async def tell(self, app: str, path: Path, health: PathHealth, *, lasts_ms: Millis) -> None:
        await self._store.client.set(self._key(app, path), _encode(health), px=lasts_ms)

    def _key(self, app: str, path: Path) -> str:
        return self._store.key(f"paths:{app}:{path}")
