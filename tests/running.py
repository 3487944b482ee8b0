"""A whole `pushpath up` as a program, for the tests that ask one from outside."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dispatcher.embedded.errors import LaunchError
from dispatcher.embedded.places import DataDirectory
from dispatcher.embedded.upfile import read_up_file

ROOT = Path(__file__).parents[1]
READY_WITHIN_S = 100.0
ENV_KEPT_OUT = ("PUSHPATH_",)


@dataclass(frozen=True, kw_only=True)
class RunningUp:
    """A `pushpath up` that serves. *document*: its up.json."""

    data: Path
    document: dict[str, Any]

    def run(
        self, *arguments: str, stdin: str | None = None, cwd: Path | None = None, timeout: float = 90
    ) -> subprocess.CompletedProcess[str]:
        """The `pushpath` command with *arguments*, in the directory that holds `.data` unless told otherwise."""
        return subprocess.run(
            command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=cwd or self.data.parent,
            env=environment(),
            check=False,
        )


def command(*arguments: str) -> list[str]:
    """The program of this checkout, whatever is installed."""
    return [sys.executable, "-c", "from dispatcher.cli import main; main()", *arguments]


def environment(**more: str) -> dict[str, str]:
    """Ours without settings of Pushpath."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ENV_KEPT_OUT)}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


@contextlib.contextmanager
def running_up(parent: Path, flags: Sequence[str] = (), *, keep: bool = False, **settings: str) -> Iterator[RunningUp]:
    """A `pushpath up` on *parent*/.data; then stopped and, unless *keep*, its data gone. *settings*: variables."""
    data = parent / ".data"
    log = parent / "up.out"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("up", "--data", str(data), "--ports", "auto", *flags),
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(**settings),
            cwd=parent,
        )
    try:
        yield RunningUp(data=data, document=_announced(process, data, log))
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if not keep:
            DataDirectory(data, fresh=True).discard()


def _announced(process: "subprocess.Popen[bytes]", data: Path, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        with contextlib.suppress(LaunchError):
            return read_up_file(data / "up.json")
        assert process.poll() is None, f"up ended with {process.returncode}:\n{log.read_text()}"
        time.sleep(0.1)
    raise AssertionError(f"up was not ready within {READY_WITHIN_S:g} s:\n{log.read_text()}")


@contextlib.contextmanager
def directory(prefix: str) -> Iterator[Path]:
    """A temporary one that, as root, the servers' account may pass through."""
    made = Path(tempfile.mkdtemp(prefix=prefix))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
