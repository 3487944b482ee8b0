"""Status webhooks from the journal to a receiver: told once, signed, retried, paused, erased."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from dispatcher.api.app import create_app
from dispatcher.domain.clock import DAY, HOUR, MINUTE, SECOND
from dispatcher.domain.outcome import TokenDead
from dispatcher.domain.paths import Path
from dispatcher.domain.webhook import StatusEvent
from dispatcher.errors import Problem
from dispatcher.pipeline.webhooks import LEASE, Sending, send_waiting
from dispatcher.ports.webhooks import Reply
from dispatcher.webhooks.post import HttpPoster
from workers.chores import archive_turn
from workers.webhooks import WebhookSender

URL = "https://hooks.example/in"
ALL = list(StatusEvent)


class Receiver:
    """Answers POSTs by a list of replies, then well; keeps what it got."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.got: list[tuple[dict[str, str], dict[str, Any]]] = []

    async def post(self, url: str, headers: Any, body: bytes) -> Reply:
        reply = self.replies.pop(0) if self.replies else Reply(status=204)
        self.got.append((dict(headers), json.loads(body)))
        return reply

    def events(self) -> list[dict[str, Any]]:
        return [event for _, body in self.got for event in body["events"]]

    def told(self) -> list[tuple[str, str]]:
        return [(event["event"], event["user_id"]) for event in self.events()]


async def register(world: Any, events: Sequence[StatusEvent] = ALL, app: str = "im", url: str = URL) -> str:
    sealed = world.stores.sealer.seal(b"whsec_" + b"QUFB" * 8, f"webhook:{app}")
    webhook, _ = await world.stores.webhooks.register(app, f"wh_{app}", url, events, sealed, world.now)
    return str(webhook.webhook_id)


