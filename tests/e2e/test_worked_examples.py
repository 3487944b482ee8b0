"""The worked examples of ops/examples, as a new user plays them: one command each.

They publish strategies for classes that other tests dispatch, so they have an `up` of their own.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.running import directory, running_up

EXAMPLES = Path(__file__).parents[2] / "ops" / "examples"


@pytest.fixture(scope="module")
def own_up() -> Iterator[Any]:
    """Everything on this machine, for this module."""
    with directory("pushpath-examples-") as parent, running_up(parent) as running:
        yield running


@pytest.mark.xdist_group("examples")
@pytest.mark.parametrize("name", ["chat", "otp", "alert"])
def test_everything_comes_as_the_document_says(own_up: Any, name: str) -> None:
    played = subprocess.run(
        [sys.executable, str(EXAMPLES / "play.py"), name, "--data", str(own_up.data)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env={"PYTHONPATH": str(EXAMPLES.parents[1]), "PATH": "/usr/bin:/bin"},
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert played.stdout.endswith("Everything came as the document says.\n")
