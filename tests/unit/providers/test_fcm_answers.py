"""Each of Google's answers does to token, attempt and circuit what its row says."""

import json

import pytest

from dispatcher.domain.outcome import HandedOver, Outcome, Rejected, RetryLater, TokenDead
from providers.fcm.answers import QUOTA_WAIT, ROWS, Row, Verdict, read
from providers.http2 import Reply

FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


def answer(status: int, *codes: str, retry_after: str | None = None) -> Reply:
    details = [
        {"@type": BAD_REQUEST, "fieldViolations": [{"field": "message.data", "description": "no"}]}
        if code == "BadRequest"
        else {"@type": FCM_ERROR, "errorCode": code}
        for code in codes
        if code
    ]
    body = json.dumps({"error": {"code": status, "status": "X", "message": "m", "details": details}}).encode()
    return Reply(status, [(b"retry-after", retry_after.encode())] if retry_after else [], body)


def expected(row: Row) -> Outcome:
    name = "INVALID_ARGUMENT" if row.code == "BadRequest" else row.code or f"status_{row.status}"
    outcomes: dict[Verdict, Outcome] = {
        Verdict.DEAD: TokenDead(name),
        Verdict.OUR_FAULT: Rejected(name),
        Verdict.CONFIGURATION: Rejected(name, configuration=True),
        Verdict.ACCESS: Rejected(name, configuration=True),
        Verdict.BRAKE: RetryLater(name, QUOTA_WAIT, brake=True),
        Verdict.LATER: RetryLater(name),
    }
    return outcomes[row.verdict]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.status}-{row.code or 'plain'}")
def test_each_answer_means_what_its_row_says(row: Row) -> None:
    assert read(answer(row.status, row.code)) == (expected(row), row.verdict)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error":"x"}', b'{"error":{"details":7}}'])
@pytest.mark.parametrize("status", [400, 403, 404, 410, 418])
def test_an_answer_nobody_can_read_never_kills_a_token(status: int, body: bytes) -> None:
    assert isinstance(read(Reply(status, [], body))[0], Rejected)


def test_a_named_field_beats_the_word_about_the_token() -> None:
    assert read(answer(400, "INVALID_ARGUMENT", "BadRequest"))[0] == Rejected("INVALID_ARGUMENT")


def test_a_quota_answer_brakes_every_worker_for_as_long_as_it_says() -> None:
    assert read(answer(429, "QUOTA_EXCEEDED", retry_after="60"))[0] == RetryLater("QUOTA_EXCEEDED", 60_000, brake=True)


@pytest.mark.parametrize(("status", "code"), [(500, "INTERNAL"), (503, "UNAVAILABLE")])
def test_an_overloaded_server_is_given_its_time_without_a_brake(status: int, code: str) -> None:
    assert read(answer(status, code, retry_after="9"))[0] == RetryLater(code, 9_000)


def test_a_yes_carries_googles_name() -> None:
    assert read(Reply(200, [], b'{"name":"projects/p/messages/1"}')) == (HandedOver("projects/p/messages/1"), None)
    assert read(Reply(200, [], b"")) == (HandedOver(None), None)
