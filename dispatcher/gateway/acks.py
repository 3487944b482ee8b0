"""Acks of the whole node, gathered for some 10 to 20 ms, then applied in one call.

Failure policy: evidence is kept and repeated until the stores take it, up to ``acks_waiting`` ids; beyond that lines
are no longer read (see line.py), so nothing is dropped while the process lives.
"""

import asyncio
import logging
from collections.abc import Callable

from dispatcher.domain.clock import Clock, Millis
from dispatcher.domain.paths import Path
from dispatcher.gateway.counters import Count, Counters
from dispatcher.ports.receiving import DeviceAcks, ReceiveDoor

logger = logging.getLogger("pushpath.gateway")

Passed = tuple[str, str, str, tuple[str, ...]]


class Acks:
    """Gathers acks and newly covered deliveries. One flush is under way at a time; what comes meanwhile waits."""

    __slots__ = ("_batch", "_clock", "_counters", "_door", "_flushing", "_gather_s", "_passed", "_timer", "waiting")

    def __init__(self, door: ReceiveDoor, clock: Clock, counters: Counters, *, gather: Millis) -> None:
        self._door = door
        self._clock = clock
        self._counters = counters
        self._gather_s = gather / 1_000
        self._batch: list[DeviceAcks] = []
        self._passed: list[Passed] = []
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self.waiting = 0  #: ids not taken by the stores yet

    def add(self, acks: DeviceAcks) -> None:
        """One ack frame."""
        self._batch.append(acks)
        self.waiting += len(acks.ids)
        if self._timer is None and self._flushing is None:
            self._arm(self._gather_s)

    def passed(self, app: str, user_id: str, device_id: str, delivery_ids: tuple[str, ...]) -> None:
        """Deliveries that a cursor newly covered."""
        self._passed.append((app, user_id, device_id, delivery_ids))
        self.waiting += len(delivery_ids)
        if self._timer is None and self._flushing is None:
            self._arm(self._gather_s)

    async def flush(self) -> None:
        """Hands on all there is now; returns once it was taken or the attempt failed."""
        if self._flushing is not None:
            await asyncio.shield(self._flushing)
        if self._batch or self._passed:
            self._begin()
        if self._flushing is not None:
            await asyncio.shield(self._flushing)

    def _arm(self, after_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(after_s, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        batch, self._batch = self._batch, []
        passed, self._passed = self._passed, []
        failed = False
        now = self._clock()
        if batch:
            taken = await self._taken(lambda: self._door.acknowledge_many(batch, via=Path.LONGCONN, now=now))
            if taken:
                count = sum(len(acks.ids) for acks in batch)
                self.waiting -= count
                self._counters[Count.ACKS] += count
            else:
                failed = True
                self._batch = batch + self._batch
        for app, user_id, device_id, ids in passed:
            if failed or not await self._taken(
                lambda a=app, u=user_id, d=device_id, i=ids: self._door.passed(a, u, d, i, now)  # type: ignore[misc]
            ):
                failed = True
                self._passed.append((app, user_id, device_id, ids))
            else:
                self.waiting -= len(ids)
        self._flushing = None
        if self._batch or self._passed:
            self._arm(0.5 if failed else 0.0)

    async def _taken(self, call: Callable[[], object]) -> bool:
        try:
            await call()  # type: ignore[misc]
        except Exception:
            self._counters[Count.ACKS_REPEATED] += 1
            self._counters[Count.FAULTS] += 1
            logger.exception("receipts were not taken and will be repeated")
            return False
        return True
