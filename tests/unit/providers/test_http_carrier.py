"""A second carrier is one folder: the generic HTTP one."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from dispatcher.domain.outcome import HandedOver, Outcome, Rejected, RetryLater, Unknown
from dispatcher.domain.paths import Path
from providers.base import Attempt
from providers.credentials import BadCredentials, HttpCarrierCredentials, read_credentials
from providers.http2 import Cause, Kind, Reply, Request, TransportFault
from providers.registry import build_provider
from providers.sms.http_carrier.callbacks import TOLERANCE, parse_http_callback, sign
from providers.sms.http_carrier.provider import HttpCarrierProvider
from providers.sms.status import BadSignature, NumberVerdict

Make = Callable[..., Attempt]
SECRET = "callback secret"


class Carrier:
    """A transport to a carrier that answers what it is told and remembers what it was asked."""

    def __init__(self, *answers: Reply | TransportFault) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    async def exchange(self, requests: Sequence[Request], deadline_ms: int) -> list[Reply | TransportFault]:
        self.requests += requests
        return [self.answers.pop(0) for _ in requests]

    async def renew(self) -> None: ...

    async def close(self) -> None: ...


def reply(answered: int, retry_after: str | None = None, /, **body: Any) -> Reply:
    fields = [(b"Retry-After", retry_after.encode())] if retry_after else []
    return Reply(answered, fields, json.dumps(body).encode() if body else b"")


def provider(carrier: Carrier) -> HttpCarrierProvider:
    return HttpCarrierProvider(
        transport=carrier,
        endpoint="https://sms.example/v1/",
        token="t",
        sender="Pushpath",
        public_url="https://p.example",
    )


def text(make_attempt: Make) -> Attempt:
    return make_attempt(Path.SMS, phone="+8613800000000", text="hi")


async def test_a_text_carries_its_id_its_life_and_its_callback(make_attempt: Make, now: int) -> None:
    carrier, attempt = Carrier(reply(202, id="c-1")), text(make_attempt)
    assert await provider(carrier).send([attempt, make_attempt(Path.SMS)], now) == [
        HandedOver("c-1"),
        Rejected("no_number"),
    ]
    (request,) = carrier.requests
    headers = dict(request.headers)
    assert headers["idempotency-key"] == attempt.attempt_id
    assert headers["authorization"] == "Bearer t"
    assert json.loads(request.body) == {
        "id": attempt.attempt_id,
        "from": "Pushpath",
        "to": "+8613800000000",
        "text": "hi",
        "ttl_s": 3600,
        "callback": f"https://p.example/v1/callbacks/sms/http/{attempt.attempt_id}",
    }


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (reply(200), HandedOver(None)),
        (reply(422, code="invalid_number"), Rejected("http_invalid_number")),
        (reply(422, code="opted_out"), Rejected("http_opted_out")),
        (reply(400), Rejected("http_400")),
        (reply(401), Rejected("http_401", configuration=True)),
        (reply(429, "5"), RetryLater("http_429", 5_000, brake=True)),
        (reply(503, "6"), RetryLater("http_503", 6_000)),
        (reply(500), Unknown("http_500")),
        (TransportFault(Kind.UNKNOWN, Cause.DEADLINE), Unknown("transport_deadline")),
        (TransportFault(Kind.NEVER_SENT, Cause.CONNECT), RetryLater("transport_connect")),
    ],
)
async def test_each_answer_has_its_outcome(make_attempt: Make, now: int, answer: Any, outcome: Outcome) -> None:
    assert await provider(Carrier(answer)).send([text(make_attempt)], now) == [outcome]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (reply(404), None),
        (reply(200, id="c-1", status="sent"), HandedOver("c-1")),
        (reply(200, status="failed", code="invalid_number"), Rejected("http_invalid_number")),
        (reply(500), Unknown("look_up_refused")),
        (TransportFault(Kind.UNKNOWN, Cause.LOST), Unknown("look_up_lost")),
    ],
)
async def test_an_unknown_text_is_looked_up(make_attempt: Make, answer: Any, outcome: Outcome | None) -> None:
    carrier, attempt = Carrier(answer), text(make_attempt)
    assert await provider(carrier).look_up(attempt) == outcome
    assert carrier.requests[0].url == f"https://sms.example/v1/{attempt.attempt_id}"


def signed(body: bytes, now: int, secret: str = SECRET) -> dict[str, str]:
    timestamp = str(now // 1_000)
    return {
        "webhook-id": "w1",
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,other {sign(secret, 'w1', timestamp, body)}",
    }


def test_a_signed_status_is_read(now: int) -> None:
    body = b'{"status":"undelivered","id":"c-1","code":"invalid_number","segments":2}'
    status = parse_http_callback(body, signed(body, now), SECRET, now)
    assert (status.status, status.terminal, status.proof) == ("undelivered", True, False)
    assert (status.reference, status.segments, status.number) == ("c-1", 2, NumberVerdict.BAD_NUMBER)


def test_what_was_forged_changed_or_replayed_is_refused(now: int) -> None:
    body = b'{"status":"delivered"}'
    for headers, seen, at in (
        ({}, body, now),
        (signed(body, now, "another"), body, now),
        (signed(body, now), body + b" ", now),
        (signed(body, now), body, now + TOLERANCE + 1_000),
        ({**signed(body, now), "webhook-timestamp": "x"}, body, now),
    ):
        with pytest.raises(BadSignature):
            parse_http_callback(seen, headers, SECRET, at)


def test_a_signed_body_that_is_no_status_is_a_value_error(now: int) -> None:
    with pytest.raises(ValueError, match="no status"):
        parse_http_callback(b"[]", signed(b"[]", now), SECRET, now)


async def test_its_credentials_build_it_and_hide() -> None:
    document = {"carrier": "http", "endpoint": "https://x/sms", "token": "tok", "secret": "sec", "sender": "P"}
    credentials = read_credentials(Path.SMS, json.dumps(document).encode())
    assert isinstance(credentials, HttpCarrierCredentials)
    assert "tok" not in repr(credentials)
    built = build_provider(credentials, "https://p")
    assert isinstance(built, HttpCarrierProvider)
    await built.close()
    for wrong in ({"carrier": "pigeon"}, {"carrier": "http", "endpoint": "x"}, {**document, "token": ""}):
        with pytest.raises(BadCredentials):
            read_credentials(Path.SMS, json.dumps(wrong).encode())
