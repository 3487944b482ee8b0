"""The Twilio end through twilio's own client, httpx and curl; callbacks judged by twilio's RequestValidator."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from providers.sandbox.wire.exchange import Answer, Request
from providers.sandbox.wire.listener import Listener

NUMBER = "+8613800000001"


@dataclass
class Backend:
    """Takes status callbacks, as our API will."""

    port: int = 0
    posts: list[tuple[dict[str, str], str, str]] = field(default_factory=list)  # form, signature, url
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    telling: set[asyncio.Task[None]] = field(default_factory=set)

    def initial_streams(self) -> int:
        return 1

    def take(self, request: Request) -> None:
        form = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        signature = request.headers()[b"x-twilio-signature"].decode()
        self.posts.append((form, signature, f"http://127.0.0.1:{self.port}{request.path}"))
        request.connection.answer(request.stream, Answer(204))
        task = asyncio.create_task(self._tell())
        self.telling.add(task)
        task.add_done_callback(self.telling.discard)

    async def _tell(self) -> None:
        async with self.news:
            self.news.notify_all()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/callbacks/sms/twilio/at-1?x=%2Fy&z=ä"

    async def statuses(self, count: int) -> list[str]:
        """The first *count* statuses to arrive, within 5 s."""
        async with asyncio.timeout(5), self.news:
            await self.news.wait_for(lambda: len(self.posts) >= count)
        return [form["MessageStatus"] for form, _, _ in self.posts]


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    backend, listener = Backend(), Listener()
    backend.port = listener.bind("127.0.0.1", 0)
    listener.start(backend)
    yield backend
    await listener.stop()


def messages_url(lab: Any) -> str:
    return f"{lab.sandbox.sms_url}/2010-04-01/Accounts/{lab.sandbox.credentials.sms.account_sid}/Messages.json"


async def send(lab: Any, patience_s: float = 2, **changes: Any) -> httpx.Response:
    own = lab.sandbox.credentials.sms
    form = {"To": NUMBER, "From": own.from_number, "Body": "hello", **changes}
    given = {name: value for name, value in form.items() if value is not None}
    reply: httpx.Response = await lab.http.post(
        messages_url(lab), data=given, auth=(own.account_sid, own.auth_token), timeout=patience_s
    )
    return reply


async def test_a_text_is_queued_then_sent_then_delivered_with_valid_signatures(lab: Any, backend: Backend) -> None:
    await lab.script("sms", receipt={"after": "50ms"})
    reply = await send(lab, StatusCallback=backend.url, Body="你" * 71)
    created = reply.json()
    assert reply.status_code == 201
    assert created["sid"].startswith("SM")
    assert (created["status"], created["price"], created["num_segments"]) == ("queued", None, "2")
    assert await backend.statuses(2) == ["sent", "delivered"]
    validator = RequestValidator(lab.sandbox.credentials.sms.auth_token)
    for form, signature, _ in backend.posts:
        assert validator.validate(backend.url, form, signature)
        assert (form["MessageSid"], form["To"]) == (created["sid"], NUMBER)
        assert not validator.validate(backend.url + "1", form, signature)
    (text,) = await lab.outbox()
    assert (text["to"], text["body"], text["status"], text["segments"]) == (NUMBER, "你" * 71, "delivered", 2)


async def test_delivery_is_confirmed_after_a_second_by_default(lab: Any, backend: Backend) -> None:
    begun = asyncio.get_running_loop().time()
    await send(lab, StatusCallback=backend.url)
    await backend.statuses(2)
    assert 0.9 <= asyncio.get_running_loop().time() - begun < 3


@pytest.mark.parametrize(
    ("receipt", "statuses", "error_code"),
    [
        ({"status": "undelivered"}, ["sent", "undelivered"], "30008"),
        ({"status": "undelivered", "error_code": 30003}, ["sent", "undelivered"], "30003"),
        ({"status": "failed", "error_code": 30007}, ["failed"], "30007"),
        ({"status": "sent"}, ["sent"], None),
        ({"repeat": 2}, ["sent", "sent", "delivered", "delivered"], None),
        ({"reorder": True}, ["delivered", "sent"], None),
    ],
)
async def test_receipts_are_scripted(
    lab: Any, backend: Backend, receipt: dict[str, Any], statuses: list[str], error_code: str | None
) -> None:
    await lab.script("sms", receipt={"after": "60ms", **receipt})
    await send(lab, StatusCallback=backend.url)
    assert await backend.statuses(len(statuses)) == statuses
    errors = {form.get("ErrorCode") for form, _, _ in backend.posts} - {None}
    assert errors == ({error_code} if error_code else set())


async def test_forged_callbacks_do_not_validate(lab: Any, backend: Backend) -> None:
    await lab.script("sms", receipt={"after": "20ms", "forge": True})
    await send(lab, StatusCallback=backend.url)
    await backend.statuses(2)
    validator = RequestValidator(lab.sandbox.credentials.sms.auth_token)
    assert not any(validator.validate(backend.url, form, signature) for form, signature, _ in backend.posts)


async def test_a_text_that_outwaits_its_validity_fails_with_30036(lab: Any, backend: Backend) -> None:
    await lab.script("sms", receipt={"after": "30s"})
    await send(lab, StatusCallback=backend.url, ValidityPeriod="1")
    assert await backend.statuses(1) == ["failed"]
    assert backend.posts[0][0]["ErrorCode"] == "30036"
    assert await lab.outbox() == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": None}, 21604),
        ({"To": "nobody"}, 21211),
        ({"From": None}, 21603),
        ({"From": "+15550000000"}, 21606),
        ({"Body": None}, 21602),
        ({"Body": "x" * 1601}, 21617),
        ({"ValidityPeriod": "0"}, 90007),
        ({"ValidityPeriod": "36001"}, 90007),
        ({"StatusCallback": "ftp://example"}, 21609),
    ],
)
async def test_twilio_refuses(lab: Any, changes: dict[str, Any], code: int) -> None:
    reply = await send(lab, **changes)
    assert (reply.status_code, reply.json()["code"]) == (400, code)
    assert (await lab.requests("sms"))[0]["answer"] == {"status": 400, "reason": str(code)}


@pytest.mark.parametrize(
    ("rule", "status", "code"),
    [
        ({"reason": "21211"}, 400, 21211),
        ({"reason": "21610"}, 400, 21610),
        ({"status": 400, "reason": "21614"}, 400, 21614),
        ({"reason": "21408"}, 400, 21408),
        ({"status": 429, "retry_after": 4}, 429, 20429),
        ({"status": 503}, 503, 20503),
        ({"status": 401}, 401, 20003),
    ],
)
async def test_scripted_errors(lab: Any, rule: dict[str, Any], status: int, code: int) -> None:
    await lab.script("sms", errors=[{"match": "+86*", **rule}])
    reply = await send(lab)
    assert (reply.status_code, reply.json()["code"], reply.json()["status"]) == (status, code, status)
    assert (await send(lab, To="+15550001")).status_code == 201


@pytest.mark.parametrize(
    ("code", "status"), [(30003, "undelivered"), (30005, "undelivered"), (30006, "undelivered"), (30001, "failed")]
)
async def test_delivery_errors_come_by_callback(lab: Any, backend: Backend, code: int, status: str) -> None:
    await lab.script("sms", errors=[{"reason": str(code)}], receipt={"after": "20ms"})
    assert (await send(lab, StatusCallback=backend.url)).status_code == 201
    assert (await backend.statuses(2 if status == "undelivered" else 1))[-1] == status
    assert backend.posts[-1][0]["ErrorCode"] == str(code)


async def test_a_lost_answer_can_be_looked_up_and_a_dropped_request_cannot(lab: Any) -> None:
    await lab.script("sms", errors=[{"match": "*1", "wire": "silent"}, {"match": "*2", "wire": "drop"}])
    for number in ("+8613800000001", "+8613800000002"):
        with pytest.raises(httpx.ReadTimeout):
            await send(lab, patience_s=0.2, To=number)
    client = twilio(lab)
    found = {to: await asyncio.to_thread(client.messages.list, to=to) for to in ("+8613800000001", "+8613800000002")}
    assert {to: len(messages) for to, messages in found.items()} == {"+8613800000001": 1, "+8613800000002": 0}


async def test_wrong_passwords_accounts_and_paths(lab: Any) -> None:
    own = lab.sandbox.credentials.sms
    right = (own.account_sid, own.auth_token)
    other = messages_url(lab).replace(own.account_sid, "AC" + "0" * 32)
    assert (await lab.http.post(messages_url(lab), auth=(own.account_sid, "wrong"))).json()["code"] == 20003
    assert (await lab.http.post(messages_url(lab))).status_code == 401
    assert (await lab.http.post(other, auth=right)).json()["code"] == 20404
    assert (await lab.http.delete(messages_url(lab), auth=right)).status_code == 405


class Redirected(TwilioHttpClient):  # type: ignore[misc]
    """Twilio's own HTTP client, pointed elsewhere."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self._base = base

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super().request(method, url.replace("https://api.twilio.com", self._base), *args, **kwargs)


