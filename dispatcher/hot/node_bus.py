"""The node bus on Redis or Valkey: one bounded list a gateway node."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dispatcher.hot.store import HotStore
from dispatcher.ports.node_bus import BusFrame

WAITING_AT_MOST = 50_000
LAPSE_S = 120

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(BusFrame).decode


class RedisNodeBus:
    """The port :class:`~dispatcher.ports.node_bus.NodeBus`.

    A node listens on a connection of its own: the client's way through its pool costs three times as much a call, and
    this call is made as often as messages come.
    """

    def __init__(self, store: HotStore) -> None:
        self._store = store
        self._listening: dict[str, Any] = {}

    async def send(self, frames: Mapping[str, Sequence[BusFrame]]) -> None:
        pipe = self._store.client.pipeline(transaction=False)
        for node, waiting in frames.items():
            key = self._store.key(f"bus:{node}")
            pipe.rpush(key, *[_encode(frame) for frame in waiting])
            pipe.ltrim(key, -WAITING_AT_MOST, -1)
            pipe.expire(key, LAPSE_S)
        await pipe.execute()

    async def receive(self, node: str, *, limit: int, block_s: float) -> list[BusFrame]:
        pool = self._store.client.connection_pool
        connection = self._listening.pop(node, None) or await pool.get_connection()
        try:
            key = self._store.key(f"bus:{node}")
            await connection.send_command("BLMPOP", block_s, 1, key, "LEFT", "COUNT", limit)
            reply = await connection.read_response()
        except BaseException:  # also where it is cancelled: an answer that nobody reads may be under way
            await connection.disconnect(nowait=True)
            await pool.release(connection)
            raise
        previous = self._listening.pop(node, None)
        self._listening[node] = connection
        if previous is not None:
            await pool.release(previous)
        return [_decode(row) for row in reply[1]] if reply else []
