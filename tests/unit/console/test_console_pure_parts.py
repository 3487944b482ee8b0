"""The console's parts that need neither browser nor API."""

import json
import os
import tempfile
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

os.environ.setdefault("NICEGUI_STORAGE_PATH", tempfile.gettempdir())  # read once, when NiceGUI is imported

from dispatcher.console.facts import device_facts, facts_text, read_facts
from dispatcher.console.guard import is_foreign
from dispatcher.console.ladder import difference, ladders, read_document
from dispatcher.console.markup import el
from dispatcher.console.sandbox_watch import read_push
from dispatcher.console.story import event_words, explanation, picture, stretches, ticks
from dispatcher.console.words import clock, compact, percent, seconds, zone_of

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def _event(
    after_s: float, kind: str, path: str | None = None, device: str | None = "phone", **detail: Any
) -> dict[str, Any]:
    at = (START + timedelta(seconds=after_s)).isoformat()
    return {"at": at, "kind": kind, "path": path, "device_id": device, "attempt_id": None, "detail": detail}


STORY = [
    _event(0, "accepted", device=None, **{"class": "otp", "priority": "high"}),
    _event(
        0.1,
        "planned",
        strategy="default",
        version=3,
        rule="codes",
        because="it is the first rule",
        platform="ios",
        skipped=[{"path": "longconn", "reason": "offline", "step": 1}],
    ),
    _event(0.2, "attempted", "apns", step=2),
    _event(0.3, "outcome", "apns", outcome="handed_over", step=2),
    _event(10.2, "escalated", "sms", reason="timeout", step=2),
    _event(10.4, "attempted", "sms", step=3),
    _event(12.4, "receipt", "sms", event="delivered", source="carrier:delivered", confirmed=True),
    _event(12.4, "settled", "sms", device=None, state="confirmed", confirmed_by="sms"),
]


def test_what_is_not_markup_is_escaped_in_text_and_attributes() -> None:
    assert el("p", "<script>", title='"><b>') == '<p title="&quot;&gt;&lt;b&gt;">&lt;script&gt;</p>'


def test_markup_inside_markup_stays_and_nothing_is_left_out_but_none() -> None:
    assert el("p", el("b", 0), None, ["x", el("i", "y")]) == "<p><b>0</b>x<i>y</i></p>"


def test_each_step_is_drawn_from_its_attempt_to_what_ended_it() -> None:
    found = stretches(STORY, START + timedelta(minutes=5))
    lengths = [(one.path, round((one.end - one.start).total_seconds(), 1)) for one in found]
    assert lengths == [("apns", 10.0), ("sms", 2.0)]


def test_a_step_that_failed_at_once_is_not_drawn_as_waiting() -> None:
    failed = [
        _event(0, "accepted", device=None),
        _event(0.4, "escalated", "apns", reason="failed", step=1),  # two processes, two clocks
        _event(0.5, "attempted", "longconn", step=1),
        _event(0.6, "outcome", "longconn", outcome="not_connected", step=1),
        _event(0.7, "attempted", "apns", step=2),
    ]
    drawn = stretches(failed, START + timedelta(seconds=9))
    assert [(each.path, (each.end - START).total_seconds()) for each in drawn] == [("longconn", 0.6), ("apns", 9)]


def test_an_open_step_reaches_until_now() -> None:
    (open_step,) = stretches(STORY[:4], START + timedelta(seconds=5.2))
    assert open_step.end - open_step.start == timedelta(seconds=5)


def test_the_picture_escapes_what_devices_are_called() -> None:
    named = [_event(0, "accepted", device=None), _event(1, "attempted", "apns", device="<b>", step=1)]
    assert "<b>" not in picture(named, ZoneInfo("UTC"), START + timedelta(seconds=2))


def test_the_explanation_says_rule_reason_and_what_was_skipped() -> None:
    words = explanation(STORY)
    assert "codes" in words
    assert "default@3" in words
    assert "Long connection was skipped: the device was not connected" in words


def test_a_carriers_sent_is_not_shown_as_delivered() -> None:
    assert "delivered" not in event_words(_event(1, "receipt", "sms", event="delivered", source="carrier:sent"))


@pytest.mark.parametrize("span_s", [0.05, 3, 61, 7_200, 86_400, 604_800])
def test_an_axis_has_at_most_nine_ticks_and_begins_at_the_start(span_s: float) -> None:
    found = ticks(span_s)
    assert found[0] == 0
    assert 1 <= len(found) <= 9


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.24, "240 ms"),
        (3.42, "3.4 s"),
        (5.0, "5 s"),
        (125, "2 min 5 s"),
        (3_600, "1 h"),
        (90_000, "1 d 1 h"),
        (None, "–"),
    ],
)
def test_lengths_of_time_are_short_to_read(value: float | None, words: str) -> None:
    assert seconds(value) == words


def test_a_share_is_never_called_whole_while_something_is_missing() -> None:
    assert (percent(99_999, 100_000), percent(1, 100_000), percent(5, 5), percent(0, 0)) == (
        "99.9 %",
        "0.1 %",
        "100 %",
        "–",
    )


