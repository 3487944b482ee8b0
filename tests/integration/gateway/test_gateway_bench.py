"""The benchmark, small enough for every run: it must not rot."""

import sys
from pathlib import Path

import pytest

from dispatcher.bench.gateway import Reference, run

GATEWAY = """#!{python}
import sys, time
print("ready", sys.argv[1], flush=True)
end = time.process_time() + 0.2
while time.process_time() < end:
    pass
time.sleep(60)
"""
LOAD = """#!{python}
import json, sys, time
print(json.dumps(sys.argv[1:]), flush=True)
verb, seconds, wish = sys.stdin.readline().split(" ", 2)
assert verb == "go" and json.loads(wish)["window"] == 1000
time.sleep(0.4)
print(json.dumps({{"n": 10_000}}), flush=True)
sys.stdin.readline()
"""


def program(path: Path, text: str) -> Path:
    path.write_text(text.format(python=sys.executable))
    path.chmod(0o755)
    return path


@pytest.mark.timeout(240)
def test_every_part_runs_and_measures_beside_a_reference(tmp_path: Path) -> None:
    reference = Reference(gateway=program(tmp_path / "gateway", GATEWAY), load=program(tmp_path / "load", LOAD))
    report = run(quick=True, reference=reference)
    assert report["name"] == "gateway"
    figures = {name: figure["value"] for name, figure in report["figures"].items()}
    assert figures.pop("crowd_accept_store_cpu") >= 0
    assert all(value > 0 for value in figures.values()), figures
    assert figures["crowd_connections"] == 300
    assert set(report["targets"]) == {
        "accepts_per_core",
        "crowd_rss",
        "latency_p99",
        "long_poll_per_core",
        "memory_per_connection",
        "message_ack",
    }
    assert not report["targets"]["crowd_rss"]["met"]  # three hundred are no crowd
    assert set(report["ratios"]) == {"accept", "message_ack"}
    assert all(ratio["value"] > 0 for ratio in report["ratios"].values())
