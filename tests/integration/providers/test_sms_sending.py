"""SMS through the Twilio simulator: one request a text, whatever happens to its answer."""

import asyncio
from typing import Any
from urllib.parse import parse_qs

import pytest

from dispatcher.domain.outcome import HandedOver, Rejected, RetryLater, Unknown
from dispatcher.domain.paths import Path
from providers.http2 import CurlTransport, Request
from providers.sms.status import BadSignature, CarrierStatus
from providers.sms.twilio.callbacks import callback_url, parse_callback

NUMBER = "+8613800000001"


def text(lab: Any, **changes: Any) -> Any:
    return lab.attempt(Path.SMS, **{"phone": NUMBER, "text": "Wang: 你好", **changes})


async def test_a_text_leaves_with_its_life_and_its_callback(lab: Any) -> None:
    provider = lab.provider(Path.SMS)
    attempt = text(lab)
    (outcome,) = await provider.send([attempt], attempt.expires_at - 90_500)
    assert isinstance(outcome, HandedOver)
    assert outcome.reference is not None
    assert outcome.reference.startswith("SM")
    (entry,) = await lab.requests("sms")
    assert parse_qs(entry["body"]) == {
        "To": [NUMBER],
        "From": [lab.sandbox.credentials.sms.from_number],
        "Body": ["Wang: 你好"],
        "ValidityPeriod": ["90"],
        "StatusCallback": [f"http://127.0.0.1:9/push/v1/callbacks/sms/twilio/{attempt.attempt_id}"],
    }


@pytest.mark.parametrize(("life_ms", "validity"), [(-5, "1"), (900, "1"), (10**9, "36000")])
async def test_validity_stays_within_twilios_bounds(lab: Any, life_ms: int, validity: str) -> None:
    provider = lab.provider(Path.SMS)
    attempt = text(lab)
    await provider.send([attempt], attempt.expires_at - life_ms)
    (entry,) = await lab.requests("sms")
    assert parse_qs(entry["body"])["ValidityPeriod"] == [validity]


async def test_a_messaging_service_stands_for_the_number(lab: Any) -> None:
    provider = lab.provider(Path.SMS, from_number=None, messaging_service_sid="MG" + "0" * 32)
    await provider.send([text(lab)], lab.now)
    (entry,) = await lab.requests("sms")
    assert parse_qs(entry["body"])["MessagingServiceSid"] == ["MG" + "0" * 32]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"reason": "21211"}, Rejected("twilio_21211", suppress=True)),
        ({"reason": "21610"}, Rejected("twilio_21610", suppress=True)),
        ({"reason": "21614"}, Rejected("twilio_21614", suppress=True)),
        ({"reason": "21408"}, Rejected("twilio_21408")),
        ({"reason": "20003", "status": 401}, Rejected("twilio_20003", configuration=True)),
        ({"reason": "20429", "status": 429, "retry_after": 3}, RetryLater("twilio_20429", 3_000, brake=True)),
        ({"status": 503, "retry_after": 2}, RetryLater("twilio_20503", 2_000)),
        ({"status": 500}, Unknown("twilio_20500")),
        ({"status": 500, "wire": "empty"}, Unknown("twilio_500")),
        ({"status": 400, "wire": "empty"}, Rejected("twilio_400")),
        ({"wire": "empty"}, HandedOver(None)),
        ({"wire": "close"}, Unknown("transport_lost")),
        ({"wire": "silent"}, Unknown("transport_deadline")),
    ],
    ids=lambda value: str(value),
)
async def test_each_row_over_the_wire(lab: Any, rule: dict[str, Any], expected: object) -> None:
    provider = lab.provider(Path.SMS)
    provider._client.http_client._deadline_ms = 500
    await lab.script("sms", errors=[{"match": "*", **rule}])
    assert await provider.send([text(lab)], lab.now) == [expected]
    assert len(await lab.requests("sms")) == 1


async def test_a_text_whose_answer_was_lost_is_found_and_not_sent_again(lab: Any) -> None:
    provider = lab.provider(Path.SMS)
    provider._client.http_client._deadline_ms = 500
    await lab.script("sms", errors=[{"match": "*", "wire": "silent"}])
    attempt = text(lab)
    assert await provider.send([attempt], lab.now) == [Unknown("transport_deadline")]
    await lab.script("sms")
    found = await provider.look_up(attempt)
    assert isinstance(found, HandedOver)
    assert await provider.look_up(text(lab, text="other words")) is None
    assert await provider.look_up(text(lab, phone="+8613800000009")) is None


async def test_a_text_that_never_arrived_is_not_found(lab: Any) -> None:
    provider = lab.provider(Path.SMS)
    provider._client.http_client._deadline_ms = 500
    await lab.script("sms", errors=[{"match": "*", "wire": "drop"}])
    attempt = text(lab)
    assert await provider.send([attempt], lab.now) == [Unknown("transport_deadline")]
    assert await provider.look_up(attempt) is None


async def test_a_twilio_that_cannot_be_asked_leaves_it_unknown(lab: Any) -> None:
    provider = lab.provider(Path.SMS, endpoint="http://127.0.0.1:1")
    assert await provider.look_up(text(lab)) == Unknown("look_up_connect")


async def test_the_carriers_callbacks_are_judged_over_the_public_url(lab: Any) -> None:
    posts: asyncio.Queue[tuple[dict[str, str], dict[str, list[str]]]] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await posts.put((headers, parse_qs(body.decode())))

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    public = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await lab.script("sms", receipt={"after": "100ms", "status": "delivered"})
    provider = lab.provider(Path.SMS, public_url=public)
    attempt = text(lab)
    await provider.send([attempt], lab.now)
    url = callback_url(public, attempt.attempt_id)
    seen: list[CarrierStatus] = []
    for _ in range(2):
        headers, form = await asyncio.wait_for(posts.get(), 5)
        pairs = [(name, value) for name, values in form.items() for value in values]
        signature, token = headers["x-twilio-signature"], lab.sandbox.credentials.sms.auth_token
        seen.append(parse_callback(url, pairs, signature, token))
        with pytest.raises(BadSignature):
            parse_callback(url, [*pairs, ("New", "1")], signature, token)
        with pytest.raises(BadSignature):
            parse_callback(url.replace("http:", "https:"), pairs, signature, token)
    server.close()
    await server.wait_closed()
    assert [(status.status, status.terminal, status.proof) for status in seen] == [
        ("sent", False, False),
        ("delivered", True, True),
    ]
    assert seen[0].rank < seen[1].rank


async def test_libcurl_never_sends_twice_by_itself(lab: Any) -> None:
    """A reused connection that ends without an answer makes libcurl send again; ours must not."""
    transport = CurlTransport(connections=1)
    url = f"{lab.sandbox.sms_url}/2010-04-01/Accounts/x/Messages.json"
    await transport.exchange([Request("GET", url, [])], 1_000)
    await lab.script("sms", errors=[{"match": "*", "wire": "close"}])
    provider = lab.provider(Path.SMS)
    await provider.send([text(lab)], lab.now)
    await provider.send([text(lab)], lab.now)
    await transport.close()
    assert len([entry for entry in await lab.requests("sms") if entry["method"] == "POST"]) == 2
