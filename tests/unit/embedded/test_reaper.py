import io
import signal
import subprocess
import sys

from dispatcher.embedded.process import Identity, identify, runs
from dispatcher.embedded.reaper import read_orders, reap

_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"


def test_what_is_watched_and_not_forgotten_is_left_to_end() -> None:
    orders = b"watch 10 15 100\nwatch 11 9 Sun Nov 22 10:00:00 2026\nwatch 12 2 100\nforget 12\n"
    assert read_orders(io.BytesIO(orders)) == {
        Identity(pid=10, started="100"): signal.SIGTERM,
        Identity(pid=11, started="Sun Nov 22 10:00:00 2026"): signal.SIGKILL,
    }


def test_a_supervisor_that_says_done_leaves_nothing_to_end() -> None:
    assert read_orders(io.BytesIO(b"watch 10 15 100\ndone\n")) == {}


def test_a_process_that_ignores_its_signal_is_killed_after_the_grace() -> None:
    child = subprocess.Popen([sys.executable, "-c", _DEAF], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    child.stdout.readline()
    identity = identify(child.pid)
    assert identity is not None
    reap({identity: signal.SIGTERM}, grace=0.2)
    assert child.wait(timeout=5) == -signal.SIGKILL
    child.stdout.close()


def test_a_pid_that_was_reused_is_not_touched() -> None:
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    reap({Identity(pid=child.pid, started="0"): signal.SIGKILL}, grace=0.1)
    identity = identify(child.pid)
    assert identity is not None
    assert runs(identity)
    child.kill()
    child.wait()
