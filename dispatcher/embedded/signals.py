"""Signals of the supervisor: a request to stop is noted, and wakes whoever waits."""

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignals:
    """While entered, SIGTERM, SIGINT and SIGHUP ask to stop instead of killing; SIGCHLD only wakes.

    The main loop asks `stop_requested`; other code may be busy for seconds: within :meth:`interrupt` a signal raises
    KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._interrupting = False
        self._before: dict[int, Any] = {}
        self._pipe: tuple[int, int] = (-1, -1)
        self._wakeup_before = -1

    @property
    def stop_requested(self) -> bool:
        """Whether anyone asked to stop."""
        return self.requests > 0

    def __enter__(self) -> Self:
        self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
        self._wakeup_before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in (*_STOPPING, signal.SIGCHLD):
            before = signal.getsignal(number)
            if number == signal.SIGHUP and before == signal.SIG_IGN:  # under nohup
                continue
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()
        signal.set_wakeup_fd(self._wakeup_before)
        for end in self._pipe:
            os.close(end)

    @contextlib.contextmanager
    def interrupt(self) -> Iterator[None]:
        """Within it the first request to stop raises KeyboardInterrupt, also one that came before."""
        if self.stop_requested:
            raise KeyboardInterrupt
        self._interrupting = True
        try:
            yield
        finally:
            self._interrupting = False

    def wait(self, seconds: float) -> None:
        """Return after *seconds*, or as soon as a signal has come."""
        select.select([self._pipe[0]], [], [], max(0.0, seconds))
        with contextlib.suppress(BlockingIOError):
            while os.read(self._pipe[0], 512):
                pass

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGCHLD:
            return
        self.requests += 1
        if self._interrupting:
            self._interrupting = False
            raise KeyboardInterrupt


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends
