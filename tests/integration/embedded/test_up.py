import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.embedded.errors import LaunchError
from dispatcher.embedded.places import DataDirectory
from dispatcher.embedded.probes import answers_http
from dispatcher.embedded.process import identify
from dispatcher.embedded.upfile import read_up_file

_PROGRAM = Path(__file__).with_name("up_with_children.py")
_ROOT = Path(__file__).parents[3]


class Up:
    """One supervisor as a process of its own."""

    def __init__(self, data: Path, *flags: str) -> None:
        self.data = data
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self.process = subprocess.Popen(
            [sys.executable, str(_PROGRAM), str(data), *flags],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )

    def announced(self) -> dict[str, Any]:
        """The document it printed once everything was up."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.errors()
        document: dict[str, Any] = json.loads(line)
        return document

    def document(self) -> dict[str, Any]:
        return read_up_file(self.data / "up.json")

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode()

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Seconds until it had ended."""
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout=15)
        return time.monotonic() - begun

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._errors.close()


@pytest.fixture
def data() -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="pushpath-test-"))
    parent.chmod(0o711)
    yield parent / "data"
    _eventually(lambda: not _processes_of(parent))
    for left in parent.iterdir():
        DataDirectory(left, fresh=True).discard()
    shutil.rmtree(parent)


@pytest.fixture
def up(data: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def start(*flags: str) -> Up:
        started.append(Up(data, *flags))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_everything_runs_until_sigterm_and_nothing_is_left(up: Callable[..., Up], data: Path) -> None:
    running = up()
    document = running.announced()
    assert document["console_url"] is None
    assert document["pids"]["console"] is None
    assert all(identify(document["pids"][name]) for name in ("api", "worker", "hot_store", "ledger"))
    assert running.document()["pids"] == document["pids"]
    log = data / "logs/worker.log"
    _eventually(lambda: "\n" in log.read_text())
    grandchild = int(log.read_text().splitlines()[0])
    assert identify(grandchild)

    assert running.stop() < 10
    assert running.process.returncode == 0
    assert not (data / "up.json").exists()
    assert not _processes_of(data)
    assert identify(grandchild) is None


@pytest.mark.parametrize("name", ["api", "worker", "hot_store", "ledger"])
def test_what_dies_is_started_again_at_the_same_address(up: Callable[..., Up], name: str) -> None:
    running = up()
    before = running.announced()
    os.kill(before["pids"][name], signal.SIGKILL)
    _eventually(lambda: (running.document()["pids"][name] or before["pids"][name]) != before["pids"][name])
    after = running.document()
    assert after["api_url"] == before["api_url"]
    assert {key: pid for key, pid in after["pids"].items() if key != name} == {
        key: pid for key, pid in before["pids"].items() if key != name
    }
    _eventually(answers_http(int(before["api_url"].rpartition(":")[2]), "/"))
    assert f"{name} (pid {before['pids'][name]}) ended with SIGKILL" in running.errors()
    assert running.stop(signal.SIGINT) < 10


def test_a_killed_supervisor_takes_everything_along_and_can_be_started_again(up: Callable[..., Up], data: Path) -> None:
    killed = up()
    killed.announced()
    grandchild = int((data / "logs/worker.log").read_text().splitlines()[0])
    killed.stop(signal.SIGKILL)
    with pytest.raises(LaunchError, match="has died"):
        killed.document()
    again = up()
    again.announced()
    pids = set(again.document()["pids"].values()) - {None}
    strangers = _processes_of(data) - pids - {again.process.pid}
    assert {_parent(pid) for pid in strangers} <= {*pids, again.process.pid}, "only the new supervisor's own"
    _eventually(lambda: identify(grandchild) is None)
    assert again.stop() < 10


def test_a_killed_supervisors_deaf_child_is_killed_too(up: Callable[..., Up], data: Path) -> None:
    running = up("--deaf")
    running.announced()
    deaf = json.loads((data / "lock").read_text())["children"]["deaf"][0]
    assert _ignores(deaf, signal.SIGTERM), "else SIGTERM from the kernel would be enough"
    running.stop(signal.SIGKILL)
    _eventually(lambda: identify(deaf) is None, seconds=12)


def _ignores(pid: int, number: signal.Signals) -> bool:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigIgn"], 16) >> (number - 1) & 1)


def test_a_deaf_child_does_not_hold_up_the_end(up: Callable[..., Up]) -> None:
    running = up("--deaf")
    running.announced()
    assert running.stop() < 10
    assert "deaf did not stop in time and is killed" in running.errors()


def test_a_child_that_never_starts_fails_the_start_and_shows_its_log(up: Callable[..., Up], data: Path) -> None:
    running = up("--broken")
    assert running.process.wait(timeout=30) == 1
    assert "broken does not start" in running.errors()
    assert "    no luck" in running.errors()
    assert not (data / "up.json").exists()


@pytest.mark.parametrize("code", [0, 3])
def test_with_exit_the_demos_code_is_the_result(up: Callable[..., Up], code: int) -> None:
    running = up("--exit", "--demo", str(code))
    assert running.process.wait(timeout=30) == code
    assert running.process.stdout is not None
    assert running.process.stdout.read() == b"demo\n"


def test_a_stop_in_the_middle_of_the_start_is_heeded(up: Callable[..., Up], data: Path) -> None:
    running = up("--slow-compose")
    _eventually(lambda: (data / "logs/ledger.log").exists() and b"ready" in (data / "logs/ledger.log").read_bytes())
    assert running.stop() < 10
    assert running.process.returncode == 0


def test_two_on_one_directory_are_refused_and_two_side_by_side_are_fine(up: Callable[..., Up], data: Path) -> None:
    first = up()
    document = first.announced()
    second = up()
    assert second.process.wait(timeout=20) == 1
    assert f"in use by process {first.process.pid}" in second.errors()

    beside = Up(data.with_name("beside"))
    assert beside.announced()["api_url"] != document["api_url"]
    assert beside.stop() < 10
    beside.close()
    assert first.process.poll() is None
    assert first.stop() < 10


def _eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _processes_of(directory: Path) -> set[int]:
    """Processes that stand in *directory* or name it."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            stands = str((entry / "cwd").readlink())
            named = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if (stands + "/").startswith(f"{directory}/") or str(directory).encode() in named:
            found.add(int(entry.name))
    return found
