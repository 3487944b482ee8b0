"""The node bus on Redis or Valkey: one bounded list a gateway node."""

from collections.abc import Mapping, Sequence

import msgspec

from dispatcher.hot.store import HotStore
from dispatcher.ports.node_bus import BusFrame

WAITING_AT_MOST = 50_000
LAPSE_S = 120

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(BusFrame).decode


class RedisNodeBus:
    """The port :class:`~dispatcher.ports.node_bus.NodeBus`."""

    def __init__(self, store: HotStore) -> None:
        self._store = store

    async def send(self, frames: Mapping[str, Sequence[BusFrame]]) -> None:
        pipe = self._store.client.pipeline(transaction=False)
        for node, waiting in frames.items():
            key = self._store.key(f"bus:{node}")
            pipe.rpush(key, *[_encode(frame) for frame in waiting])
            pipe.ltrim(key, -WAITING_AT_MOST, -1)
            pipe.expire(key, LAPSE_S)
        await pipe.execute()

    async def receive(self, node: str, *, limit: int, block_s: float) -> list[BusFrame]:
        key = self._store.key(f"bus:{node}")
        reply = await self._store.client.blmpop(block_s, 1, key, direction="LEFT", count=limit)
        return [_decode(row) for row in reply[1]] if reply else []
