"""What the overview and the providers page say of an answer: the worst first, shares of the same whole."""

import os
import tempfile
from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

os.environ.setdefault("NICEGUI_STORAGE_PATH", tempfile.gettempdir())  # read once, when NiceGUI is imported

from dispatcher.console.charts import paths_over_time, steps_of
from dispatcher.console.pages.overview import RANGES
from dispatcher.console.pages.strategy_rollout import share_of
from dispatcher.console.pages.user_inbox import says
from dispatcher.console.pieces import table
from dispatcher.console.provider_view import provider_words
from dispatcher.console.summary import Budget, Snapshot, alerts, funnel, read_budget, tiles
from dispatcher.console.words import read_length

UTC = ZoneInfo("UTC")
STEPS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
TOTALS = {
    "accepted": 200,
    "settled": 160,
    "open": 40,
    "ends": {"confirmed": 150, "expired": 10},
    "funnel": {"accepted": 200, "attempted": 158, "delivered": 150, "opened": 30},
    "time_to_proof": {"p50_s": 1.2, "p95_s": 4.0},
    "sms_segments": {"sent": 7, "reserved": 1, "released": 5},
    "outcomes": {"apns": {"handed_over": 90, "retry_later": 10}},
}
STATS = {
    "from": "2026-03-01T12:00:00Z",
    "to": "2026-03-01T12:05:00Z",
    "step": "1m",
    "totals": TOTALS,
    "rows": [{"at": "2026-03-01T12:02:00Z", "confirmed": {"apns": 3}, "ends": {"confirmed": 3, "exhausted": 2}}],
}
WELL = Snapshot(
    stats=STATS, earlier=None, by_class=None, books={"balanced": True, "classes": {}}, providers=None, budget=None
)


def _provider(**more: Any) -> dict[str, Any]:
    return {
        "path": "fcm",
        "name": "google",
        "configured": True,
        "circuit": "closed",
        "paused": False,
        "reason": None,
        "since": None,
        "probe_at": None,
        "answers": {"handed_over": 90, "retry_later": 10},
        "reasons": [{"outcome": "retry_later", "reason": "UNAVAILABLE", "count": 10}],
        "window_s": 300,
        "receipt_s": 0.8,
        "receipt_p95_s": 2.0,
        "health": {
            "state": "well",
            "reason": None,
            "proven": 60,
            "unproven": 30,
            "rate": 0.667,
            "usual_rate": 0.7,
            "usual_p95_s": 1.9,
        },
        "brake": None,
        "braked_devices": 0,
        "quota": {"limit": 600, "window_s": 60, "used": 540, "left": 60},
        "credentials": {"changed_at": "2026-03-01T12:00:00Z", "age_s": 60, "check": None},
        "carriers": [],
        **more,
    }


@pytest.mark.parametrize("chosen", sorted(RANGES))
def test_no_range_asks_for_more_steps_than_the_api_answers(chosen: str) -> None:
    length, step = RANGES[chosen]
    assert length / STEPS[step] <= 200


def test_steps_without_traffic_are_drawn_as_nothing() -> None:
    assert len(steps_of(STATS)) == 5
    series = {one["name"]: [value for _, value in one["data"]] for one in paths_over_time(STATS, dark=False)["series"]}
    assert series["APNs"] == [0, 0, 3, 0, 0]
    assert series["Not proven"] == [0, 0, 2, 0, 0]
    assert "FCM" not in series


def test_the_funnel_has_four_stages_and_says_what_is_still_open() -> None:
    drawn = funnel(TOTALS)
    assert [drawn.index(stage) for stage in ("Accepted", "Attempted", "Delivered", "Opened")] == sorted(
        drawn.index(stage) for stage in ("Accepted", "Attempted", "Delivered", "Opened")
    )
    for words in ("79.0 %", "75.0 %", "15.0 %", "40 are still open"):
        assert words in drawn


def test_an_empty_range_says_what_to_do() -> None:
    assert "POST /v1/messages" in funnel({"accepted": 0})


