"""Judges paths by their receipts and tells what came of it, a turn at a time, by one process at a time.

Keys: ``watched`` (``<app> <path>`` by when it last answered), ``watch:<app>:<path>`` (see :mod:`strategies.watch`),
``receipts:<app>:<path>`` (what is wrong with it, lapsing unless told again). The counts are those of
:mod:`dispatcher.hot.circuits`. Losing all of it means learning the usual anew; meanwhile nothing is routed around.
"""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from redis.exceptions import RedisError

from dispatcher.domain.clock import DAY, HOUR, SECOND, Millis
from dispatcher.domain.paths import Path
from dispatcher.hot.circuits import RECEIPT, SLOT, TOLD, VAIN, Unwell
from dispatcher.hot.store import HotStore
from dispatcher.ports.shared_facts import PathHealth, SharedFacts
from strategies.watch import LEAST_RATE, Tally, Watch, watched

#: Paths that receipts judge. A skipped poll costs its wait's chance, and a skipped SMS leaves nothing to fall back to.
JUDGED = frozenset({Path.LONGCONN, Path.APNS, Path.FCM})
#: So much of the time an unwell path is told as well, for all to probe it.
PROBE_EVERY: Millis = 20 * SECOND
PROBE_FOR: Millis = SECOND
#: Late counts of a slot are waited for so long.
LATE: Millis = 3 * SECOND
#: Slots that are still counted.
SLOTS_KEPT = 8

_pack = msgspec.msgpack.Encoder().encode
_watch = msgspec.msgpack.Decoder(Watch).decode
_log = logging.getLogger(__name__)


class RedisReceiptWatch:
    """One turn after another, under the archiver's lease."""

    def __init__(self, store: HotStore, facts: SharedFacts) -> None:
        self._store = store
        self._facts = facts

    async def turn(self, now: Millis) -> None:
        """Takes in what was counted since, and tells how every path fares. Fails open."""
        try:
            await self._store.client.zremrangebyscore(self._store.key("watched"), "-inf", now - HOUR)
            members = await self._store.client.zrange(self._store.key("watched"), 0, -1)
            for member in members:
                app, _, name = member.decode().rpartition(" ")
                if Path(name) in JUDGED:
                    await self._look(app, Path(name), now)
        except RedisError:
            _log.warning("receipts could not be judged this time")

    async def _look(self, app: str, path: Path, now: Millis) -> None:
        watch = await self._known(app, path)
        last = (now - LATE) // SLOT - 1
        if last > watch.slot:
            first = max(watch.slot + 1, last - SLOTS_KEPT + 1)
            after = watched(watch, await self._tallies(app, path, first, last), SLOT)
            after = msgspec.structs.replace(after, slot=last)
            await self._store.client.set(self._key("watch", app, path), _pack(after), px=7 * DAY)
            _report(app, path, watch, after)
            watch = after
        await self._tell(app, path, watch, now)

    async def _known(self, app: str, path: Path) -> Watch:
        stored = await self._store.client.get(self._key("watch", app, path))
        return Watch() if stored is None else _watch(stored)

    async def _tallies(self, app: str, path: Path, first: int, last: int) -> list[tuple[int, Tally]]:
        slots = range(first, last + 1)
        pipe = self._store.client.pipeline(transaction=False)
        for slot in slots:
            pipe.hgetall(self._store.key(f"answers:{app}:{path}:{slot}"))
        return [(slot, _tally(fields)) for slot, fields in zip(slots, await pipe.execute(), strict=True)]

    async def _tell(self, app: str, path: Path, watch: Watch, now: Millis) -> None:
        key = self._key("receipts", app, path)
        paused, circuit = await self._store.client.mget(self._key("pause", app, path), self._key("circuit", app, path))
        if watch.reason is None:
            await self._store.client.delete(key)
        else:
            await self._store.client.set(key, _pack(Unwell(reason=watch.reason, since=watch.since)), px=TOLD)
        if paused is not None or circuit is not None:
            return  # told by whoever shut it
        usual = watch.usual
        health = PathHealth(
            healthy=watch.reason is None or is_probing(now),
            success_rate=round(usual.rate, 2) if usual.rate >= LEAST_RATE else None,
            p95_s=usual.p95_s,
        )
        await self._facts.tell(app, path, health, lasts_ms=TOLD)

    def _key(self, kind: str, app: str, path: Path) -> str:
        return self._store.key(f"{kind}:{app}:{path}")


def is_probing(now: Millis) -> bool:
    """Whether unwell paths are tried at this moment: a second in twenty, the same one for all."""
    return now % PROBE_EVERY < PROBE_FOR


def _tally(fields: Mapping[Any, Any]) -> Tally:
    vain = answered = unanswered = 0
    proven = {}
    for field, count in fields.items():
        kind, _, rest = field.decode().partition(" ")
        if kind == VAIN:
            vain += int(count)
        elif kind == RECEIPT:
            proven[int(rest)] = int(count)
        elif kind == "unknown" or rest.startswith("transport_"):
            unanswered += int(count)
        else:
            answered += int(count)
    return Tally(vain, proven, answered, unanswered)


def _report(app: str, path: Path, before: Watch, after: Watch) -> None:
    if after.reason != before.reason:
        level = logging.WARNING if after.reason is None else logging.ERROR
        sentence = "a path's receipts come as usual again" if after.reason is None else "a path's receipts are unwell"
        _log.log(level, sentence, extra={"app": app, "path": path, "reason": after.reason or before.reason})
