"""The benchmark of looking, small enough for every run: it must not rot."""

import pytest

from dispatcher.bench.looking import run


@pytest.mark.xdist_group("bench")
def test_every_door_answers_and_what_was_put_there_is_found() -> None:
    report = run(quick=True)
    assert report["name"] == "looking"
    assert report["figures"]["stored"]["value"] == 4_000
    assert len([name for name in report["figures"] if name.endswith(".p95")]) > 40
