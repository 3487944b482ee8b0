"""Push caps on Redis or Valkey: a device's meter lives in its hash's shard, so a batch is a few scripts at most."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from redis.exceptions import RedisError

from dispatcher.domain.clock import Millis
from dispatcher.domain.ids import device_hash
from dispatcher.hot.store import HotStore


class RedisPushCaps:
    """The port :class:`~dispatcher.ports.push_caps.PushCaps`."""

    def __init__(self, store: HotStore) -> None:
        self._store = store

    async def take(self, app: str, wanted: Sequence[tuple[str, int, Millis]], now: Millis) -> list[bool]:
        allowed = [True] * len(wanted)
        by_shard: dict[int, list[int]] = defaultdict(list)
        for index, (device, _, _) in enumerate(wanted):
            by_shard[device_hash(device) % self._store.shards].append(index)
        calls: list[tuple[list[Any], list[Any]]] = []
        for shard, indexes in by_shard.items():
            args: list[Any] = [now]
            for index in indexes:
                device, limit, window = wanted[index]
                args += (f"{app}|{device}", limit, window)
            calls.append(([self._store.tag(shard)], args))
        if not calls:
            return allowed
        try:
            replies = await self._store.run_many("push_caps", calls, state=False)
        except RedisError:
            return allowed
        for indexes, reply in zip(by_shard.values(), replies, strict=True):
            for index, verdict in zip(indexes, reply, strict=True):
                allowed[index] = verdict == ord("1")
        return allowed
