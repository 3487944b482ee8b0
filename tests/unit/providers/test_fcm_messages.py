"""The v1 JSON: what firebase-admin would send, cut to size."""

import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from firebase_admin import messaging
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.domain.paths import Path
from providers.apns.requests import collapse_id
from providers.base import Attempt
from providers.fcm.messages import LIMIT, build, encode
from providers.text import mend

Make = Callable[..., Attempt]


def firebase(**fields: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return json.loads(str(messaging.Message(**fields)))


def make_fcm(make_attempt: Make, **changes: Any) -> Attempt:
    return make_attempt(Path.FCM, **{"value": "token-1", **changes})


@pytest.mark.parametrize(("kind", "target"), [("registration", "token"), ("fid", "fid")])
@pytest.mark.parametrize("priority", ["high", "normal"])
def test_it_is_the_json_that_firebase_admin_makes(
    make_attempt: Make, now: int, kind: str, target: str, priority: str
) -> None:
    attempt = make_fcm(make_attempt, kind=kind, collapse_key="c42", priority=priority)
    ours = json.loads(encode(build(attempt, now)))["message"]
    collapse = collapse_id(attempt.message)
    alert = messaging.ApsAlert(title="Wang", body="Are you there?")
    aps = messaging.Aps(alert=alert, badge=3, sound="default", mutable_content=True)
    assert ours == firebase(
        **{target: "token-1"},
        data={
            "conversation_id": "c42",
            "title": "Wang",
            "body": "Are you there?",
            "badge": "3",
            "sound": "default",
            "pushpath": ours["data"]["pushpath"],
        },
        android=messaging.AndroidConfig(priority=priority, ttl=3_600, collapse_key="c42"),
        apns=messaging.APNSConfig(
            headers={
                "apns-collapse-id": collapse,
                "apns-expiration": "1800003600",
                "apns-priority": "10",
                "apns-push-type": "alert",
            },
            payload=messaging.APNSPayload(aps=aps),
        ),
        webpush=messaging.WebpushConfig(headers={"TTL": "3600", "Urgency": priority, "Topic": collapse}),
    )


def test_pushpath_is_a_json_string_with_the_three_ids(make_attempt: Make, now: int) -> None:
    attempt = make_fcm(make_attempt)
    assert json.loads(build(attempt, now)["data"]["pushpath"]) == {
        "message_id": attempt.message.message_id,
        "delivery_id": attempt.delivery_id,
        "attempt_id": attempt.attempt_id,
    }


def test_no_notification_block_ever_hides_the_message_from_the_app(make_attempt: Make, now: int) -> None:
    built = build(make_fcm(make_attempt), now)
    assert "notification" not in built
    assert "notification" not in built["android"]


def test_a_collapse_key_goes_out_only_where_the_caller_gave_one(make_attempt: Make, now: int) -> None:
    assert "collapse_key" not in build(make_fcm(make_attempt), now)["android"]


def test_keys_that_are_taken_move_aside(make_attempt: Make, now: int) -> None:
    own = {"from": "x", "google.x": 1, "title": "mine", "pushpath": "forged", "list": [1], "flag": True}
    data = build(make_fcm(make_attempt, data=own), now)["data"]
    assert data["title"] == "Wang"
    assert data["data.title"] == "mine"
    assert data["data.from"] == "x"
    assert data["data.google.x"] == "1"
    assert data["list"] == "[1]"
    assert data["flag"] == "true"
    assert all(isinstance(value, str) for value in data.values())
    assert "from" not in data


@pytest.mark.parametrize(
    ("life_ms", "ttl"), [(-1, "0s"), (0, "0s"), (1_500, "1s"), (60_000, "60s"), (10**12, "2419200s")]
)
def test_ttl_is_the_rest_of_the_messages_life(make_attempt: Make, now: int, life_ms: int, ttl: str) -> None:
    assert build(make_fcm(make_attempt, expires_at=now + life_ms), now)["android"]["ttl"] == ttl


@pytest.mark.parametrize(
    ("platform", "blocks"),
    [("android", {"android"}), ("ios", {"apns"}), ("web", {"webpush"}), (None, {"android", "apns", "webpush"})],
)
def test_a_known_platform_gets_its_own_block_only(
    make_attempt: Make, now: int, platform: str | None, blocks: set[str]
) -> None:
    assert set(build(make_fcm(make_attempt, platform=platform), now)) - {"token", "data"} == blocks


def test_quiet_hours_show_and_ring_nothing(make_attempt: Make, now: int) -> None:
    built = build(make_fcm(make_attempt, silent=True, priority="high"), now)
    assert built["android"]["priority"] == "normal"
    assert built["apns"]["payload"] == {"aps": {"content-available": 1}}
    assert built["data"]["silent"] == "1"


def test_a_recall_clears(make_attempt: Make, now: int) -> None:
    assert set(build(make_fcm(make_attempt, clear=True), now)["data"]) == {"clear", "pushpath"}


TEXTS = st.one_of(st.text(max_size=2_500), st.integers(0, 2_500).map(lambda count: "中\ud800" * count))


@settings(max_examples=40, deadline=None)
@given(
    title=TEXTS,
    body=TEXTS,
    own=st.dictionaries(st.text(max_size=20), TEXTS, max_size=2),
    platform=st.sampled_from(["android", "ios", "web", None]),
)
def test_whatever_the_text_the_message_is_json_that_fits(
    make_attempt: Make, now: int, title: str, body: str, own: dict[str, str], platform: str | None
) -> None:
    attempt = make_fcm(make_attempt, notification={"title": title, "body": body}, data=own, platform=platform)
    message = json.loads(encode(build(attempt, now)))["message"]
    assert len(json.dumps(message["data"], ensure_ascii=False, separators=(",", ":")).encode()) <= LIMIT
    shown = message["data"].get("body", "")
    assert not shown or shown == mend(body) or (shown.endswith("…") and mend(body).startswith(shown[:-1]))
