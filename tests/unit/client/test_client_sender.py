"""The backend's SDK against a scripted API."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from dispatcher.client import PushpathError, Sender
from dispatcher.client.transport import Api


class Script:
    """Answers in order; keeps what was asked. *slept*: the pauses between tries."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


Made = Callable[..., tuple[Sender, Script]]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Made:
    def made(*answers: httpx.Response | Exception) -> tuple[Sender, Script]:
        script = Script(*answers)
        sender = Sender("http://api", "key-1", client=httpx.AsyncClient(transport=httpx.MockTransport(script)))
        monkeypatch.setattr(sender._api, "_sleep", script.sleep)
        monkeypatch.setattr(sender._api, "_dice", lambda: 1.0)
        return sender, script

    return made


ACCEPTED = {"message_id": "m1", "accepted_at": "x", "recipients": 1, "duplicate": False}


async def test_a_message_is_dispatched_with_its_key(scripted: Made) -> None:
    sender, script = scripted(httpx.Response(202, json=ACCEPTED))
    assert await sender.send("li", title="Wang", body="早", klass="call", message_id="m1", ttl="1h") == ACCEPTED
    (request,) = script.asked
    assert (request.method, request.url.path) == ("POST", "/v1/messages")
    assert request.headers["authorization"] == "Bearer key-1"
    assert json.loads(request.content) == {
        "message_id": "m1",
        "to": {"user_ids": ["li"]},
        "notification": {"title": "Wang", "body": "早"},
        "class": "call",
        "ttl": "1h",
    }


async def test_what_may_help_is_tried_again_with_the_same_id_and_growing_pauses(scripted: Made) -> None:
    sender, script = scripted(
        httpx.ConnectError("refused"),
        httpx.Response(503, headers={"Retry-After": "3"}),
        httpx.Response(502),
        httpx.ReadTimeout("slow"),
        httpx.Response(200, json=ACCEPTED),
    )
    await sender.send("li", body="hi")
    assert len({request.content for request in script.asked}) == 1
    assert script.slept == [0.2, 3.0, 0.8, 1.6]


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (401, 1), (409, 1), (422, 1), (429, 5), (503, 5), (500, 1)])
async def test_only_what_may_help_is_tried_again(scripted: Made, status: int, tries: int) -> None:
    problem: dict[str, Any] = {"code": "why", "detail": "so", "errors": [{"field": "to", "message": "is missing"}]}
    sender, script = scripted(*(httpx.Response(status, json=problem) for _ in range(5)))
    with pytest.raises(PushpathError) as raised:
        await sender.send("li", body="hi")
    assert len(script.asked) == tries
    assert (raised.value.status, raised.value.code, raised.value.errors) == (status, "why", problem["errors"])
    assert raised.value.retry is (tries > 1)


async def test_a_batch_beyond_a_thousand_is_cut_and_answered_in_order(scripted: Made) -> None:
    parts = [
        [{"message_id": f"m{number}", "status": 202} for number in part] for part in (range(1_000), range(1_000, 1_001))
    ]
    sender, script = scripted(*(httpx.Response(200, json={"results": part}) for part in parts))
    results = await sender.dispatch_many([{"message_id": f"m{number}"} for number in range(1_001)])
    assert [result["message_id"] for result in results] == [f"m{number}" for number in range(1_001)]
    assert [len(json.loads(request.content)["messages"]) for request in script.asked] == [1_000, 1]


async def test_questions_go_where_the_contract_has_them(scripted: Made) -> None:
    sender, script = scripted(
        httpx.Response(200, json={"state": "open"}),
        httpx.Response(200, json={"events": [{"kind": "accepted"}]}),
        httpx.Response(202),
        httpx.Response(200, json={}),
        httpx.Response(201, json={"token": "t"}),
    )
    assert await sender.state("m/1") == {"state": "open"}
    assert await sender.timeline("m1", "li") == [{"kind": "accepted"}]
    await sender.recall("m1")
    await sender.put_user("li", phone="+8613800000000")
    assert await sender.device_token("li", "p1", ttl="1h") == {"token": "t"}
    assert [(request.method, request.url.raw_path.decode()) for request in script.asked] == [
        ("GET", "/v1/messages/m%2F1"),
        ("GET", "/v1/messages/m1/timeline?user_id=li"),
        ("POST", "/v1/messages/m1/recall"),
        ("PUT", "/v1/users/li"),
        ("POST", "/v1/device-tokens"),
    ]


def test_a_key_never_prints() -> None:
    async def bearer() -> str:
        return "secret"

    assert "secret" not in repr(Api("http://x", bearer, timeout_s=1, attempts=1)) + repr(Sender("http://x", "secret"))