def test_large_figures_are_cut_for_tiles() -> None:
    assert [compact(value) for value in (9_812, 12_400, 3_100_000, None)] == ["9,812", "12.4k", "3.1M", "–"]


def test_times_are_written_in_the_viewers_zone_with_the_date_when_it_is_not_today() -> None:
    now = datetime(2026, 3, 1, 13, 0, tzinfo=UTC)
    shanghai = zone_of("Asia/Shanghai")
    assert clock("2026-03-01T12:00:00Z", shanghai, now=now) == "20:00:00"
    assert clock("2026-02-27T12:00:00Z", shanghai, now=now) == "Feb 27 20:00:00"
    assert zone_of("../etc/passwd") == ZoneInfo("UTC")


def _scope(method: str, **headers: str) -> dict[str, Any]:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "headers": named}


@pytest.mark.parametrize(
    ("scope", "refused"),
    [
        (_scope("GET", origin="https://evil.example", host="console"), False),
        (_scope("POST", origin="https://evil.example", host="console"), True),
        (_scope("POST", origin="http://console", host="console"), False),
        (_scope("POST", origin="null", host="console"), True),
        (_scope("POST", host="console", sec_fetch_site="cross-site"), True),
        (_scope("POST", host="console"), False),
        ({**_scope("GET", origin="https://evil.example", host="console"), "type": "websocket"}, True),
    ],
)
def test_changes_asked_for_by_other_sites_are_refused(scope: dict[str, Any], refused: bool) -> None:
    assert is_foreign(scope) is refused


def test_a_ladder_is_drawn_with_its_waits_and_conditions() -> None:
    document = read_document(
        "rules: [{name: a, ladder: [{path: longconn, wait: 2s}, {path: sms, if: user.sms_opt_in}]}]"
    )
    assert document is not None
    drawn = ladders(document, matched="a")
    for words in ("Long connection", "2s", "SMS", "user.sms_opt_in", "matched", "until ttl"):
        assert words in drawn


@pytest.mark.parametrize("text", ["a: [", "- list", "a: &x [1]\nb: *x"])
def test_what_is_no_document_is_not_drawn(text: str) -> None:
    assert read_document(text) is None


def test_differences_are_marked_line_by_line() -> None:
    shown = difference("a\nb\n", "a\nc\n")
    assert '<span class="del">-b</span>' in shown
    assert '<span class="add">+c</span>' in shown
    assert "The two are the same." in difference("a", "a")


def test_facts_are_written_and_read_back_the_same() -> None:
    facts = {
        "message.class": "chat",
        "user.phone_country": "86",
        "device.alerts_enabled": True,
        "device.last_seen_s": 2.5,
    }
    assert read_facts(facts_text(facts)) == facts


def test_a_devices_facts_come_from_what_the_api_shows() -> None:
    device = {
        "platform": "ios",
        "alerts_enabled": False,
        "tokens": [{"path": "apns", "state": "active"}, {"path": "fcm", "state": "dead"}],
        "presence": {"state": "syncing", "foreground": False},
        "last_seen": START.isoformat(),
        "learned": {"apns": {"ack_rate": 0.5, "p95_s": None}},
    }
    providers = [
        {"path": "sms", "circuit": "open", "paused": False},
        {"path": "apns", "circuit": "closed", "paused": False},
    ]
    facts = device_facts(device, {"sms_opt_in": None}, providers, "otp", START + timedelta(seconds=7))
    assert facts["device.presence"] == "online"
    assert (facts["device.token.apns"], facts["device.token.fcm"]) == (True, False)
    assert (facts["user.sms_opt_in"], facts["user.sms_opted_out"]) == (False, False)
    assert facts["device.last_seen_s"] == 7.0
    assert facts["device.ack_rate.apns"] == 0.5
    assert "device.p95_s.apns" not in facts
    assert (facts["path.sms.healthy"], facts["path.apns.healthy"]) == (False, True)


def test_a_logged_push_becomes_what_the_phone_would_show() -> None:
    ids = {"message_id": "m", "delivery_id": "d", "attempt_id": "a"}
    apns = {
        "n": 1,
        "at": "x",
        "target": "t",
        "answer": {"status": 200},
        "body": json.dumps({"aps": {"alert": {"title": "W", "body": "B"}}, "pushpath": ids}),
    }
    found = read_push("apns", apns)
    assert found is not None
    assert {name: found[name] for name in ids} == ids
    assert (found["title"], found["path"]) == ("W", "apns")


@pytest.mark.parametrize("change", [{"answer": {"status": 410}}, {"body": "no json"}, {"body": "[]"}, {"target": None}])
def test_what_the_vendor_refused_or_nobody_can_read_reaches_no_phone(change: dict[str, Any]) -> None:
    logged = {
        "n": 1,
        "at": "x",
        "target": "t",
        "answer": {"status": 200},
        "body": '{"message": {"data": {}}}',
        **change,
    }
    assert read_push("fcm", logged) is None
