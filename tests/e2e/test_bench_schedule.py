"""The schedule's benchmark, small enough for every run, on the `up` that is there: it must not rot."""

from datetime import timedelta
from typing import Any

import pytest

from dispatcher.bench.schedule import Shape, released


@pytest.mark.xdist_group("up")
@pytest.mark.timeout(180)
async def test_what_is_scheduled_leaves_soon_after_its_moment_and_never_before(up: Any) -> None:
    shape = Shape(crowd=20, singles=5, ahead=timedelta(seconds=3), within=timedelta(seconds=3))
    figures = {name: value for name, (value, _) in (await released(up.document, shape)).items()}
    assert (figures.pop("crowd"), figures.pop("singles")) == (20, 5)
    assert 0 <= figures["singles_planned_p50"] <= figures["singles_planned_p99"]
    assert figures["singles_planned_p99"] <= figures["singles_handed_over_p99"] <= figures["singles_handed_over_max"]
    assert all(0 <= late < 30 for late in figures.values()), figures  # beside other tests; the goal is 2 s
