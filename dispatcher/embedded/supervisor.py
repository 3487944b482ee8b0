"""Keeps a list of processes alive, and ends all of them in order.

One thread, the main one: children die with the thread that forked them. See :mod:`dispatcher.embedded.reaper` for what
happens when the supervisor itself is killed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Self

from dispatcher.embedded.children import ChildSpec
from dispatcher.embedded.errors import LaunchError
from dispatcher.embedded.logs import open_log, rotate, tail
from dispatcher.embedded.places import DataDirectory
from dispatcher.embedded.process import has_ended, signal_group, spawn
from dispatcher.embedded.reaper import Reaper
from dispatcher.embedded.signals import StopSignals

FIRST_BACKOFF = 0.2  # seconds before the first restart
LAST_BACKOFF = 5.0
STABLE_AFTER = 10.0  # seconds alive after which a death counts as the first again
STARTS_BEFORE_READY = 3  # deaths of a child that never was ready until the start as a whole has failed
STOP_BUDGET = 9.0  # seconds for stopping everything; the promise is 10
_DEATHS_TO_EXPLAIN = 3
_READY_POLL = 0.05
_IDLE_POLL = 2.0
_ROTATE_EVERY = 10.0


def backoff(deaths: int) -> float:
    """Seconds to wait before the restart after the *deaths*-th death in a row (from 1): doubling, bounded."""
    return float(min(LAST_BACKOFF, FIRST_BACKOFF * 2 ** min(deaths - 1, 10)))


@dataclass(kw_only=True)
class _Child:
    spec: ChildSpec
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float | None = 0.0
    was_ready: bool = False
    deaths: int = 0

    @property
    def pid(self) -> int | None:
        return None if self.process is None else self.process.pid


class Supervisor:
    """Starts child specs, restarts what dies, stops all. A context manager: leaving it stops everything."""

    def __init__(
        self,
        directory: DataDirectory,
        signals: StopSignals,
        *,
        on_change: Callable[[dict[str, int]], None] = lambda pids: None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """*on_change* hears the pids whenever one changed; *say* is told what a person should know (stderr)."""
        self._directory = directory
        self._signals = signals
        self._on_change = on_change
        self._say = say or say_on_stderr
        self._children: dict[str, _Child] = {}
        self._reaper = Reaper()
        self._rotated_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """The running children's process ids by name."""
        return {name: child.pid for name, child in self._children.items() if child.pid is not None}

    def start(self, specs: Sequence[ChildSpec]) -> bool:
        """Start *specs* together and wait until all are ready. False when a stop was asked for meanwhile.

        Raises LaunchError, with the last lines of its log, when one keeps dying or is not ready in its time.
        """
        for spec in specs:
            if spec.name in self._children:
                raise ValueError(f"{spec.name} is supervised already")
            self._children[spec.name] = _Child(spec=spec)
        begun = time.monotonic()
        fresh = [self._children[spec.name] for spec in specs]
        while not self._signals.stop_requested:
            self._turn()
            if all(child.was_ready for child in fresh):
                return True
            for child in fresh:
                self._check_start(child, begun)
            self._signals.wait(_READY_POLL)
        return False

    def watch(self, until: Callable[[], bool] = lambda: False) -> None:
        """Keep everything alive until a stop is asked for, or *until* says so."""
        while not self._signals.stop_requested and not until():
            self._turn()
            self._signals.wait(self._next_turn())

    def stop(self) -> None:
        """Stop everything in order within STOP_BUDGET seconds; whoever lingers is killed. Twice is fine."""
        deadline = time.monotonic() + STOP_BUDGET
        running = sorted(self._running(), key=lambda child: child.spec.stop_order)
        tiers = [list(tier) for _, tier in groupby(running, key=lambda child: child.spec.stop_order)]
        patience = self._signals.requests + 1
        for position, tier in enumerate(tiers):
            reserve = 1.5 * (len(tiers) - position - 1)  # what later ones need at least
            self._stop_tier(tier, deadline - reserve, patience)
        self._children.clear()
        self._reaper.close()

    def _stop_tier(self, tier: list[_Child], deadline: float, patience: int) -> None:
        begun = time.monotonic()
        for child in tier:
            if child.process is not None and not has_ended(child.process):
                with contextlib.suppress(ProcessLookupError):
                    child.process.send_signal(child.spec.stop_signal)
        waiting = list(tier)
        while waiting:
            now = time.monotonic()
            for child in list(waiting):
                if child.process is None or has_ended(child.process):
                    waiting.remove(child)
                    self._tell_stopped(child)
                elif now >= min(begun + child.spec.stop_grace, deadline) or self._signals.requests > patience:
                    self._say(f"{child.spec.name} did not stop in time and is killed.")
                    signal_group(child.process.pid, signal.SIGKILL)
                    with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: go without it
                        child.process.wait(timeout=1.0)
                    waiting.remove(child)
                    self._reaper.forget(child.process.pid)
            if waiting:
                self._signals.wait(_READY_POLL)

    def _tell_stopped(self, child: _Child) -> None:
        if child.process is None:
            return
        code = child.process.returncode
        if code not in child.spec.clean_exits and code != -signal.SIGKILL:
            self._say(f"{child.spec.name} ended with {_in_words(code)} while it was stopped.")
        self._reaper.forget(child.process.pid)

    def _turn(self) -> None:
        """One look at everything: bury, start, probe, cut logs."""
        changed = False
        now = time.monotonic()
        for child in self._children.values():
            if child.process is not None and has_ended(child.process):
                self._bury(child, child.process, now)
                changed = True
            if child.process is None and child.start_at is not None and now >= child.start_at:
                changed |= self._spawn(child, now)
            if child.process is not None and not child.was_ready:
                child.was_ready = child.spec.ready is None or child.spec.ready()
        if changed:
            pids = self.pids
            self._directory.record(pids)
            self._on_change(pids)
        if now - self._rotated_at > _ROTATE_EVERY:
            self._rotated_at = now
            rotate(self._directory.logs)
        _reap_orphans(pids=self.pids.values())

    def _spawn(self, child: _Child, now: float) -> bool:
        spec = child.spec
        try:
            if spec.prepare is not None:
                spec.prepare()
            with open_log(self._directory.logs, spec.name) as log:
                child.process = spawn(
                    spec.argv,
                    env=spec.env if spec.bare_env else {**os.environ, **spec.env},
                    cwd=spec.cwd,
                    account=spec.account,
                    output=log,
                    death_signal=spec.death_signal,
                    keep_fds=[self._directory.lock_fd],
                )
        except LaunchError as error:
            if not child.was_ready:
                raise
            child.deaths += 1
            child.start_at = now + backoff(child.deaths)
            self._say(f"{spec.name} cannot be started: {error}")
            return False
        self._reaper.watch(child.process.pid, spec.death_signal)
        child.started_at, child.start_at = now, None
        return True

    def _bury(self, child: _Child, process: subprocess.Popen[bytes], now: float) -> None:
        self._reaper.forget(process.pid)
        child.process = None
        child.deaths = 1 if now - child.started_at > STABLE_AFTER else child.deaths + 1
        delay = backoff(child.deaths)
        child.start_at = now + delay
        self._say(
            f"{child.spec.name} (pid {process.pid}) ended with {_in_words(process.returncode)}; "
            f"starting it again in {delay:.1f} s."
        )
        if child.was_ready and child.deaths == _DEATHS_TO_EXPLAIN:
            self._say(self._with_log(child, f"{child.spec.name} keeps dying"))

    def _check_start(self, child: _Child, begun: float) -> None:
        if child.was_ready:
            return
        name = child.spec.name
        if child.deaths >= STARTS_BEFORE_READY:
            raise LaunchError(self._with_log(child, f"{name} does not start"))
        if time.monotonic() - begun > child.spec.ready_timeout:
            raise LaunchError(self._with_log(child, f"{name} is not ready after {child.spec.ready_timeout:g} s"))

    def _with_log(self, child: _Child, what: str) -> str:
        logs = self._directory.logs
        return f"{what}. The end of {logs / child.spec.name}.log:\n{tail(logs, child.spec.name) or '    (empty)'}"

    def _next_turn(self) -> float:
        now = time.monotonic()
        due = [child.start_at - now for child in self._children.values() if child.start_at is not None]
        unready = any(child.process is not None and not child.was_ready for child in self._children.values())
        return max(0.0, min([*due, _READY_POLL if unready else _IDLE_POLL]))

    def _running(self) -> list[_Child]:
        return [child for child in self._children.values() if child.process is not None]


def say_on_stderr(line: str) -> None:
    """Tell the person at the terminal."""
    with contextlib.suppress(OSError):  # the terminal may be gone
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _in_words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _reap_orphans(*, pids: Iterable[int]) -> None:
    """As process 1 of a container, bury what others left; nobody else would."""
    if os.getpid() != 1:
        return
    ours = set(pids)
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid in ours:
                return  # its Popen buries it; look for others at the next turn
            os.waitpid(ended.si_pid, os.WNOHANG)
