"""Starting a process that dies with us, and telling processes apart for certain.

``PR_SET_PDEATHSIG`` belongs to the *thread* that forked: when that thread ends, the child gets the signal.
Hence :func:`spawn` refuses any thread but the main one.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dispatcher.embedded.account import Account
from dispatcher.embedded.errors import LaunchError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_ON_LINUX = sys.platform == "linux"
#: A daemon started from a shell's background job inherits ignored signals; a child must not.
_RESET = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def _parent_death_hook(death_signal: int) -> Callable[[], None]:
    """What the child runs between fork and exec; it may touch nothing that another thread could have locked."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl if _ON_LINUX else None
    parent = os.getpid()

    def prepare() -> None:
        for number in _RESET:
            signal.signal(number, signal.SIG_DFL)
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
            if os.getppid() != parent:  # it died before the request took hold
                os._exit(1)

    return prepare


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
    output: IO[bytes] | int | None = None,
    stdin: int = subprocess.DEVNULL,
    death_signal: int = signal.SIGTERM,
    keep_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start *argv* in a session of its own, tied to our life.

    *env* is the whole environment (None: ours). *account* is whom to run it as (None: ourselves).
    *keep_fds* stay open in the child: it holds the data directory's lock with us.
    Raises LaunchError when the program cannot be started, RuntimeError outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("spawn() must run in the main thread: the child dies with the thread that forked it")
    try:
        return subprocess.Popen(  # noqa: S603 - argv is ours
            list(argv),
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            pass_fds=tuple(keep_fds),
            start_new_session=True,
            preexec_fn=_parent_death_hook(death_signal),
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise LaunchError(f"Cannot start {argv[0]}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One process for certain: a pid is reused, a pid with its start time is not."""

    pid: int
    started: str


def identify(pid: int) -> Identity | None:
    """The identity of a running process; None when it is gone or a zombie."""
    if pid <= 0:
        return None
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
        state, started = fields[0], fields[19]  # fields 3 and 22 of proc(5)
        return None if state in "ZX" else Identity(pid=pid, started=started)
    reply = subprocess.run(  # noqa: S603 - a fixed command and a number
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = reply.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else Identity(pid=pid, started=started.strip())


def runs(identity: Identity) -> bool:
    """Whether exactly that process still runs."""
    return identify(identity.pid) == identity


def working_directory(pid: int, *, unknown: Path) -> Path | None:
    """Where a process stands; None when it is gone or another user's, *unknown* on systems without /proc."""
    if not Path("/proc/self/cwd").exists():
        return unknown
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def signal_group(pid: int, number: int) -> None:
    """Signal every process in the session's group that *pid* leads; an empty group is no error."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        return


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether *process* has ended. Sweeps what it left of its group before its pid is given back."""
    if process.returncode is not None:
        return True
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return process.poll() is not None
    try:
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            return False
    except ChildProcessError:
        return process.poll() is not None
    signal_group(process.pid, signal.SIGKILL)
    return process.poll() is not None