def twilio(lab: Any) -> Client:
    own = lab.sandbox.credentials.sms
    return Client(own.account_sid, own.auth_token, http_client=Redirected(lab.sandbox.sms_url))


async def test_twilios_client_sends_looks_up_and_lists_by_number_and_day(lab: Any) -> None:
    await lab.script("sms", receipt={"after": "10ms"})
    client, own = twilio(lab), lab.sandbox.credentials.sms
    sids = []
    for to in (NUMBER, NUMBER, "+15550001111"):
        sent = await asyncio.to_thread(client.messages.create, to=to, from_=own.from_number, body="hi")
        assert (sent.status, sent.price) == ("queued", None)
        sids.append(sent.sid)
    await asyncio.sleep(0.05)
    fetched = await asyncio.to_thread(client.messages(sids[0]).fetch)
    assert (fetched.status, fetched.price, fetched.price_unit) == ("delivered", "-0.00790", "USD")
    today = datetime.now(UTC)
    listed = await asyncio.to_thread(client.messages.list, to=NUMBER, date_sent=today)
    assert [message.sid for message in listed] == [sids[1], sids[0]]
    later = await asyncio.to_thread(client.messages.list, to=NUMBER, date_sent_after=today + timedelta(days=1))
    paged = await asyncio.to_thread(client.messages.list, page_size=1)
    assert (later, len(paged)) == ([], 3)


