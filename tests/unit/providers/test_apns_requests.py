"""What Apple gets: headers by the message's kind, payloads that fit, whatever the text."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.domain.device import PushToken
from dispatcher.domain.ids import attempt_uuid
from dispatcher.domain.paths import Path
from providers.apns.payload import build
from providers.apns.push_types import MAX_PAYLOAD as LIMIT
from providers.apns.push_types import PushType
from providers.apns.requests import Push, Unsendable, build_request, collapse_id, push_of
from providers.base import Attempt
from providers.text import mend

Make = Callable[..., Attempt]
HOST = "https://api.push.apple.com"


def headers_of(attempt: Attempt) -> dict[str, str]:
    return dict(build_request(push_of(attempt), HOST, "com.example.im", "bearer x").headers)


def test_an_alert_carries_every_header_apple_reads(make_attempt: Make) -> None:
    attempt = make_attempt(collapse_key="c42")
    request = build_request(push_of(attempt), HOST, "com.example.im", "bearer x")
    assert request.url == f"{HOST}/3/device/{'ab' * 32}"
    assert dict(request.headers) == {
        "authorization": "bearer x",
        "apns-topic": "com.example.im",
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": "1800003600",
        "apns-collapse-id": collapse_id(attempt.message),
        "apns-id": attempt_uuid(attempt.attempt_id),
    }


@pytest.mark.parametrize(
    ("changes", "push_type", "priority"),
    [
        ({}, "alert", "10"),
        ({"priority": "high"}, "alert", "10"),
        ({"priority": "low"}, "alert", "5"),
        ({"notification": None}, "background", "5"),
        ({"notification": None, "priority": "high"}, "background", "5"),
        ({"silent": True, "priority": "high"}, "background", "5"),
        ({"clear": True}, "background", "5"),
    ],
)
def test_only_what_is_seen_is_an_alert(make_attempt: Make, changes: Any, push_type: str, priority: str) -> None:
    headers = headers_of(make_attempt(**changes))
    assert (headers["apns-push-type"], headers["apns-priority"]) == (push_type, priority)


def test_a_call_rings_on_the_token_that_rings(make_attempt: Make) -> None:
    attempt = make_attempt(kind="voip", priority="low", message_id="cm-9", data={"room": "中" * 3_000})
    request = build_request(push_of(attempt), HOST, "com.example.im", None)
    headers = dict(request.headers)
    assert (headers["apns-push-type"], headers["apns-topic"]) == ("voip", "com.example.im.voip")
    assert headers["apns-priority"] == "10"
    assert 4_096 < len(build(make_attempt(kind="voip", data={"room": "中" * 1_500}), 5_120)) <= 5_120
    assert len(request.body) <= 5_120


@pytest.mark.parametrize(
    ("push_type", "topic", "priority", "expiration"),
    [
        (PushType.ALERT, "com.example.im", "10", "1800000060"),
        (PushType.BACKGROUND, "com.example.im", "5", "1800000060"),
        (PushType.LOCATION, "com.example.im.location-query", "10", "1800000060"),
        (PushType.VOIP, "com.example.im.voip", "10", "1800000060"),
        (PushType.COMPLICATION, "com.example.im.complication", "10", "1800000060"),
        (PushType.FILEPROVIDER, "com.example.im.pushkit.fileprovider", "10", "1800000060"),
        (PushType.MDM, "com.example.im", "10", "1800000060"),
        (PushType.LIVEACTIVITY, "com.example.im.push-type.liveactivity", "10", "1800000060"),
        (PushType.PUSHTOTALK, "com.example.im.voip-ptt", "10", "0"),
        (PushType.WIDGETS, "com.example.im.push-type.widgets", "10", "1800000060"),
        (PushType.CONTROLS, "com.example.im.push-type.controls", "10", "1800000060"),
    ],
)
def test_each_push_type_has_its_topic_priority_and_life(
    push_type: PushType, topic: str, priority: str, expiration: str
) -> None:
    headers = dict(build_request(by_hand(push_type), HOST, "com.example.im", None).headers)
    assert headers["apns-push-type"] == push_type.value
    assert (headers["apns-topic"], headers["apns-priority"]) == (topic, priority)
    assert headers["apns-expiration"] == expiration
    again = dict(build_request(by_hand(push_type, topic=topic), HOST, "other", None).headers)
    assert again["apns-topic"] == topic


def by_hand(push_type: PushType, **changes: Any) -> Push:
    fields: dict[str, Any] = {
        "token": PushToken(path=Path.APNS, kind="device", value="ab" * 32),
        "push_type": push_type,
        "payload": b'{"aps":{}}',
        "push_id": "0f0f0f0f-0000-4000-8000-000000000001",
        "expires_at": 1_800_000_060_000,
    }
    return Push(**{**fields, **changes})


@pytest.mark.parametrize(
    ("push_type", "changes", "word"),
    [
        (PushType.BACKGROUND, {"priority": "10"}, "BadPriority"),
        (PushType.PUSHTOTALK, {"priority": "5"}, "BadPriority"),
        (PushType.ALERT, {"priority": "7"}, "BadPriority"),
        (PushType.ALERT, {"collapse_id": "k" * 65}, "BadCollapseId"),
        (PushType.ALERT, {"collapse_id": "k\r\n"}, "BadCollapseId"),
        (PushType.ALERT, {"push_id": "no uuid"}, "BadMessageId"),
        (PushType.LIVEACTIVITY, {"payload": b"x" * 4_097}, "PayloadTooLarge"),
        (PushType.VOIP, {"payload": b"x" * 5_121}, "PayloadTooLarge"),
        (PushType.WIDGETS, {"topic": "a b"}, "BadTopic"),
    ],
)
def test_what_apple_would_refuse_never_leaves(push_type: PushType, changes: Any, word: str) -> None:
    with pytest.raises(Unsendable, match=word):
        build_request(by_hand(push_type, **changes), HOST, "com.example.im", None)


def test_the_topic_of_the_token_beats_the_apps(make_attempt: Make) -> None:
    assert headers_of(make_attempt(topic="com.example.other"))["apns-topic"] == "com.example.other"


@pytest.mark.parametrize("changes", [{"value": "ab\r\nx: y"}, {"value": "a/b"}, {"value": ""}, {"topic": "a b\r\n"}])
def test_a_token_that_would_break_the_request_is_not_sent(make_attempt: Make, changes: Any) -> None:
    with pytest.raises(Unsendable):
        build_request(push_of(make_attempt(**changes)), HOST, "com.example.im", None)


def test_one_key_collapses_and_two_messages_do_not(make_attempt: Make) -> None:
    same = [collapse_id(make_attempt(place=place, collapse_key="c42").message) for place in (1, 2)]
    other = [collapse_id(make_attempt(place=place).message) for place in (1, 2)]
    assert same[0] == same[1]
    assert len({*same, *other}) == 3
    assert collapse_id(make_attempt(collapse_key="cm-1").message) != collapse_id(make_attempt(place=1).message)


@pytest.mark.parametrize("key", ["k", "k" * 500, "会话" * 100, "\ud800"])
def test_every_collapse_key_fits_64_bytes(make_attempt: Make, key: str) -> None:
    assert 0 < len(collapse_id(make_attempt(collapse_key=key).message).encode()) <= 64


def test_the_payload_names_message_delivery_and_attempt(make_attempt: Make) -> None:
    attempt = make_attempt(data={"conversation_id": "c42", "aps": {"alert": "forged"}, "pushpath": 1})
    payload = json.loads(build(attempt))
    assert payload == {
        "conversation_id": "c42",
        "aps": {
            "alert": {"title": "Wang", "body": "Are you there?"},
            "mutable-content": 1,
            "badge": 3,
            "sound": "default",
        },
        "pushpath": {
            "message_id": "cm-0",
            "delivery_id": attempt.delivery_id,
            "attempt_id": attempt.attempt_id,
        },
    }


@pytest.mark.parametrize("changes", [{"silent": True}, {"notification": None}, {"clear": True}])
def test_a_background_push_shows_and_rings_nothing(make_attempt: Make, changes: Any) -> None:
    assert json.loads(build(make_attempt(**changes)))["aps"] == {"content-available": 1}


def test_a_recall_says_so_and_carries_no_data(make_attempt: Make) -> None:
    payload = json.loads(build(make_attempt(clear=True)))
    assert set(payload) == {"aps", "pushpath"}
    assert payload["pushpath"]["clear"] is True


TEXTS = st.one_of(
    st.text(max_size=3_000),
    st.text(alphabet='\ud83d\ude00\x00"\\\n中é', max_size=3_000),
    st.integers(0, 3_000).map(lambda count: "中" * count),
)


@settings(max_examples=40, deadline=None)
@given(title=TEXTS, body=TEXTS, own=st.dictionaries(st.text(max_size=20), TEXTS, max_size=3))
def test_whatever_the_text_the_payload_is_json_that_fits(
    make_attempt: Make, title: str, body: str, own: dict[str, str]
) -> None:
    attempt = make_attempt(notification={"title": title, "body": body, "sound": "default"}, data=own)
    encoded = build(attempt)
    assert len(encoded) <= LIMIT
    payload = json.loads(encoded.decode("utf-8"))
    assert payload["pushpath"]["attempt_id"] == attempt.attempt_id
    shown = payload["aps"].get("alert", {}).get("body", "")
    # What is shown is the beginning of what was said, at most with an ellipsis: no character is torn.
    assert not shown or shown == mend(body) or (shown.endswith("…") and mend(body).startswith(shown[:-1]))


def test_the_body_is_cut_before_the_title(make_attempt: Make) -> None:
    attempt = make_attempt(notification={"title": "Wang", "body": "中" * 2_000})
    payload = json.loads(build(attempt))
    assert payload["aps"]["alert"]["title"] == "Wang"
    assert payload["aps"]["alert"]["body"].endswith("中…")
    assert len(build(attempt)) > LIMIT - 4
    assert payload["conversation_id"] == "c42"


def test_data_that_leaves_no_room_waits_in_the_inbox(make_attempt: Make) -> None:
    payload = json.loads(build(make_attempt(data={"big": "x" * 4_000})))
    assert payload["pushpath"]["more"] is True
    assert "big" not in payload
    assert payload["aps"]["alert"] == {"title": "Wang", "body": "Are you there?"}


def test_a_cut_never_leaves_half_an_emoji(make_attempt: Make) -> None:
    family = "👨‍👩‍👧‍👦"
    for extra in range(8):
        payload = json.loads(build(make_attempt(notification={"body": "x" * extra + family * 300})))
        shown = payload["aps"]["alert"]["body"].removesuffix("…").lstrip("x")
        assert shown.replace(family, "") == ""
