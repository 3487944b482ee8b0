"""The last to leave: ends what a killed supervisor left behind.

A small process that reads the supervisor's children from a pipe. When the pipe breaks (the supervisor is gone, by
whatever means) it sends each child its signal, and SIGKILL to its whole group after a grace. On Linux the children get
their signal from the kernel as well; the reaper adds the SIGKILL for one that does not listen, and serves macOS.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from dispatcher.embedded.process import Identity, identify, runs, signal_group

_GRACE = 7.0  # seconds from the supervisor's death to SIGKILL


class Reaper:
    """The supervisor's end of the pipe."""

    def __init__(self) -> None:
        # -I would drop PYTHON* settings that locate us; the path goes in by hand instead.
        root = str(Path(__file__).resolve().parents[2])
        program = "import sys; sys.path.insert(0, sys.argv[1]); from dispatcher.embedded.reaper import main; main()"
        self._process = subprocess.Popen(  # noqa: S603 - our own code
            [sys.executable, "-c", program, root],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, pid: int, death_signal: int) -> None:
        """From now on *pid* shall not outlive us."""
        identity = identify(pid)
        if identity is not None:
            self._tell(f"watch {pid} {int(death_signal)} {identity.started}")

    def forget(self, pid: int) -> None:
        """*pid* has ended and may be reused by others."""
        self._tell(f"forget {pid}")

    def close(self) -> None:
        """Let it go: everything it watched has ended."""
        self._tell("done")
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, line: str) -> None:
        pipe = self._process.stdin
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(OSError):  # somebody killed it; the kernel's signals remain
                pipe.write(f"{line}\n".encode())
                pipe.flush()


def main() -> None:
    """Read orders until the pipe ends, then reap."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # only the end of the pipe counts
    os.chdir("/")
    left = read_orders(sys.stdin.buffer)
    if left:
        reap(left, grace=_GRACE)


def read_orders(pipe: IO[bytes]) -> dict[Identity, int]:
    """What is left to end when the pipe ends, with each one's signal; nothing after a ``done``."""
    watched: dict[int, tuple[Identity, int]] = {}
    for line in pipe:
        match line.decode().split(maxsplit=3):
            case ["watch", pid, number, started]:
                watched[int(pid)] = (Identity(pid=int(pid), started=started.strip()), int(number))
            case ["forget", pid]:
                watched.pop(int(pid), None)
            case ["done"]:
                watched.clear()
    return dict(watched.values())


def reap(left: dict[Identity, int], *, grace: float) -> None:
    """Signal each process once, and all it left of its group with SIGKILL when it has ended or *grace* is over."""
    for identity, number in left.items():
        if runs(identity):
            with contextlib.suppress(OSError):
                os.kill(identity.pid, number)
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline and any(runs(identity) for identity in left):
        time.sleep(0.1)
    for identity in left:
        # While a group has members its number is not given to a new process; a living stranger means it was.
        if identify(identity.pid) in (None, identity):
            signal_group(identity.pid, signal.SIGKILL)
