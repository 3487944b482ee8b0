"""The node bus in memory."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence

from dispatcher.ports.node_bus import BusFrame

WAITING_AT_MOST = 50_000


class MemoryNodeBus:
    """The port :class:`~dispatcher.ports.node_bus.NodeBus`."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[BusFrame]] = {}
        self._bells: dict[str, asyncio.Event] = {}

    async def send(self, frames: Mapping[str, Sequence[BusFrame]]) -> None:
        for node, waiting in frames.items():
            self.put(node, waiting)

    def put(self, node: str, frames: Sequence[BusFrame]) -> None:
        """:meth:`send` to one node, without waiting."""
        self._queues.setdefault(node, deque(maxlen=WAITING_AT_MOST)).extend(frames)
        bell = self._bells.get(node)
        if bell is not None:
            bell.set()

    async def receive(self, node: str, *, limit: int, block_s: float) -> list[BusFrame]:
        queue = self._queues.setdefault(node, deque(maxlen=WAITING_AT_MOST))
        if not queue:
            bell = self._bells[node] = asyncio.Event()
            try:
                async with asyncio.timeout(block_s):
                    await bell.wait()
            except TimeoutError:
                return []
            finally:
                self._bells.pop(node, None)
        else:
            await asyncio.sleep(0)
        return [queue.popleft() for _ in range(min(limit, len(queue)))]
