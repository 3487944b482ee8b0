"""What arrives together travels together.

A gatherer collects only behind a flush already under way, so an idle process waits for nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Overflow(Exception):
    """More is waiting than may wait; the caller answers 503 with Retry-After."""


class Gatherer(Generic[Item, Result]):
    """Turns concurrent single calls into flushes.

    *flush* gets items in order of arrival and answers one result each (an Exception stands for that item's failure).
    At most *batch* units a flush, by *weigh*; at most *waiting* units wait, beyond that :class:`Overflow`. Up to
    *parallel* flushes run at once.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        batch: int,
        waiting: int,
        weigh: Callable[[Item], int] = lambda _item: 1,
        parallel: int = 1,
    ) -> None:
        self._flush = flush
        self._batch = batch
        self._most = waiting
        self._weigh = weigh
        self._free = parallel
        self._queue: list[tuple[Item, asyncio.Future[Result]]] = []
        self._weight = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, item: Item) -> "asyncio.Future[Result]":
        """The future of this item's result."""
        if self._weight >= self._most:
            raise Overflow
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        self._weight += self._weigh(item)
        if self._free > 0:
            self._start()
        return future

    def _start(self) -> None:
        self._free -= 1
        task = asyncio.get_running_loop().create_task(self._run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        await asyncio.sleep(0)  # callers of the same loop turn join the first flush
        try:
            while self._queue:
                await self._flush_once(self._take())
        finally:
            self._free += 1
            if self._queue:
                self._start()

    def _take(self) -> list[tuple[Item, "asyncio.Future[Result]"]]:
        weight = count = 0
        for item, _ in self._queue:
            weight += self._weigh(item)
            count += 1
            if weight >= self._batch:
                break
        taken, self._queue = self._queue[:count], self._queue[count:]
        self._weight -= weight
        return taken

    async def _flush_once(self, taken: Sequence[tuple[Item, "asyncio.Future[Result]"]]) -> None:
        try:
            results = await self._flush([item for item, _ in taken])
            if len(results) != len(taken):
                raise ValueError(f"{len(taken)} items were flushed and {len(results)} were answered")
        except Exception as error:  # noqa: BLE001 - whatever it was, every caller must hear of it
            results = [error] * len(taken)
        for (_, future), result in zip(taken, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
