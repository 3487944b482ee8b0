"""Rate limits a key and an address, shared by all API processes through the throttle.

Permits are fetched in blocks of a fiftieth of the limit, so a busy caller costs one question in forty requests. A block
is used up within :data:`BLOCK_LIFE` or lost. Fails open, as the throttle does.
"""

import asyncio
from collections import OrderedDict

from dispatcher.domain.clock import SECOND, Clock, Millis
from dispatcher.ports.throttle import Throttle

WINDOW: Millis = SECOND
BLOCK_LIFE: Millis = 250
MAX_CALLERS = 20_000  #: told apart in one process; the ones not seen for longest are forgotten first
_REFUSAL_LIFE: Millis = 50  #: how long a refusal is repeated without asking again


class _Block:
    __slots__ = ("ends", "left", "lock", "refused_until")

    def __init__(self) -> None:
        self.left = 0
        self.ends = 0
        self.refused_until = 0
        self.lock = asyncio.Lock()


class Allowances:
    """Permits at hand, by caller."""

    def __init__(self, throttle: Throttle, clock: Clock) -> None:
        self._throttle = throttle
        self._clock = clock
        self._blocks: OrderedDict[str, _Block] = OrderedDict()

    async def take(self, key: str, limit: int) -> Millis:
        """0 where *key* may go on, else milliseconds until it may ask again. *limit*: requests a second."""
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = _Block()
            if len(self._blocks) > MAX_CALLERS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(key)
        waits = self._from_block(block)
        if waits is not None:
            return waits
        async with block.lock:
            waits = self._from_block(block)  # another request may have fetched one meanwhile
            return waits if waits is not None else await self._fetch(block, key, limit)

    def _from_block(self, block: _Block) -> Millis | None:
        now = self._clock()
        if block.left and now < block.ends:
            block.left -= 1
            return 0
        return block.refused_until - now if now < block.refused_until else None

    async def _fetch(self, block: _Block, key: str, limit: int) -> Millis:
        now = self._clock()
        size = max(1, limit // 50)
        wait = await self._throttle.permit(key, limit=limit, window_ms=WINDOW, now=now, cost=size)
        if wait and size > 1:  # no room for a whole block; there may be for one
            size = 1
            wait = await self._throttle.permit(key, limit=limit, window_ms=WINDOW, now=now)
        if wait:
            block.refused_until = now + min(wait, _REFUSAL_LIFE)
            return wait
        block.left, block.ends = size - 1, now + BLOCK_LIFE
        return 0
