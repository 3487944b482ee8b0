"""Long-polls parked in the gateway, with httpx as the phone."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from dispatcher.gateway.rehearsal import APP
from dispatcher.ports.node_bus import BusFrame
from dispatcher.ports.presence import Line


@pytest.fixture
async def http(stage: Any) -> AsyncIterator[httpx.AsyncClient]:
    token = await stage.world.bind("li", "phone-1")
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{stage.gateways[0].port}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
        trust_env=False,
    ) as client:
        yield client


async def lines(stage: Any) -> list[Line]:
    held = await stage.world.presences.of_users(APP, ["li"], stage.clock())
    return [presence.line for presence in held["li"]]


async def parked(stage: Any, eventually: Any, asking: int = 0) -> None:
    def waits() -> bool:
        return any(arrival.poll is not None and not arrival.poll.asking for arrival in stage.gateways[0].desk.unclaimed)

    await eventually(waits)


async def test_a_poll_without_waiting_answers_at_once(stage: Any, http: httpx.AsyncClient) -> None:
    await stage.world.dispatch("li", "m1")
    page = (await http.get("/v1/inbox")).json()
    assert [entry["message_id"] for entry in page["messages"]] == ["m1"]
    assert page["unread"] == 1
    assert await lines(stage) == []


async def test_a_parked_poll_is_answered_by_the_message_that_comes(
    stage: Any, http: httpx.AsyncClient, eventually: Any
) -> None:
    start = stage.world.append("li", "m0").seq
    query = {"after": stage.world.cursor("li", start), "wait": "30s"}
    waiting = asyncio.create_task(http.get("/v1/inbox", params=query))
    await parked(stage, eventually)
    assert await lines(stage) == [Line.PARKED]
    await stage.world.dispatch("li", "m1")
    reply = await waiting
    assert [entry["message_id"] for entry in reply.json()["messages"]] == ["m1"]
    assert stage.gateways[0].counters["polls_woken"] == 1


async def test_what_comes_between_two_polls_is_in_the_second(stage: Any, http: httpx.AsyncClient) -> None:
    start = stage.world.append("li", "m0").seq
    cursor = stage.world.cursor("li", start)
    stage.world.append("li", "m1")
    first = (await http.get("/v1/inbox", params={"after": cursor, "wait": "30s"})).json()
    await stage.world.dispatch("li", "m2")
    assert stage.world.books.returned == []
    second = (await http.get("/v1/inbox", params={"after": first["next"], "wait": "30s"})).json()
    assert [entry["message_id"] for entry in second["messages"]] == ["m2"]


async def test_a_poll_that_nothing_comes_for_answers_empty_in_time(
    stage: Any, http: httpx.AsyncClient, eventually: Any
) -> None:
    cursor = stage.world.cursor("li", stage.world.append("li", "m0").seq)
    waiting = asyncio.create_task(http.get("/v1/inbox", params={"after": cursor, "wait": "60s"}))
    await parked(stage, eventually)
    stage.move_time(60_500)
    page = (await waiting).json()
    assert (page["messages"], page["next"]) == ([], cursor)
    stage.move_time(11_000)
    await stage.settled()
    assert await lines(stage) == [Line.LOST]


async def test_a_phone_that_hangs_up_while_parked_leaves(stage: Any, http: httpx.AsyncClient, eventually: Any) -> None:
    cursor = stage.world.cursor("li", stage.world.append("li", "m0").seq)
    waiting = asyncio.create_task(http.get("/v1/inbox", params={"after": cursor, "wait": "60s"}))
    await parked(stage, eventually)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await eventually(lambda: stage.gateways[0].gauges()["parked"] == 0)
    await stage.settled()
    assert await lines(stage) == [Line.LOST]
    assert stage.gateways[0].gauges()["connections"] == 0


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same node", "another node"])
async def test_a_newer_poll_of_the_same_device_releases_the_older_one(
    stage: Any, http: httpx.AsyncClient, eventually: Any, elsewhere: bool
) -> None:
    other = await stage.gateway() if elsewhere else stage.gateways[0]
    cursor = stage.world.cursor("li", stage.world.append("li", "m0").seq)
    waiting = asyncio.create_task(http.get("/v1/inbox", params={"after": cursor, "wait": "60s"}))
    await parked(stage, eventually)
    url = f"http://127.0.0.1:{other.port}/v1/inbox"
    async with httpx.AsyncClient(trust_env=False, timeout=10, headers=http.headers) as second:
        newer = asyncio.create_task(second.get(url, params={"after": cursor, "wait": "60s"}))
        assert (await waiting).json()["messages"] == []
        await stage.world.dispatch("li", "m1")
        assert [entry["message_id"] for entry in (await newer).json()["messages"]] == ["m1"]


async def test_a_line_ends_a_parked_poll_of_the_same_device(
    stage: Any, http: httpx.AsyncClient, eventually: Any
) -> None:
    cursor = stage.world.cursor("li", stage.world.append("li", "m0").seq)
    waiting = asyncio.create_task(http.get("/v1/inbox", params={"after": cursor, "wait": "60s"}))
    await parked(stage, eventually)
    phone = await stage.phone(token=stage.world.token("li", "phone-1"), cursor=cursor)
    await phone.hear_until("caught_up")
    assert (await waiting).json()["messages"] == []
    assert await lines(stage) == [Line.ONLINE]


async def test_a_device_that_moves_while_parked_gets_401(stage: Any, http: httpx.AsyncClient, eventually: Any) -> None:
    cursor = stage.world.cursor("li", stage.world.append("li", "m0").seq)
    waiting = asyncio.create_task(http.get("/v1/inbox", params={"after": cursor, "wait": "60s"}))
    await parked(stage, eventually)
    await stage.world.bind("wang", "phone-1")
    await stage.world.unbind("li", "phone-1")
    frame = BusFrame(kind="moved", app=APP, user_id="li", device_id="phone-1", epoch=2)
    await stage.world.bus.send({stage.gateways[0].desk.node: [frame]})
    assert (await waiting).status_code == 401
    assert (await http.get("/v1/inbox")).status_code == 401


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=many", "limit"),
        ("wait=61s", "wait"),
        ("wait=soon", "wait"),
        ("window=ever", "window"),
        ("colour=red", "colour"),
        ("limit=1&limit=2", "limit"),
        ("before=a&after=b", "before"),
        ("after=" + "0" * 32, "after"),
        ("after=%ff", "query"),
    ],
)
async def test_a_bad_question_names_its_field(http: httpx.AsyncClient, query: str, field: str) -> None:
    reply = await http.get(f"/v1/inbox?{query}")
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in reply.json()["errors"]] == [field]


@pytest.mark.parametrize("credential", ["", "Bearer rubbish", "Basic dTpw"])
async def test_without_a_device_token_there_is_no_inbox(http: httpx.AsyncClient, credential: str) -> None:
    reply = await http.get("/v1/inbox", headers={"Authorization": credential})
    assert (reply.status_code, reply.json()["code"]) == (401, "token_invalid")


async def test_a_store_that_does_not_answer_is_503_with_a_time(
    stage: Any, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_args: Any) -> None:
        raise ConnectionError("no store")

    monkeypatch.setattr(stage.world.pull, "pull", broken)
    reply = await http.get("/v1/inbox")
    assert reply.status_code == 503
    assert 1 <= int(reply.headers["retry-after"]) <= 15


async def test_draining_answers_parked_polls_and_closes(stage: Any, http: httpx.AsyncClient, eventually: Any) -> None:
    cursor = stage.world.cursor("li", stage.world.append("li", "m0").seq)
    waiting = asyncio.create_task(http.get("/v1/inbox", params={"after": cursor, "wait": "60s"}))
    await parked(stage, eventually)
    await stage.gateways[0].stop(2)
    reply = await waiting
    assert (reply.status_code, reply.json()["messages"]) == (200, [])
    assert reply.headers["connection"] == "close"


async def test_requests_sent_one_behind_the_other_are_answered_in_order(stage: Any, http: httpx.AsyncClient) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateways[0].port)
    head = f"Host: x\r\nAuthorization: {http.headers['authorization']}\r\n\r\n"
    for path in ("/healthz", "/v1/inbox?limit=1", "/healthz", "/v1/inbox?limit=2"):
        writer.write(f"GET {path} HTTP/1.1\r\n{head}".encode())
    bodies = []
    async with asyncio.timeout(5):
        for _ in range(4):
            answer = await reader.readuntil(b"\r\n\r\n")
            size = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            bodies.append(json.loads(await reader.readexactly(size)))
    assert ["status" in body for body in bodies] == [True, False, True, False]
    writer.close()


async def test_many_polls_on_one_connection_ask_what_each_of_them_says(stage: Any, http: httpx.AsyncClient) -> None:
    for number in range(4):
        stage.world.append("li", f"m{number}")
    url = f"http://127.0.0.1:{stage.gateways[0].port}/v1/inbox"
    await http.get(url + "?wait=1s")
    sizes = [len((await http.get(f"{url}?limit={limit}&wait=1s")).json()["messages"]) for limit in (1, 3, 2)]
    assert sizes == [1, 3, 2]
    assert (await http.get(url + "?limit=x")).status_code == 422
    assert (await http.get(url, headers={"Authorization": "Bearer other"})).status_code == 401


async def test_a_token_that_ends_between_two_polls_is_refused(stage: Any, http: httpx.AsyncClient) -> None:
    url = f"http://127.0.0.1:{stage.gateways[0].port}/v1/inbox?wait=1s"
    stage.world.append("li", "m1")
    assert (await http.get(url)).status_code == 200
    stage.clock.ahead += 3_700_000
    assert (await http.get(url)).json()["code"] == "token_expired"
