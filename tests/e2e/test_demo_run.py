import json
from typing import Any

import pytest

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(240)]
PROOFS = ["longconn", "apns", "poll", "sms", "apns", "longconn and sms"]


def _play(up: Any) -> dict[str, Any]:
    ended = up.run("demo", "--json", timeout=200)
    assert ended.stdout, ended.stderr
    outcome: dict[str, Any] = json.loads(ended.stdout)
    assert ended.returncode == (0 if outcome["proven"] else 1)
    return outcome


def test_the_demo_proves_every_path_and_does_so_again_on_kept_data(up: Any) -> None:
    for _ in range(2):
        outcome = _play(up)
        assert outcome["proven"], json.dumps(outcome, indent=1)
        assert [message["confirmed_by"] for message in outcome["messages"]] == PROOFS
        assert all(check["passed"] for check in outcome["checks"])
        assert len(outcome["checks"]) >= 15
        assert outcome["seconds"] < 60


def test_off_a_terminal_the_demo_prints_a_line_a_step_and_its_checks(up: Any) -> None:
    ended = up.run("demo", timeout=200)
    assert ended.returncode == 0, ended.stdout
    assert "1. Proven over the long connection" in ended.stdout
    assert "li-android: fcm token_dead (UNREGISTERED)" in ended.stdout
    assert "\x1b[" not in ended.stdout, "no escape codes in a pipe"
    assert "All 6 messages were proven" in ended.stdout.splitlines()[-1]


def test_an_end_that_refuses_every_push_is_told_and_is_exit_1(up: Any) -> None:
    import httpx

    control = up.document["sandbox"]["control_url"]
    script = {"errors": [{"status": 403, "reason": "Forbidden"}]}
    with httpx.Client(trust_env=False) as client:
        client.put(f"{control}/control/apns", json=script).raise_for_status()
        try:
            outcome = _play(up)
            kept = client.get(f"{control}/control/fcm").json()
        finally:
            client.delete(f"{control}/control/apns").raise_for_status()
    assert not outcome["proven"]
    states = [message["state"] for message in outcome["messages"]]
    assert states[0] == "proven"
    assert states[1] == "failed"
    assert outcome["messages"][1]["problem"]
    assert not kept.get("errors"), "what the demo scripted is gone again"


def test_without_a_running_up_it_says_what_to_do(up: Any, tmp_path: Any) -> None:
    ended = up.run("demo", "--data", str(tmp_path))
    assert ended.returncode == 1
    assert "start `pushpath up` first" in ended.stderr
