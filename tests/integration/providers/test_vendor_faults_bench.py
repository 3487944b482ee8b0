"""A tenth of errors of every kind through a real worker process; 100,000 of them: ``pushpath bench vendor-faults``."""

from collections import Counter
from typing import Any

import pytest

from dispatcher.bench.vendor_faults import FAULTS, RETRIES, judge, run, token_of


def entry(token: str, status: int = 200, reason: str | None = None, collapse_id: str = "k") -> dict[str, Any]:
    answer = {"status": status, "reason": reason}
    return {"target": token, "answer": answer, "headers": {"apns-collapse-id": collapse_id}}


RETRIED = next(kind for kind, (_, _, again) in enumerate(FAULTS) if again) * 10


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ([entry(token_of(1))], {"taken": 1, "lost": 1}),
        ([entry(token_of(1)), entry(token_of(1)), entry(token_of(0), 410)], {"doubled": 1, "refused": 1}),
        ([entry(token_of(0), 410), entry(token_of(1)), entry("ff")], {"refused": 1, "taken": 1, "stray": 1}),
        ([entry(token_of(0), 403, "InvalidProviderToken"), entry(token_of(1))], {"refused": 1, "taken": 1}),
    ],
)
def test_the_log_is_judged(log: list[dict[str, Any]], found: dict[str, int]) -> None:
    assert +judge(log, 2) == Counter(found)


@pytest.mark.parametrize(("tries", "verdict"), [(1 + RETRIES, "refused"), (2 + RETRIES, "too_often")])
def test_what_may_come_again_has_a_bound_and_one_collapse_id(tries: int, verdict: str) -> None:
    token = token_of(RETRIED)
    assert judge([entry(token, 500)] * tries, RETRIED + 1)[verdict] == 1
    changed = [entry(token, 500), entry(token, 500, collapse_id="other")]
    assert judge(changed, RETRIED + 1)["doubled"] == 1


@pytest.mark.timeout(240)
def test_none_is_lost_hung_or_doubled_through_a_real_worker() -> None:
    document = run(quick=True)
    missed = [name for name, target in document["targets"].items() if not target["met"]]
    assert not missed, document["figures"]
    assert document["figures"]["taken"]["value"] > 500
