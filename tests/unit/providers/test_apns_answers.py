"""Each of Apple's reasons does to token, attempt and circuit what its row says."""

import json
from collections.abc import Callable

import pytest

from dispatcher.domain.outcome import HandedOver, Outcome, Rejected, RetryLater, TokenDead
from providers.apns.answers import DEVICE_WAIT, ROWS, Row, Verdict, read
from providers.http2 import Reply

EXPECTED: dict[Verdict, Callable[[str], Outcome]] = {
    Verdict.DEAD: lambda reason: TokenDead(reason),
    Verdict.OUR_FAULT: lambda reason: Rejected(reason),
    Verdict.CONFIGURATION: lambda reason: Rejected(reason, configuration=True),
    Verdict.AGED: lambda reason: Rejected(reason, configuration=True),
    Verdict.OTHER_CONNECTION: lambda reason: RetryLater(reason),
    Verdict.SLOW_DEVICE: lambda reason: RetryLater(reason, DEVICE_WAIT, device=True),
    Verdict.LATER: lambda reason: RetryLater(reason),
}


def reply(status: int, body: bytes = b"", **headers: str) -> Reply:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Reply(status, fields, body)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.status}-{row.reason}")
def test_each_reason_means_what_its_row_says(row: Row) -> None:
    body = json.dumps({"reason": row.reason}).encode()
    outcome, verdict = read(reply(row.status, body), "id")
    assert verdict is row.verdict
    assert outcome == EXPECTED[row.verdict](row.reason)


def test_a_yes_is_handed_over_under_our_own_id() -> None:
    assert read(reply(200), "id") == (HandedOver("id"), None)


def test_a_410_says_since_when_in_milliseconds() -> None:
    body = b'{"reason":"Unregistered","timestamp":1800000000123}'
    assert read(reply(410, body), "id")[0] == TokenDead("Unregistered", 1_800_000_000_123)


def test_a_bad_device_token_has_no_moment_even_if_one_is_given() -> None:
    body = b'{"reason":"BadDeviceToken","timestamp":1800000000123}'
    assert read(reply(400, body), "id")[0] == TokenDead("BadDeviceToken", None)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (400, Rejected("status_400")),
        (403, Rejected("status_403", configuration=True)),
        (404, Rejected("status_404")),
        (410, TokenDead("status_410")),
        (429, RetryLater("status_429")),
        (500, RetryLater("status_500")),
        (503, RetryLater("status_503")),
        (302, RetryLater("status_302")),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"reason":7}', b"[]"])
def test_an_answer_without_a_reason_is_judged_by_its_status(status: int, outcome: object, body: bytes) -> None:
    assert read(reply(status, body), "id")[0] == outcome


def test_no_403_ever_touches_a_token() -> None:
    for row in ROWS:
        if row.status == 403:
            assert not isinstance(read(reply(403, json.dumps({"reason": row.reason}).encode()), "id")[0], TokenDead)


@pytest.mark.parametrize(("text", "after_ms"), [("7", 7_000), ("0", 0), ("soon", None), ("-3", None), ("", None)])
def test_retry_after_is_honoured_in_seconds(text: str, after_ms: int | None) -> None:
    outcome, _ = read(reply(503, b'{"reason":"ServiceUnavailable"}', retry_after=text), "id")
    assert outcome == RetryLater("ServiceUnavailable", after_ms)
