"""`pushpath` processes of this checkout, for the benchmarks that measure whole ones from outside."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def command(*arguments: str) -> list[str]:
    """The program of this checkout, whatever is installed."""
    return [sys.executable, "-c", "from dispatcher.cli import main; main()", *arguments]


def surroundings(settings: Mapping[str, str]) -> dict[str, str]:
    """Our variables with *settings* in place of any of Pushpath that happen to be set; no coverage is taken."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PUSHPATH_", "COV"))}
    return {**kept, **settings}


@contextmanager
def stopped_after(process: "subprocess.Popen[bytes]", within_s: float) -> Iterator[None]:
    """Told to stop at the block's end, and killed where it does not in time."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