def test_what_is_well_is_one_calm_line() -> None:
    assert alerts(WELL, UTC).count("alert") == 1
    assert "fine" in alerts(WELL, UTC)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"books": {"balanced": False, "classes": {"chat": {"missing": -3}}}}, "3 messages are unaccounted for"),
        ({"providers": {"providers": [_provider(circuit="open", reason="auth")]}}, "FCM: circuit open"),
        ({"providers": {"providers": [_provider(paused=True)]}}, "FCM: paused"),
        ({"budget": Budget(allowed=100, window="1d", spent=80)}, "80.0 % of the SMS budget is spent"),
        ({"budget": Budget(allowed=100, window="1d", spent=100)}, "The SMS budget is used up"),
    ],
)
def test_what_is_wrong_stands_on_top(change: dict[str, Any], words: str) -> None:
    said = alerts(replace(WELL, **change), UTC)
    assert words in said
    assert "fine" not in said


def test_what_is_worst_comes_first() -> None:
    providers = {"providers": [_provider(paused=True), _provider(path="apns", circuit="open")]}
    said = alerts(replace(WELL, providers=providers), UTC)
    assert said.index("APNs: circuit open") < said.index("FCM: paused")


def test_sms_is_shown_against_its_budget_and_released_segments_cost_nothing() -> None:
    budget = read_budget("20000 segments/1d")
    assert budget == Budget(allowed=20_000, window="1d")
    assert "of 20,000 segments a day" in tiles(replace(WELL, budget=budget))
    assert ">8<" in tiles(WELL)


@pytest.mark.parametrize("text", [None, "", "20000 segments", "many segments/1d"])
def test_what_is_no_budget_is_none(text: str | None) -> None:
    assert read_budget(text) is None


def test_a_version_on_trial_takes_its_share_from_the_one_for_all() -> None:
    trial, live = {"version": 2, "percent": 10}, {"version": 1, "percent": 100}
    assert [share_of(each, [trial, live]) for each in (trial, live)] == [10, 90]
    assert share_of(live, [live]) == 100


def test_lengths_are_read_as_the_api_writes_them() -> None:
    assert read_length("1d") == timedelta(days=1)
    assert read_length("90m") == timedelta(minutes=90)
    assert read_length("soon") is None


def test_a_provider_shows_every_answer_its_quota_and_what_is_usual() -> None:
    said = provider_words(_provider(), {"project_id": "shop"}, UTC)
    for words in ("UNAVAILABLE", "540 of 600", "usually 70.0 %", "project_id shop", ">90<", "check them"):
        assert words in said


def test_a_brake_a_resting_carrier_and_a_failed_check_are_said() -> None:
    until = "2026-03-01T12:01:00Z"
    said = provider_words(
        _provider(
            brake={"since": until, "until": until, "left_s": 14.0},
            carriers=[
                {"name": "one", "state": "resting", "reason": "timeout", "since": until, "until": until, "left_s": 9}
            ],
            credentials={
                "changed_at": until,
                "age_s": 1,
                "check": {"at": until, "well": False, "text": "key_pem: cannot be read"},
            },
        ),
        {},
        UTC,
    )
    for words in ("braked 14 s", "resting", "timeout", "at fault", "key_pem: cannot be read"):
        assert words in said


def test_a_path_without_credentials_says_how_to_set_them() -> None:
    said = provider_words(_provider(configured=False, credentials=None, answers={}, reasons=[]), {}, UTC)
    assert "pushpath credentials set fcm" in said


def test_a_row_keeps_its_heads_where_it_becomes_a_card() -> None:
    drawn = table(("User", "State"), [("li", "open")], caption="Users", stack=True)
    assert 'data-label="State"' in drawn
    assert "stack-table" in drawn


def test_an_inbox_entry_says_its_title_and_text_or_that_it_is_data() -> None:
    assert says({"notification": {"title": "Wang", "body": "<hi>"}}) == "<span>Wang: &lt;hi&gt;</span>"
    assert "data only" in says({"notification": None})