async def test_twilios_client_raises_the_scripted_error(lab: Any) -> None:
    await lab.script("sms", errors=[{"reason": "21610"}])
    with pytest.raises(TwilioRestException) as raised:
        await asyncio.to_thread(twilio(lab).messages.create, to=NUMBER, from_="+15005550006", body="hi")
    assert (raised.value.status, raised.value.code) == (400, 21610)


async def test_a_messaging_service_picks_the_sender(lab: Any) -> None:
    reply = (await send(lab, From=None, MessagingServiceSid="MG" + "1" * 32)).json()
    assert (reply["status"], reply["from"], reply["messaging_service_sid"]) == ("accepted", None, "MG" + "1" * 32)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
@pytest.mark.parametrize("version", ["--http1.1", "--http2", "--http2-prior-knowledge"])
async def test_curl(lab: Any, version: str) -> None:
    own = lab.sandbox.credentials.sms
    fields = (f"To={NUMBER}", f"From={own.from_number}", "Body=hi & bye")
    form = [argument for item in fields for argument in ("--data-urlencode", item)]
    login = f"{own.account_sid}:{own.auth_token}"
    command = ["curl", "-sS", version, "-o", "/dev/null", "-w", "%{http_code}", "-u", login]
    done = await asyncio.to_thread(
        subprocess.run, [*command, *form, messages_url(lab)], capture_output=True, check=False, timeout=10
    )
    assert done.stdout == b"201", done.stderr
