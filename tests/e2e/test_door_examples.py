"""Every example of ops/docs/doors.md, pasted into a shell one after another, answers what stands under it."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DOORS = Path(__file__).parents[2] / "ops" / "docs" / "doors.md"
_BLOCK = re.compile(r"^```(bash|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> Iterator[tuple[str, Any]]:
    """Scripts with a part of what the last line of each prints; None where nothing is said of it."""
    script: str | None = None
    for kind, text in _BLOCK.findall(DOORS.read_text()):
        if kind == "bash":
            if script is not None:
                yield script, None
            script = text
        elif script is not None:
            yield script, json.loads(text)
            script = None
    if script is not None:
        yield script, None


def holds(part: Any, whole: Any) -> bool:
    """Whether *whole* says at least what *part* says; ``...`` stands for any piece of a text."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and holds(part[name], whole[name]) for name in part)
    if isinstance(part, list):
        if not isinstance(whole, list) or (not part and whole):
            return False
        return all(any(holds(one, other) for other in whole) for one in part)
    if isinstance(part, str) and "..." in part and part != whole:
        pattern = ".+".join(re.escape(piece) for piece in part.split("..."))
        return isinstance(whole, str) and re.fullmatch(pattern, whole) is not None
    return bool(part == whole)


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        ({"a": "..."}, {"a": "x", "b": 1}, True),
        ({"a": []}, {"a": [1]}, False),
        ([{"a": 1}], [{"a": 2}, {"a": 1, "b": 2}], True),
        ({"a": "0...1"}, {"a": "0 and 1"}, True),
        ({"a": None}, {}, False),
    ],
)
def test_a_part_is_held_against_the_whole(part: Any, whole: Any, said: bool) -> None:
    assert holds(part, whole) is said


@pytest.mark.xdist_group("up")
def test_every_example_answers_as_written(up: Any) -> None:
    found = list(examples())
    assert len(found) > 15
    given = {
        "API": up.document["api_url"],
        "KEY": up.document["api_key"],
        "SANDBOX": up.document["sandbox"]["control_url"],
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    for script, expected in found:
        ran = subprocess.run(
            ["bash", "-e", "-c", script], env=given, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, f"{script}\n{ran.stdout}\n{ran.stderr}"
        if expected is not None:
            answer, at = None, 0
            decoder = json.JSONDecoder()
            while at < len(ran.stdout):  # of several answers in a row, the last
                answer, at = decoder.raw_decode(ran.stdout, at)
                at += len(ran.stdout[at:]) - len(ran.stdout[at:].lstrip())
            assert holds(expected, answer), f"{script}\n{ran.stdout}"
