"""What an app hears of its client, and pulls that are repeated before they are reported."""

import asyncio
from typing import Any

import httpx
import pytest

from dispatcher.client import DeviceClient, LoginState, MessageState, Msg, PullFailed, PushpathError
from dispatcher.client import device as device_module
from dispatcher.client.subscriptions import STREAM_KEEPS, LineState, Subscriptions

PAGE = {
    "messages": [
        {
            "cursor": "c1",
            "delivery_id": "d1",
            "message_id": "m1",
            "class": "chat",
            "notification": {"title": "Wang"},
            "data": None,
            "sent_at": "2026-11-22T14:00:00Z",
        }
    ],
    "next": None,
    "more": False,
    "unread": 1,
    "poll_after": "60s",
}


class Server:
    """Answers pulls by a list of statuses, then with a page; receipts always."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.pulls = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/receipts":
            return httpx.Response(200, json={"accepted": 1, "unknown": 0, "duplicate": 0})
        self.pulls += 1
        if self.statuses:
            return httpx.Response(self.statuses.pop(0), json={"code": "unavailable", "detail": "away"})
        return httpx.Response(200, json=PAGE)


def client_of(server: Server, *, fail: bool = False) -> tuple[DeviceClient, list[Any], list[Msg]]:
    shown: list[Msg] = []

    async def token() -> str:
        return "t.o.k"

    async def show(message: Msg) -> None:
        if fail:
            raise OSError("disk full")
        shown.append(message)

    http = httpx.AsyncClient(transport=httpx.MockTransport(server))
    client = DeviceClient(
        "http://api", "ws://gw", user_id="li", device_id="d-1", token=token, on_message=show, http=http, dice=lambda: 0
    )
    heard: list[Any] = []
    client.subscribe(LoginState, heard.append)
    client.subscribe(MessageState, heard.append)
    client.subscribe(PullFailed, heard.append)
    return client, heard, shown


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "_PULL_BACKOFF_S", 0.0)


@pytest.mark.parametrize("statuses", [(), (503,), (500, 502, 503)])
async def test_a_pull_is_repeated_three_times_before_anybody_hears_of_it(statuses: tuple[int, ...]) -> None:
    server = Server(*statuses)
    client, heard, shown = client_of(server)
    await client.pull()
    assert [message.message_id for message in shown] == ["m1"]
    assert server.pulls == len(statuses) + 1
    assert heard == [
        LoginState(state="logged_in", user_id="li", device_id="d-1"),
        *(
            MessageState(message_id="m1", state=state, via="poll", delivery_id="d1")
            for state in ("received", "stored", "acknowledged")
        ),
    ]


async def test_the_fourth_failure_is_told_and_raised() -> None:
    server = Server(500, 503, 503, 500)
    client, heard, _ = client_of(server)
    with pytest.raises(PushpathError):
        await client.pull()
    (failed,) = heard
    assert (failed.tries, failed.error.status, server.pulls) == (4, 500, 4)


async def test_what_no_repeat_helps_is_told_at_once() -> None:
    server = Server(401)
    client, heard, _ = client_of(server)
    with pytest.raises(PushpathError):
        await client.pull()
    assert server.pulls == 1
    assert [type(event) for event in heard] == [LoginState, PullFailed]
    assert heard[0].state == "expired"


async def test_a_message_the_app_refused_is_told_and_not_acknowledged() -> None:
    client, heard, _ = client_of(Server(), fail=True)
    with pytest.raises(device_module._NotStored):
        await client.pull()
    assert [event.state for event in heard if isinstance(event, MessageState)] == ["received", "refused"]
    assert client.keepsake.cursor is None


async def test_a_stream_gives_everything_and_drops_the_oldest_of_a_slow_reader() -> None:
    subscriptions = Subscriptions()
    stream = subscriptions.events()
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    for number in range(STREAM_KEEPS + 10):
        subscriptions.tell(LineState(before=str(number - 1), state=str(number)))
    assert isinstance(await first, LineState)
    following = [event for event in [await anext(stream) for _ in range(5)] if isinstance(event, LineState)]
    numbers = [int(event.state) for event in following]
    assert numbers == list(range(numbers[0], numbers[0] + 5))
    assert numbers[0] > 1
    await stream.aclose()  # type: ignore[attr-defined]  # an async generator


def test_a_subscriber_that_raises_loses_nothing_and_an_ended_one_hears_nothing() -> None:
    subscriptions = Subscriptions()
    heard: list[str] = []

    def bad(event: LineState) -> None:
        raise RuntimeError(event.state)

    subscriptions.subscribe(LineState, bad)
    end = subscriptions.subscribe(LineState, lambda event: heard.append(event.state))
    subscriptions.tell(LineState(before="offline", state="online"))
    end()
    end()
    subscriptions.tell(LineState(before="online", state="offline"))
    assert heard == ["online"]
