"""The benchmark, small enough for every run: it must not rot."""

import pytest

from dispatcher.bench.pipeline import run


@pytest.mark.timeout(120)
def test_every_stage_is_measured_and_what_was_measured_is_settled() -> None:
    report = run(quick=True)
    assert report["targets"]["books"]["met"]
    stages = {name.partition(".")[2] for name in report["figures"]}
    assert stages == {"accept", "plan", "send", "receive", "sweep", "archive", "ours", "hot_store", "ledger"}
    ours = {name: figure["value"] for name, figure in report["figures"].items() if not name.endswith(".ledger")}
    assert all(value > 0 for value in ours.values()), ours
    for shape in ("batch_500", "batch_100", "single"):
        total = ours.pop(f"{shape}.ours")
        del ours[f"{shape}.hot_store"]
        assert sum(value for name, value in ours.items() if name.startswith(shape)) == pytest.approx(total, rel=0.01)
