"""What ops/bootstrap.py relies on in the locks."""

import re
from pathlib import Path

import pytest

_LOCKS = Path(__file__).parents[3] / "ops/lock"


def _entries(lock: str) -> set[str]:
    return set((_LOCKS / lock).read_text().replace(" \\\n", "").splitlines())


def test_the_development_lock_contains_what_runs_pin_by_pin() -> None:
    assert _entries("run.txt") <= _entries("dev.txt")


@pytest.mark.parametrize("lock", ["run.txt", "dev.txt"])
def test_every_line_is_a_pin_with_hashes_and_names_no_address(lock: str) -> None:
    pin = re.compile(r"[a-z0-9._\[\],-]+==\S+( ; [^#/]+?)?(    --hash=sha256:[0-9a-f]{64})+")
    assert [entry for entry in _entries(lock) if not pin.fullmatch(entry)] == []
