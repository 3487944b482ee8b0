"""Draining queues: claim, work, settle, until nothing is due or the turn is over."""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from time import perf_counter

from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.paths import Path
from dispatcher.pipeline.flight import PATIENCE_S, Later
from dispatcher.pipeline.plan import plan
from dispatcher.pipeline.send import send
from dispatcher.pipeline.sms import send_sms
from dispatcher.pipeline.sweep import BATCH, LEASE_MS, sweep
from dispatcher.ports.homes import Claim, Queue

TURN: Millis = 5 * SECOND
#: How long a Celery task waits for the drain it began: its thread serves all paths, and one may stall.
HINT_WAITS_S = 1.0
_log = logging.getLogger(__name__)

#: How many of a queue's drains one process runs at once; a full one returns without claiming.
SLOTS = {"plan": 2, "longconn": 2, "poll": 2, "apns": 4, "fcm": 4, "sms": 4}
#: How many members a drain claims at once: what can leave within a quarter of a second.
CLAIMS = {"plan": 500, "longconn": 500, "poll": 500, "apns": 500, "fcm": 500, "sms": 1}
#: Twice the longest request deadline of the path's providers.
LEASES: dict[str, Millis] = {
    "plan": 10 * SECOND,
    "longconn": 10 * SECOND,
    "poll": 10 * SECOND,
    "apns": 20 * SECOND,
    "fcm": 20 * SECOND,
    "sms": 40 * SECOND,
}

#: Work that takes longer leaves its slot, so that the next claim need not wait for a slow provider. A batch whose last
#: answers are missing ends before that and hands them on (``dispatcher.pipeline.flight``).
SLOW_AFTER_S = {"apns": 2 * PATIENCE_S, "fcm": 2 * PATIENCE_S, "sms": 0.5}
#: How many attempts without an answer a queue may have beside its slots; with more, slots wait for answers.
HANGING = {"apns": 6_000, "fcm": 6_000, "sms": 112}
#: How many of them may be one app's: whose provider stalls keeps no other app from its own, and gets nothing more until
#: some are answered. Of a provider's requests at once (1,000; a carrier's 50) a third: three lanes share them.
HANGING_OF_ONE = {"apns": 333, "fcm": 333, "sms": 16}

Elsewhere = Callable[[Sequence[Queue]], Awaitable[None]]


