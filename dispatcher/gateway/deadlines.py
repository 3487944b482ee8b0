"""One coarse timer for everything: what is due is found by bucket, not by a timer each."""

from typing import Protocol

from dispatcher.domain.clock import Millis

GRAIN: Millis = 250


class Timed(Protocol):
    """Something with at most one deadline. ``bucket`` is 0 while it has none."""

    bucket: int

    def due(self, now: Millis) -> None:
        """The deadline passed."""


class Deadlines:
    """Deadlines rounded up to 250 ms."""

    __slots__ = ("_buckets", "_seen")

    def __init__(self, now: Millis) -> None:
        self._buckets: dict[int, set[Timed]] = {}
        self._seen = now // GRAIN

    def put(self, timed: Timed, at: Millis) -> None:
        """Sets or moves *timed*'s deadline."""
        bucket = -(-at // GRAIN)
        if bucket <= self._seen:
            bucket = self._seen + 1
        if timed.bucket:
            self.drop(timed)
        timed.bucket = bucket
        waiting = self._buckets.get(bucket)
        if waiting is None:
            self._buckets[bucket] = {timed}
        else:
            waiting.add(timed)

    def drop(self, timed: Timed) -> None:
        """Takes *timed*'s deadline away, if it has one."""
        waiting = self._buckets.get(timed.bucket)
        timed.bucket = 0
        if waiting is not None:
            waiting.discard(timed)

    def tick(self, now: Millis) -> None:
        """Calls ``due`` on all whose deadline passed."""
        reached = now // GRAIN
        if reached <= self._seen:
            return
        passed = reached - self._seen
        if passed > len(self._buckets):
            ripe = sorted(bucket for bucket in self._buckets if bucket <= reached)
        else:
            ripe = [bucket for bucket in range(self._seen + 1, reached + 1) if bucket in self._buckets]
        self._seen = reached
        for bucket in ripe:
            for timed in self._buckets.pop(bucket):
                if timed.bucket == bucket:
                    timed.bucket = 0
                    timed.due(now)