@asynccontextmanager
async def api(world: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The door, asked by a backend with every scope."""
    _, key = await world.stores.apps.create_key("im", "tests", ["read", "admin"], world.now)
    app: Any = create_app(world.core)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://api", headers={"Authorization": f"Bearer {key}"}
    ) as client:
        yield client


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def deliver(world: Any, receiver: Receiver) -> Callable[..., Any]:
    """Archives, then sends what is due."""

    async def run() -> int:
        await archive_turn(world.stores)
        sender = WebhookSender(world.stores)
        ports = Sending(
            webhooks=world.stores.webhooks,
            poster=receiver,
            sign=sender._sending.sign,
            clock=world.clock,
            dice=lambda: 0.5,
        )
        claimed = await world.stores.webhooks.claim(world.now, lease_ms=LEASE, limit=10)
        return sum([await send_waiting(endpoint, ports) for endpoint in claimed])

    return run


async def test_a_delivery_is_told_from_hand_over_to_its_end(world: Any, receiver: Receiver, deliver: Any) -> None:
    await world.app()
    await world.user("li", "d1")
    await register(world)
    await world.dispatch("cm1", "li")
    await world.work()
    await deliver()
    await world.advance(15 * SECOND)  # to the SMS
    await world.receipt("cm1", "li", "d1", via=Path.APNS)
    await deliver()
    await deliver()
    assert receiver.told() == [
        ("handed_over", "li"),
        ("escalated", "li"),
        ("handed_over", "li"),
        ("delivered", "li"),
        ("settled", "li"),
    ]
    first, *_, last = receiver.events()
    assert (first["message_id"], first["class"], first["device_id"], first["path"]) == ("cm1", "chat", "d1", "apns")
    assert first["attempt_id"].startswith(first["delivery_id"])
    assert last["detail"] == {"state": "confirmed", "confirmed_by": "apns"}
    headers, _ = receiver.got[0]
    assert headers["webhook-signature"].startswith("v1,")
    assert len({event["id"] for event in receiver.events()}) == 5


async def test_ends_without_a_receipt_and_dead_tokens_are_told(world: Any, receiver: Receiver, deliver: Any) -> None:
    await world.app("{path: push, wait: 10s}")
    await world.user("li", "d1")
    await register(world)
    world.providers[Path.APNS].answer = lambda attempt: TokenDead("Unregistered")
    await world.dispatch("cm1", "li")
    await world.advance(MINUTE)
    await deliver()
    told = {event["event"]: event for event in receiver.events()}
    assert set(told) == {"token_dead", "escalated", "settled"}
    assert told["token_dead"]["detail"] == {"reason": "Unregistered"}
    assert told["settled"]["detail"] == {"state": "exhausted"}


async def test_only_what_was_asked_for_is_queued_and_other_apps_pay_nothing(
    world: Any, receiver: Receiver, deliver: Any
) -> None:
    await world.app()
    await world.app(app="other")
    await world.user("li", "d1")
    await world.user("mo", "d2", app="other")
    await register(world, [StatusEvent.SETTLED])
    await world.dispatch("cm1", "li")
    await world.dispatch("cm2", "mo", app="other")
    await world.work()
    await deliver()
    assert receiver.got == []
    await world.receipt("cm1", "li", "d1")
    await world.receipt("cm2", "mo", "d2", app="other")
    await deliver()
    assert receiver.told() == [("settled", "li")]


async def test_a_hundred_events_go_in_one_post_and_a_retry_is_the_same_post(
    world: Any, receiver: Receiver, deliver: Any
) -> None:
    await world.app("{path: push, wait: 10s}")
    users = [f"u{number}" for number in range(130)]
    for user in users:
        await world.user(user, f"d-{user}", phone=False)
    webhook_id = await register(world, [StatusEvent.HANDED_OVER])
    await world.dispatch("cm1", *users)
    await world.work()
    receiver.replies = [Reply(status=500)]
    assert await deliver() == 0
    (failing,) = await world.stores.webhooks.of_app("im")
    assert (failing.state, failing.last_error, failing.waiting) == ("failing", "HTTP 500", 130)
    assert await deliver() == 0  # not due yet
    world.now += 10 * SECOND
    assert await deliver() == 130
    (first, _), (again, _), (last, _) = receiver.got
    assert first["webhook-id"] == again["webhook-id"] != last["webhook-id"]
    sizes = [len(body["events"]) for _, body in receiver.got]
    assert sizes == [100, 100, 30]
    assert receiver.got[0][1] == receiver.got[1][1]
    (well,) = await world.stores.webhooks.of_app("im")
    assert (well.state, well.waiting, well.webhook_id) == ("active", 0, webhook_id)


async def test_a_day_of_failures_pauses_the_endpoint_and_resuming_goes_on(
    world: Any, receiver: Receiver, deliver: Any
) -> None:
    await world.app("{path: push, wait: 10s}")
    await world.user("li", "d1")
    webhook_id = await register(world, [StatusEvent.HANDED_OVER])
    await world.dispatch("cm1", "li")
    await world.work()
    receiver.replies = [Reply(status=0, error="timeout")] * 1_000
    began = world.now
    while (await world.stores.webhooks.of_app("im"))[0].state != "paused":
        await deliver()
        world.now += HOUR
        assert world.now < began + 3 * DAY
    assert DAY <= world.now - began <= DAY + 5 * HOUR
    tries = len(receiver.got)
    assert 8 <= tries <= 20
    await world.dispatch("cm2", "li")
    await world.work()
    await deliver()
    assert len(receiver.got) == tries
    receiver.replies, receiver.got = [], []
    async with api(world) as backend:
        (letter,) = (await backend.get("/v1/dead-letters", params={"kind": "webhook"})).json()["dead_letters"]
        assert (letter["id"], letter["url"], letter["events"]) == (webhook_id, URL, 1)
        assert letter["reason"] == "failing for a day: timeout"
        waiting = (await backend.get(f"/v1/webhooks/{webhook_id}/waiting")).json()["events"]
        assert [event["message_id"] for event in waiting] == ["cm1"]
        replayed = await backend.post(f"/v1/dead-letters/{webhook_id}/replay")
        assert (replayed.status_code, replayed.json()) == (202, {"id": webhook_id, "events": 1})
        assert (await backend.get("/v1/dead-letters", params={"kind": "webhook"})).json()["dead_letters"] == []
        assert (await backend.post("/v1/dead-letters/wh_nobody/replay")).status_code == 404
    assert await deliver() == 1
    assert [event["message_id"] for event in receiver.events()] == ["cm1"]


async def test_a_replay_need_not_wait_for_the_next_try(world: Any, receiver: Receiver, deliver: Any) -> None:
    await world.app("{path: push, wait: 10s}")
    await world.user("li", "d1")
    webhook_id = await register(world, [StatusEvent.HANDED_OVER])
    await world.dispatch("cm1", "li")
    await world.work()
    receiver.replies = [Reply(status=500, retry_after=HOUR)]
    await deliver()
    async with api(world) as backend:
        assert await deliver() == 0
        assert (await backend.get("/v1/dead-letters", params={"kind": "webhook"})).json()["dead_letters"] == []
        assert (await backend.post(f"/v1/webhooks/{webhook_id}/replay")).json()["events"] == 1
        strangers = await backend.get(f"/v1/webhooks/{webhook_id}/waiting", headers={"Authorization": "Bearer x"})
        assert strangers.status_code == 401
    assert await deliver() == 1


async def test_the_carriers_error_code_is_told(world: Any, receiver: Receiver, deliver: Any) -> None:
    await world.app("{path: sms, wait: 1m}")
    await world.user("li")
    await register(world, [StatusEvent.SMS_STATUS])
    await world.dispatch("cm1", "li")
    await world.work()
    text = world.sent[-1].attempt.attempt_id
    take = world.core.receiver.carrier_status
    await take(text, "sent", proof=False, failed=False, now=world.now)
    world.now += SECOND
    await take(text, "undelivered", proof=False, failed=True, now=world.now, error="30003")
    await deliver()
    assert [event["detail"] for event in receiver.events()] == [
        {"status": "sent"},
        {"status": "undelivered", "error": "30003"},
    ]
    timeline = await world.core.timeline("im", "cm1", None)
    assert [event["detail"].get("error") for event in timeline["events"] if event["kind"] == "receipt"] == [
        None,
        "30003",
    ]


async def test_waiting_events_are_looked_at_without_being_taken(world: Any, receiver: Receiver, deliver: Any) -> None:
    await world.app("{path: push, wait: 10s}")
    users = [f"u{number}" for number in range(130)]
    for user in users:
        await world.user(user, f"d-{user}", phone=False)
    webhook_id = await register(world, [StatusEvent.HANDED_OVER])
    await world.stores.webhooks.pause("im", webhook_id, "by a test", world.now)
    await world.stores.webhooks.resume("im", webhook_id, world.now)
    await world.dispatch("cm1", *users)
    await world.work()
    await archive_turn(world.stores)
    for _ in range(2):
        async with api(world) as backend:
            shown = (await backend.get(f"/v1/webhooks/{webhook_id}/waiting")).json()["events"]
        assert len(shown) == 100
    assert await deliver() == 130


async def test_an_archiver_that_died_halfway_tells_again_under_the_same_ids(
    world: Any, receiver: Receiver, deliver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.app("{path: push, wait: 10s}")
    await world.user("li", "d1")
    await register(world, [StatusEvent.HANDED_OVER])
    await world.dispatch("cm1", "li")
    await world.work()

    async def dies(*_: Any) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(type(world.stores.parts.homes), "trim_journal", dies)
        with pytest.raises(OSError, match="killed"):
            await deliver()
    await deliver()
    first, again = receiver.events()
    assert first == again


async def test_an_erased_user_is_taken_out_of_what_waits(world: Any, receiver: Receiver, deliver: Any) -> None:
    await world.app("{path: push, wait: 10s}")
    await world.user("li", "d1")
    await world.user("mo", "d2")
    await register(world, [StatusEvent.HANDED_OVER, StatusEvent.SETTLED])
    await world.dispatch("cm1", "li", "mo")
    await world.work()
    await archive_turn(world.stores)
    assert await world.core.erase_user("im", "li", "key:t", world.now)
    await deliver()
    await deliver()
    assert receiver.told() == [("handed_over", "mo")]


async def test_registering_judges_the_target_and_keeps_the_secret_sealed(world: Any) -> None:
    await world.app()
    desk = world.core.webhooks
    for url in ("http://127.0.0.1:1/", "http://[::1]/", "http://169.254.169.254/latest", "http://localhost/"):
        with pytest.raises(Problem) as refused:
            await desk.register("im", url, ALL, None, world.now)
        assert refused.value.errors[0].field == "url"
    webhook, secret, new = await desk.register("im", "https://8.8.8.8/in", ALL, None, world.now)
    assert new
    (endpoint,) = await world.stores.webhooks.of_app("im")
    assert endpoint == webhook
    again, none, new = await desk.register("im", "https://8.8.8.8/in", [StatusEvent.OPENED], None, world.now)
    assert (again.webhook_id, none, new) == (webhook.webhook_id, None, False)
    assert again.events == {StatusEvent.OPENED}
    assert secret.startswith("whsec_")


@pytest.fixture
async def web() -> AsyncIterator[tuple[str, list[str]]]:
    """A server that redirects in a loop, hangs, floods or answers, by path."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ")[1]
            asked.append(path)
            if path == "/loop":
                writer.write(b"HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n")
            elif path == "/flood":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 1_000_000)
            elif path == "/hang":
                await asyncio.sleep(30)
            else:
                writer.write(b"HTTP/1.1 429 Slow\r\nRetry-After: 90\r\nContent-Length: 2\r\n\r\nno")
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", asked
    server.close()


async def test_receivers_that_redirect_hang_flood_or_beg_cost_one_answer(web: tuple[str, list[str]]) -> None:
    base, asked = web
    async with HttpPoster(private=True, deadline_s=0.3) as poster:
        assert (await poster.post(f"{base}/hang", {}, b"{}")).error == "timeout"
    async with HttpPoster(private=True) as poster:
        loop = await poster.post(f"{base}/loop", {}, b"{}")
        assert (loop.good, loop.error, asked.count("/loop")) == (False, "a redirect is not followed", 1)
        assert (await poster.post(f"{base}/flood", {}, b"{}")).good
        slow = await poster.post(f"{base}/slow", {}, b"{}")
        assert (slow.status, slow.retry_after) == (429, 90 * SECOND)
        assert (await poster.post("http://nowhere.invalid/", {}, b"{}")).error == "the name has no address"
        assert (await poster.post("http://127.0.0.1:1/", {}, b"{}")).status == 0
    async with HttpPoster(private=False) as poster:
        refused = await poster.post(f"{base}/loop", {}, b"{}")
        assert refused.error == "the target is a private, loopback or link-local address"
    assert asked.count("/loop") == 1