class Drains:
    """The drains of one worker process. *own*: queue names this process serves; others get a hint."""

    def __init__(self, stores: Stores, own: frozenset[str], elsewhere: Elsewhere) -> None:
        self._stores = stores
        self._parts = stores.parts
        self._own = own
        self._elsewhere = elsewhere
        self._running: dict[Queue, int] = {}
        self._again: set[Queue] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._hanging: dict[Queue, dict[asyncio.Task[None], tuple[str, int]]] = defaultdict(dict)
        self.stopping = False

    async def hint(self, queues: Sequence[Queue]) -> None:
        """Wakes our own drains at once; for queues served elsewhere a Celery message goes out."""
        foreign = []
        for queue in queues:
            if queue.name not in self._own:
                foreign.append(queue)
            elif not self.stopping:
                self._start(queue)
        if foreign:
            await self._elsewhere(foreign)

    def _start(self, queue: Queue) -> None:
        if self._running.get(queue, 0) >= SLOTS[queue.name]:
            self._again.add(queue)
            return
        self._begin(self.drain(queue))

    async def begin(self, queue: Queue) -> None:
        """Begins a drain, and waits for it a little: whoever hints feels a load, but is never held by a stalled one."""
        await asyncio.wait({self._begin(self.drain(queue))}, timeout=HINT_WAITS_S)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a drain failed; its claims come back after their lease", exc_info=error)

    async def drain(self, queue: Queue) -> None:
        """Works off what is due on *queue*, until all it began has ended; a full queue returns without claiming."""
        if self._running.get(queue, 0) >= SLOTS[queue.name]:
            self._again.add(queue)
            return
        self._running[queue] = self._running.get(queue, 0) + 1
        until = self._parts.clock() + TURN
        beside: set[asyncio.Task[None]] = set()
        try:
            while not self.stopping:
                self._again.discard(queue)
                busy = await self._once(queue, beside)
                if not busy and queue not in self._again:
                    break
                if self._parts.clock() > until:
                    await self._elsewhere([queue])
                    break
        finally:
            self._running[queue] -= 1
        while beside:  # what ends may have begun more
            ended, _ = await asyncio.wait(beside, return_when=asyncio.FIRST_COMPLETED)
            beside -= ended
            _raise_what_failed(ended)

    async def _once(self, queue: Queue, beside: set["asyncio.Task[None]"]) -> bool:
        """One claim, worked on; into *beside* what of it goes on when this returns."""
        now = self._parts.clock()
        alone = self._stalled(queue)
        claims = await self._parts.homes.claim(
            queue, now, limit=CLAIMS[queue.name], lease_ms=LEASES[queue.name], without=alone
        )
        if not claims:
            self._parts.telemetry.queue_age(queue.name, queue.lane.value, 0)
            return False
        self._parts.telemetry.queue_age(queue.name, queue.lane.value, max(now - min(c.due for c in claims), 0) / SECOND)
        if queue.name not in HANGING:
            await self._settled(queue, claims, now)
            return True
        by_app: dict[str, list[Claim]] = defaultdict(list)
        for claim in claims:
            by_app[claim.app].append(claim)

        def later(app: str, attempts: int, rest: Coroutine[None, None, set[Queue]]) -> None:
            beside.add(self._hang(queue, self._begin(self._hinted(rest)), app, attempts))

        begun = {self._begin(self._settled(queue, found, now, later)): app for app, found in by_app.items()}
        ended, waiting = await asyncio.wait(begun, timeout=SLOW_AFTER_S[queue.name])
        for work in waiting:
            members = sum(len(claim.members.members) for claim in by_app[begun[work]])
            beside.add(self._hang(queue, work, begun[work], members))
        _raise_what_failed(ended)
        hanging = self._hanging[queue]
        while sum(attempts for _, attempts in hanging.values()) > HANGING[queue.name]:
            await asyncio.wait(hanging, return_when=asyncio.FIRST_COMPLETED)
        return True

    def _hang(self, queue: Queue, work: "asyncio.Task[None]", app: str, attempts: int) -> "asyncio.Task[None]":
        """Counts what *work* waits for, until it ends."""
        self._hanging[queue][work] = (app, attempts)
        work.add_done_callback(lambda ended: self._hanging[queue].pop(ended, None))
        return work

    def _stalled(self, queue: Queue) -> list[str]:
        """Apps that have as many attempts without an answer as one may."""
        counts: Counter[str] = Counter()
        for app, attempts in self._hanging[queue].values() if queue in self._hanging else ():
            counts[app] += attempts
        return [app for app, count in counts.items() if count >= HANGING_OF_ONE[queue.name]]

    def _begin(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def _settled(self, queue: Queue, claims: Sequence[Claim], now: Millis, later: Later | None = None) -> None:
        """The work of some claims, and hints at what it made due."""
        begun = perf_counter()
        ready = await self._work(queue, claims, now, later)
        members = sum(len(claim.members.members) for claim in claims)
        self._parts.telemetry.stage(queue.name, perf_counter() - begun, members)
        if ready:
            await self.hint(sorted(ready, key=str))

    async def _hinted(self, work: Coroutine[None, None, set[Queue]]) -> None:
        ready = await work
        if ready:
            await self.hint(sorted(ready, key=str))

    async def _work(self, queue: Queue, claims: Sequence[Claim], now: Millis, later: Later | None) -> set[Queue]:
        if queue.name == "plan":
            return await plan(claims, self._parts, now)
        if queue.name == Path.SMS:
            return await send_sms(claims, self._parts, now)
        return await send(claims, Path(queue.name), self._parts, now, later)

    async def sweep_once(self, queue: Queue, shards: Sequence[int]) -> bool:
        """One batch of due deadlines; True where there may be more."""
        now = self._parts.clock()
        claims = await self._parts.homes.claim(queue, now, limit=BATCH, lease_ms=LEASE_MS, shards=shards)
        if not claims:
            return False
        begun = perf_counter()
        ready = await sweep(claims, self._parts, now)
        members = sum(len(claim.members.members) for claim in claims)
        self._parts.telemetry.stage("sweep", perf_counter() - begun, members)
        if ready:
            await self.hint(sorted(ready, key=str))
        return members >= BATCH

    async def stop(self, within_s: float) -> None:
        """No new claims; what is under way ends, or is let go and comes back after its lease."""
        self.stopping = True
        time = asyncio.get_running_loop().time
        ends_at = time() + within_s
        while self._tasks and time() < ends_at:  # what ends may have begun more
            await asyncio.wait(self._tasks, timeout=ends_at - time())
        left = set(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1)


def _raise_what_failed(ended: Iterable["asyncio.Task[None]"]) -> None:
    """Whoever began a drain is told of its work's first failure."""
    for work in ended:
        if not work.cancelled() and (error := work.exception()) is not None:
            raise error
