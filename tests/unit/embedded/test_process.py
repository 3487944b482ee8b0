import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dispatcher.embedded.errors import LaunchError
from dispatcher.embedded.process import has_ended, identify, spawn


def test_a_zombie_counts_as_gone() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{child.pid}/stat").exists()
    assert identify(child.pid) is None
    child.wait()


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1])
def test_an_impossible_pid_is_nobody(pid: int) -> None:
    assert identify(pid) is None


def test_a_missing_program_is_an_error_with_its_name() -> None:
    with pytest.raises(LaunchError, match="/no/such/program"):
        spawn(["/no/such/program"])


def test_only_the_main_thread_may_spawn() -> None:
    failures: list[BaseException] = []

    def attempt() -> None:
        try:
            spawn(["true"])
        except RuntimeError as error:
            failures.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert len(failures) == 1


def test_what_an_ended_child_left_running_is_swept_with_it() -> None:
    child = spawn(["/bin/sh", "-c", "sleep 60 & echo $!"], output=subprocess.PIPE)
    assert child.stdout is not None
    grandchild = int(child.stdout.readline())
    child.stdout.close()
    _wait_until(lambda: has_ended(child))
    _wait_until(lambda: identify(grandchild) is None)


def test_a_child_starts_with_default_signals_in_a_session_of_its_own() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = "import os, signal; print(os.getsid(0) == os.getpid(), signal.getsignal(2) is not signal.SIG_IGN)"
        child = spawn([sys.executable, "-c", code], output=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, before)
    assert child.communicate()[0] == b"True True\n"


def _wait_until(condition: object, seconds: float = 5.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()
