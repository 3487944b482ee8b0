"""Short-lived questions to the stores, bounded, each forgotten once answered.

Failure policy: a chore that raises is counted and logged by its name; the device it was for comes back or is found by
its lease.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from dispatcher.gateway.counters import Count, Counters

logger = logging.getLogger("pushpath.gateway")

Chore = Callable[[], Coroutine[Any, Any, None]]


class Chores:
    """At most *at_once* chores run; the others wait in order."""

    __slots__ = ("_at_once", "_counters", "_idle", "_running", "_waiting")

    def __init__(self, counters: Counters, *, at_once: int) -> None:
        self._counters = counters
        self._at_once = at_once
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[str, Chore]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._running) + len(self._waiting)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def start(self, name: str, chore: Chore) -> None:
        """Runs *chore* soon. *name* is a constant for the log."""
        if len(self._running) >= self._at_once:
            self._waiting.append((name, chore))
        else:
            self._run(name, chore)

    async def done(self, within_s: float) -> bool:
        """Waits until nothing is left to do; False where time ran out."""
        try:
            await asyncio.wait_for(self._idle.wait(), within_s)
        except TimeoutError:
            return False
        return True

    async def cancel(self) -> None:
        """Ends everything."""
        self._waiting.clear()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _run(self, name: str, chore: Chore) -> None:
        self._idle.clear()
        task = asyncio.get_running_loop().create_task(self._guarded(name, chore))
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def _guarded(self, name: str, chore: Chore) -> None:
        try:
            await chore()
        except Exception:
            self._counters[Count.FAULTS] += 1
            logger.exception("gateway chore failed", extra={"chore": name})

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        while self._waiting and len(self._running) < self._at_once:
            self._run(*self._waiting.popleft())
        if not self._running and not self._waiting:
            self._idle.set()
