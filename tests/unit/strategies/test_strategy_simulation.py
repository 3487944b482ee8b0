"""A draft held against what was recorded: figures of both, no evidence where none was seen, the cases that change."""

from collections.abc import Iterator

from strategies.bench import devices, run, ten_rules
from strategies.compile import Strategy, compile_strategy
from strategies.course import RecordedDelivery
from strategies.document import parse_document
from strategies.engine import plan
from strategies.facts import Row, row_from
from strategies.replay import Evidence, RecordedTrack, replay
from strategies.simulate import simulate, simulate_facts

OLD = """
strategy: t
limits: {sms: {per_user: 3/1d}}
rules:
  - {name: call, when: message.class == "call", ladder: [{path: push, wait: 6s}]}
  - name: everyone
    ladder: [{path: longconn, wait: 5s}, {path: push, wait: 30s}, {path: sms, wait: 1m, if: user.sms_opt_in}]
"""
NEW = OLD.replace("wait: 30s", "wait: 60s").replace("name: call", "name: ring")


def compiled(source: str, version: int = 1) -> Strategy:
    return compile_strategy(parse_document(source), "t", version)


def facts(**changes: object) -> Row:
    base: dict[str, object] = {
        "message.class": "chat",
        "device.platform": "ios",
        "device.presence": "online",
        "device.token.apns": True,
        "user.sms_opt_in": True,
        "user.has_phone": True,
        "user.phone_verified": True,
    }
    return row_from(base | {name.replace("__", "."): value for name, value in changes.items()})


def delivery(*tracks: RecordedTrack, number: int = 1, segments: int = 2) -> RecordedDelivery:
    return RecordedDelivery(f"d{number}", f"m{number}", "li", tracks, sms_segments=segments)


LATE_PUSH = RecordedTrack(facts(), {"longconn": Evidence(None), "apns": Evidence(50_000), "sms": Evidence(4_000)})
QUICK = RecordedTrack(facts(), {"longconn": Evidence(800)})
UNSEEN = RecordedTrack(facts(device__presence="offline"), {"poll": Evidence(None)})


def test_a_longer_wait_saves_the_sms_that_late_proof_made_needless() -> None:
    result = simulate(compiled(OLD), compiled(NEW, 2), [delivery(LATE_PUSH)], segment_price=0.05)

    assert result["sms_segments"] == {"old": 2, "new": 0}
    assert result["cost"] == {"old": 0.1, "new": 0.0, "segment_price": 0.05}
    assert result["confirmed"] == {"old": 1, "new": 1}
    assert result["paths"] == [
        {"path": "longconn", "old": 1, "new": 1},
        {"path": "apns", "old": 1, "new": 1},
        {"path": "fcm", "old": 0, "new": 0},
        {"path": "poll", "old": 0, "new": 0},
        {"path": "sms", "old": 1, "new": 0},
    ]
    change = result["changes"][0]
    assert change["old"]["time_to_proof_s"] == 39.0
    assert change["new"]["time_to_proof_s"] == 55.0
    assert "rule everyone of t@2 matched because" in change["new"]["tracks"][0]["explanation"]


def test_all_rules_of_both_are_listed_also_at_zero() -> None:
    result = simulate(compiled(OLD), compiled(NEW, 2), [delivery(QUICK)])

    assert result["rules"] == [
        {"name": "ring", "old": 0, "new": 0},
        {"name": "everyone", "old": 1, "new": 1},
        {"name": "call", "old": 0, "new": 0},
    ]
    assert result["changes"] == []


def test_a_path_that_was_never_tried_is_no_evidence_and_not_a_failure() -> None:
    result = simulate(compiled(OLD), compiled(NEW, 2), [delivery(UNSEEN)])

    assert result["confirmed"] == {"old": 0, "new": 0}
    assert result["no_evidence"] == {"old": 1, "new": 1}


