"""SMS from reservation to callback: two carriers, forged, doubled and reordered statuses, numbers that said no."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from twilio.request_validator import RequestValidator

from dispatcher.domain.clock import SECOND
from dispatcher.domain.paths import Path
from dispatcher.domain.requests import CarrierCallback
from dispatcher.errors import Problem
from providers.sms.http_carrier.callbacks import sign

LADDER = ("{path: longconn, wait: 2s}", "{path: sms, wait: 5m}", "{path: poll, wait: 5m}")
HTTP = {"carrier": "http", "endpoint": "http://127.0.0.1:9", "token": "t", "secret": "hush", "sender": "Us"}


@pytest.fixture
async def sent(vendors: Any) -> dict[str, Any]:
    """One text that Twilio took: its request."""
    await vendors.app(*LADDER)
    await vendors.world.user("li")
    await vendors.script("sms", receipt={"repeat": 0})
    await vendors.world.dispatch("m1", "li", ttl_ms=600_000)
    await vendors.world.advance(5 * SECOND)
    (request,) = await vendors.requests("sms")
    found: dict[str, Any] = request
    return found


def form_of(request: Mapping[str, Any]) -> dict[str, str]:
    return dict(parse_qsl(request["body"]))


def twilio(vendors: Any, url: str, form: Mapping[str, str], *, key: str | None = None) -> CarrierCallback:
    """A request as Twilio signs it."""
    public = vendors.world.settings.public_url.rstrip("/")
    path = url.removeprefix(public)
    signature = RequestValidator(key or vendors.sandbox.credentials.sms.auth_token).compute_signature(
        public + path, form
    )
    return CarrierCallback(url_path=path, headers={"x-twilio-signature": signature}, body=b"", form=form)


async def report(vendors: Any, request: Mapping[str, Any], status: str, **more: Any) -> None:
    url = form_of(request)["StatusCallback"]
    form = {"MessageSid": "SM1", "MessageStatus": status, "To": form_of(request)["To"], **more.pop("fields", {})}
    attempt = urlsplit(url).path.rpartition("/")[2]
    await vendors.world.core.sms_callback("twilio", attempt, twilio(vendors, url, form, **more))


async def test_statuses_out_of_order_doubled_and_forged_end_the_same(vendors: Any, sent: Any) -> None:
    for status in ("delivered", "sent", "delivered", "queued", "failed"):
        await report(vendors, sent, status)
    state = await vendors.world.state("m1")
    assert (state["state"], state["deliveries"][0]["confirmed_by"]) == ("confirmed", "sms")
    await vendors.world.advance(600 * SECOND)
    assert len(await vendors.requests("sms")) == 1


async def test_a_forged_status_changes_nothing(vendors: Any, sent: Any) -> None:
    with pytest.raises(Problem) as caught:
        await report(vendors, sent, "delivered", key="somebody else's")
    assert caught.value.status == 403
    assert (await vendors.world.state("m1"))["state"] == "open"


async def test_a_failed_text_moves_on_at_once_and_a_bad_number_gets_no_other(vendors: Any, sent: Any) -> None:
    await report(vendors, sent, "undelivered", fields={"ErrorCode": "30006"})
    await vendors.world.work()
    events = (await vendors.world.core.timeline("im", "m1", None))["events"]
    assert [event["path"] for event in events if event["kind"] == "attempted"] == ["sms", "poll"]
    await vendors.world.dispatch("m2", "li")
    await vendors.world.advance(10 * SECOND)
    assert len(await vendors.requests("sms")) == 1


async def test_stop_keeps_a_number_from_texts_and_start_lifts_that(vendors: Any, sent: Any) -> None:
    world, number = vendors.world, form_of(sent)["To"]
    url = "/v1/callbacks/sms/twilio/im/inbound"
    forged = twilio(vendors, url, {"From": number, "Body": "STOP"}, key="x")
    with pytest.raises(Problem):
        await world.core.sms_inbound("twilio", "im", forged)
    for word, texts in (("Stop", 1), ("thanks", 1), ("START", 2)):
        await world.core.sms_inbound("twilio", "im", twilio(vendors, url, {"From": number, "Body": word}))
        await world.dispatch(f"m-{word}", "li")
        await world.advance(10 * SECOND)
        assert len(await vendors.requests("sms")) == texts


async def test_the_second_carrier_takes_what_the_first_cannot_and_both_are_heard(vendors: Any) -> None:
    world, documents = vendors.world, vendors.documents()
    await vendors.app(*LADDER)
    await world.user("li")
    await vendors.credentials(Path.SMS, {"carriers": [HTTP, documents[Path.SMS]]})
    world.now += 60 * SECOND
    await vendors.script("sms", receipt={"repeat": 0})
    await world.dispatch("m1", "li")
    await world.dispatch("m2", "li")
    await world.advance(5 * SECOND)
    first, second = await vendors.requests("sms")  # texts of two messages leave in any order
    await report(vendors, first, "delivered")
    states = [(await world.state(message))["state"] for message in ("m1", "m2")]
    assert sorted(states) == ["confirmed", "open"]
    # the other carrier's callbacks are taken too: its signature, its words
    attempt = urlsplit(form_of(second)["StatusCallback"]).path.rpartition("/")[2]
    body, stamp = json.dumps({"status": "delivered"}).encode(), str(world.now // SECOND)
    headers = {"webhook-id": "w1", "webhook-timestamp": stamp, "webhook-signature": sign("hush", "w1", stamp, body)}
    callback = CarrierCallback(url_path="/v1/callbacks/sms/http/x", headers=headers, body=body, form={})
    with pytest.raises(Problem):
        await world.core.sms_callback("twilio", attempt, callback)
    await world.core.sms_callback("http", attempt, callback)
    assert [(await world.state(message))["state"] for message in ("m1", "m2")] == ["confirmed", "confirmed"]
    # every process of the app knows who rests
    shown = next(
        one for one in await world.core.operations.providers("im", world.now - 4 * SECOND) if one.path is Path.SMS
    )
    rests = {carrier.name: carrier.rest and carrier.rest.reason for carrier in shown.carriers}
    assert rests == {"http": "transport_connect", "twilio": None}


async def test_a_lost_answer_is_looked_up_by_the_words_that_left(vendors: Any) -> None:
    world = vendors.world
    await vendors.app(*LADDER)
    await world.user("li")
    await vendors.script("sms", errors=[{"wire": "close", "times": 1}], receipt={"repeat": 0})
    await world.dispatch("m1", "li", ttl_ms=600_000)
    await world.advance(120 * SECOND)
    requests = await vendors.requests("sms")
    assert [request["method"] for request in requests].count("POST") == 1
    assert "GET" in [request["method"] for request in requests]
