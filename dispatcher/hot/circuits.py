"""Circuits, pauses and recent answers on Redis or Valkey.

Keys: ``pause:<app>:<path>``, ``circuit:<app>:<path>``, ``probe:<app>:<path>`` (held by who probes),
``answers:<app>:<path>:<slot>`` (a hash, counts of one slot of time), ``watched`` and ``receipts:...`` (see
:mod:`dispatcher.hot.receipt_watch`), ``shut`` (members ``<app> <path>`` that are paused
or open, so that their facts are told again and again). Fails open.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from redis.exceptions import RedisError

from dispatcher.domain.circuit import Circuit, CircuitState, after_fault, after_reset
from dispatcher.domain.clock import HOUR, SECOND, Clock, Millis
from dispatcher.domain.histogram import bucket_of
from dispatcher.domain.paths import Path
from dispatcher.hot.store import HotStore
from dispatcher.ports.circuits import WINDOW, Gate, PathView
from dispatcher.ports.shared_facts import PathHealth, SharedFacts
from strategies.watch import ENOUGH_USUAL, Watch

SLOT: Millis = 30 * SECOND
#: Slots of the last minute: the one under way and the two before it.
MINUTE_SLOTS = 3
#: How long one process takes an open gate for open: a pause is in force everywhere after it.
FRESH: Millis = 250
#: How long a probe may take before another asker gets the next one.
PROBE_LEASE: Millis = 30 * SECOND
#: After a change of credentials: when every worker's registry has seen them.
AFTER_RESET: Millis = 11 * SECOND
TOLD: Millis = 15 * SECOND
_FLUSH_S = 1.0
_KEPT: Millis = HOUR
#: Fields of a slot beside what was answered: attempts proven (and their bucket), attempts whose wait was in vain.
RECEIPT, VAIN = "receipt", "vain"

_encode = msgspec.msgpack.Encoder().encode
_log = logging.getLogger(__name__)


class Pause(Struct, frozen=True, array_like=True, kw_only=True):
    """Who switched a path off."""

    by: str
    reason: str
    at: Millis


class Unwell(Struct, frozen=True, array_like=True, kw_only=True):
    """A path that answers, and whose receipts do not come as they usually do."""

    reason: str
    since: Millis


_unwell = msgspec.msgpack.Decoder(Unwell).decode
_circuit = msgspec.msgpack.Decoder(Circuit).decode
_pause = msgspec.msgpack.Decoder(Pause).decode
_watch = msgspec.msgpack.Decoder(Watch).decode


class RedisCircuits:
    """The port :class:`~dispatcher.ports.circuits.Circuits`."""

    def __init__(self, store: HotStore, facts: SharedFacts, clock: Clock) -> None:
        self._store = store
        self._facts = facts
        self._clock = clock
        self._passes: dict[tuple[str, Path], Millis] = {}
        self._counts: dict[tuple[str, Path, int], Counter[str]] = defaultdict(Counter)
        self._flushing: asyncio.Task[None] | None = None

    def _key(self, kind: str, app: str, path: Path) -> str:
        return self._store.key(f"{kind}:{app}:{path}")

    async def gate(self, app: str, path: Path, now: Millis) -> Gate:
        if now < self._passes.get((app, path), 0):
            return Gate()
        try:
            return await self._ask(app, path, now)
        except RedisError:
            return Gate()

    async def _ask(self, app: str, path: Path, now: Millis) -> Gate:
        client = self._store.client
        paused, circuit = await client.mget(self._key("pause", app, path), self._key("circuit", app, path))
        if paused is not None:
            return Gate(passes=False, reason="paused")
        if circuit is None:
            self._passes[app, path] = now + FRESH
            return Gate()
        if _circuit(circuit).state(now) is CircuitState.HALF_OPEN and await client.set(
            self._key("probe", app, path), 1, nx=True, px=PROBE_LEASE
        ):
            return Gate(probe=True)
        return Gate(passes=False, reason="circuit_open")

    async def faulted(self, app: str, path: Path, reason: str, now: Millis, *, probe: bool) -> None:
        self._passes.pop((app, path), None)
        key = self._key("circuit", app, path)
        try:
            stored = await self._store.client.get(key)
            before = None if stored is None else _circuit(stored)
            after = after_fault(before, reason, now, probe=probe)
            pipe = self._store.client.pipeline(transaction=False)
            pipe.set(key, _encode(after), pxat=after.probe_at + _KEPT)
            pipe.sadd(self._store.key("shut"), f"{app} {path}")
            if probe:
                pipe.delete(self._key("probe", app, path))
            await pipe.execute()
            await self._facts.tell(app, path, PathHealth(healthy=False), lasts_ms=_until_probe(after, now))
        except RedisError:
            _log.warning("a circuit could not be opened", extra={"app": app, "path": path})
            return
        if before is None:
            _log.error("a circuit opened", extra={"app": app, "path": path, "reason": reason})

    async def proven_well(self, app: str, path: Path) -> None:
        pipe = self._store.client.pipeline(transaction=False)
        pipe.delete(self._key("circuit", app, path), self._key("probe", app, path))
        pipe.exists(self._key("pause", app, path))
        _, paused = await pipe.execute()
        _log.warning("a circuit closed", extra={"app": app, "path": path})
        if not paused:
            await self._well(app, path)

    async def probed_in_vain(self, app: str, path: Path) -> None:
        try:
            await self._store.client.delete(self._key("probe", app, path))
        except RedisError:
            return  # its lease lapses

    async def _well(self, app: str, path: Path) -> None:
        """It stays among the shut until :meth:`tell_again` said that it is closed."""
        await self._facts.tell(app, path, PathHealth(), lasts_ms=SECOND)

    def answered(self, app: str, path: Path, answers: Sequence[tuple[str, str]], now: Millis) -> None:
        self._counts[app, path, now // SLOT].update(f"{outcome} {reason}" for outcome, reason in answers)
        self._begin_flush()

    def received(self, app: str, path: Path, after: Millis, now: Millis) -> None:
        self._counts[app, path, now // SLOT][f"{RECEIPT} {bucket_of(after)}"] += 1
        self._begin_flush()

    def waited(self, app: str, path: Path, count: int, now: Millis) -> None:
        self._counts[app, path, now // SLOT][f"{VAIN} "] += count
        self._begin_flush()

    def _begin_flush(self) -> None:
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.get_running_loop().create_task(self._flush_soon())

    async def _flush_soon(self) -> None:
        await asyncio.sleep(_FLUSH_S)
        await self.flush()
        if self._counts:
            self._flushing = asyncio.get_running_loop().create_task(self._flush_soon())

    async def flush(self) -> None:
        """Writes what was counted since; a second later it writes itself."""
        counts, self._counts = self._counts, defaultdict(Counter)
        if not counts:
            return
        pipe = self._store.client.pipeline(transaction=False)
        for (app, path, slot), fields in counts.items():
            key = self._store.key(f"answers:{app}:{path}:{slot}")
            for field, count in fields.items():
                pipe.hincrby(key, field, count)
            pipe.pexpire(key, WINDOW + 2 * SLOT)
            pipe.zadd(self._store.key("watched"), {f"{app} {path}": slot * SLOT})
        try:
            await pipe.execute()
        except RedisError:
            _log.warning("a second's answers were not counted")

    async def close(self) -> None:
        """Drops what was not counted yet: a second of it."""
        if self._flushing is not None and not self._flushing.done():
            self._flushing.cancel()
            await asyncio.wait({self._flushing})

    async def pause(self, app: str, path: Path, by: str, reason: str, now: Millis) -> None:
        pipe = self._store.client.pipeline(transaction=False)
        pipe.set(self._key("pause", app, path), _encode(Pause(by=by, reason=reason, at=now)))
        pipe.sadd(self._store.key("shut"), f"{app} {path}")
        await pipe.execute()
        self._passes.pop((app, path), None)
        await self._facts.tell(app, path, PathHealth(healthy=False), lasts_ms=TOLD)

    async def resume(self, app: str, path: Path) -> None:
        pipe = self._store.client.pipeline(transaction=False)
        pipe.delete(self._key("pause", app, path))
        pipe.exists(self._key("circuit", app, path))
        _, open_ = await pipe.execute()
        if not open_:
            await self._well(app, path)

    async def reset(self, app: str, path: Path, now: Millis) -> None:
        key = self._key("circuit", app, path)
        stored = await self._store.client.get(key)
        if stored is not None:
            after = after_reset(_circuit(stored), now + AFTER_RESET)
            await self._store.client.set(key, _encode(after), pxat=after.probe_at + _KEPT)

    async def view(self, app: str, now: Millis) -> Mapping[Path, PathView]:
        slots = range((now - WINDOW) // SLOT + 1, now // SLOT + 1)
        pipe = self._store.client.pipeline(transaction=False)
        for path in Path:
            keys = (self._key(kind, app, path) for kind in ("pause", "circuit", "receipts", "watch"))
            pipe.mget(*keys)
            for slot in slots:
                pipe.hgetall(self._store.key(f"answers:{app}:{path}:{slot}"))
        replies = await pipe.execute()
        size = 1 + len(slots)
        return {
            path: _view(replies[at * size], replies[at * size + 1 : (at + 1) * size], now)
            for at, path in enumerate(Path)
        }

    async def tell_again(self, now: Millis) -> dict[tuple[str, Path], CircuitState]:
        """Tells the facts of what is shut again, so that they do not lapse; answers how those circuits are, and once of
        each that closed since."""
        found: dict[tuple[str, Path], CircuitState] = {}
        for member in await self._store.client.smembers(self._store.key("shut")):
            app, _, name = member.decode().rpartition(" ")
            path = Path(name)
            paused, stored = await self._store.client.mget(
                self._key("pause", app, path), self._key("circuit", app, path)
            )
            circuit = None if stored is None else _circuit(stored)
            found[app, path] = CircuitState.CLOSED if circuit is None else circuit.state(now)
            if paused is not None:
                await self._facts.tell(app, path, PathHealth(healthy=False), lasts_ms=TOLD)
            elif circuit is None:
                await self._store.client.srem(self._store.key("shut"), member)
                await self._well(app, path)
            elif found[app, path] is CircuitState.OPEN:
                await self._facts.tell(app, path, PathHealth(healthy=False), lasts_ms=_until_probe(circuit, now))
        return found


def _until_probe(circuit: Circuit, now: Millis) -> Millis:
    """New plans go round the path until it may be probed; then one of them is the probe."""
    return max(min(circuit.probe_at - now, TOLD), 1)


def _view(stored: Any, slots: Sequence[Mapping[bytes, bytes]], now: Millis) -> PathView:
    paused = None if stored[0] is None else _pause(stored[0])
    circuit = None if stored[1] is None else _circuit(stored[1])
    unwell = None if stored[2] is None else _unwell(stored[2])
    usual = None if stored[3] is None else _watch(stored[3]).usual
    if usual is not None and usual.attempts < ENOUGH_USUAL:
        usual = None
    answers: Counter[tuple[str, str]] = Counter()
    receipts: Counter[int] = Counter()
    vain = last_minute = 0
    for age, slot in enumerate(reversed(slots)):
        for field, count in slot.items():
            outcome, _, reason = field.decode().partition(" ")
            if outcome == RECEIPT:
                receipts[int(reason)] += int(count)
            elif outcome == VAIN:
                vain += int(count)
            else:
                answers[outcome, reason] += int(count)
                last_minute += int(count) if age < MINUTE_SLOTS else 0
    state = CircuitState.CLOSED if unwell is None else CircuitState.HALF_OPEN  # probed by a share of the traffic
    shut = circuit or unwell
    return PathView(
        state=circuit.state(now) if circuit is not None else state,
        paused=paused is not None,
        reason=(paused.reason or f"paused by {paused.by}") if paused else shut.reason if shut else None,
        since=paused.at if paused else shut.since if shut else None,
        probe_at=None if circuit is None else circuit.probe_at,
        answers=answers,
        receipts=receipts,
        vain=vain,
        last_minute=last_minute,
        usual_rate=None if usual is None else usual.rate,
        usual_p95_s=None if usual is None else usual.p95_s,
    )