def test_proof_on_one_device_stops_the_sms_of_all() -> None:
    result = simulate(compiled(OLD), compiled(NEW, 2), [delivery(LATE_PUSH, QUICK)])

    assert result["sms_segments"] == {"old": 0, "new": 0}
    assert result["decisions"] == 2


def test_sms_waits_for_the_last_track_that_made_a_real_attempt() -> None:
    offline = RecordedTrack(facts(device__presence="offline", device__token__apns=False), {})
    silent = RecordedTrack(facts(), {"longconn": Evidence(None), "apns": Evidence(None), "sms": Evidence(1_000)})

    result = simulate(compiled(OLD), compiled(OLD, 2), [delivery(offline, silent)])

    assert result["sms_segments"]["old"] == 2
    assert result["time_to_proof_s"]["old"]["p50"] is not None
    assert 33 < result["time_to_proof_s"]["old"]["p50"] < 39  # 5 s + 30 s of the silent track, 1 s of the carrier


def test_memory_is_bounded_and_progress_is_told() -> None:
    told: list[int] = []

    def recorded() -> Iterator[RecordedDelivery]:
        for number in range(2_500):
            yield delivery(LATE_PUSH, number=number)

    result = simulate(compiled(OLD), compiled(NEW, 2), recorded(), keep_changes=3, progress=told.append)

    assert told == [1_000, 2_000, 2_500]
    assert result["deliveries"] == 2_500
    assert [change["delivery_id"] for change in result["changes"]] == ["d0", "d1", "d2"]


def test_a_condition_on_age_is_asked_with_the_age_of_its_turn() -> None:
    source = OLD.replace("if: user.sms_opt_in", "if: message.age_s > 30.0")
    track = RecordedTrack(facts(), {"longconn": Evidence(None), "apns": Evidence(None)})

    early = RecordedTrack(facts(device__token__apns=False), {"longconn": Evidence(None)})

    def sms_due_ms(recorded: RecordedTrack) -> int | None:
        made = plan(recorded.facts, compiled(source))
        return replay(made.ladder, made.skipped, recorded).sms_due_ms

    assert sms_due_ms(track) == 35_000
    assert sms_due_ms(early) is None


def test_given_facts_show_rule_ladder_and_explanation() -> None:
    shown = simulate_facts(compiled(OLD), {"message": {"class": "call"}, "device": {"platform": "ios"}})

    assert shown["rule"] == "call"
    assert shown["ladder"][0] == {
        "paths": ["apns"],
        "wait": "6s",
        "until": "delivered",
        "if": None,
        "retries": 3,
        "priority": None,
        "wait_from": "fixed",
    }
    assert list(shown["explanation"]["skipped"]) == [{"step": 1, "path": "apns", "reason": "no_token"}]


def test_the_benchmark_runs_and_reports_in_the_common_form() -> None:
    report = run(quick=True)

    assert set(report) == {"figures", "ratios", "targets"}
    assert all(set(figure) == {"value", "unit"} for figure in report["figures"].values())
    assert report["ratios"]["match"]["value"] > 5
    assert {made.rule for made in (plan(row, ten_rules()) for row in devices(500))} >= {"call", "night", "everyone"}


def test_one_sms_stands_for_a_conversation_and_the_next_window_pays_again() -> None:
    free = OLD.replace("per_user: 3/1d", "per_user: 9/1d")
    coalescing = compiled(free.replace("per_user: 9/1d", "per_user: 9/1d, coalesce: collapse_key/10m"), 2)

    def one(number: int, planned_ms: int, conversation: str) -> RecordedDelivery:
        return RecordedDelivery(
            f"d{number}", "m", "li", (LATE_PUSH,), 2, conversation=conversation, planned_ms=planned_ms
        )

    cases = [one(1, 0, "c"), one(2, 1_000, "c"), one(3, 2_000, "other"), one(4, 600_000, "c"), one(5, 3_000, "")]

    result = simulate(compiled(free), coalescing, cases)

    assert result["sms_segments"] == {"old": 10, "new": 8}
    assert {row["path"]: row["new"] for row in result["paths"]}["sms"] == 4
