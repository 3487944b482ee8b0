"""Pages on another origin poll the gateway: refused without a word unless the settings name them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from dispatcher.gateway.origins import Origins

PAGE = "https://app.example.com"
ASKS = {"Origin": PAGE, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}


def permissions(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control")}


@pytest.fixture
async def http(stage: Any) -> AsyncIterator[httpx.AsyncClient]:
    gateway = await stage.gateway(cors_origins=(PAGE + "/",))
    headers = {"Authorization": f"Bearer {await stage.world.bind('li', 'phone-1')}"}
    url = f"http://127.0.0.1:{gateway.port}"
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=10, trust_env=False) as client:
        yield client


async def test_a_listed_page_may_ask_and_poll(stage: Any, http: httpx.AsyncClient) -> None:
    stage.world.append("li", "m1")
    asked = await http.options("/v1/inbox?wait=30s", headers=ASKS)
    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["access-control-allow-origin"] == PAGE
    assert asked.headers["access-control-allow-methods"] == "GET"
    assert asked.headers["access-control-allow-headers"] == "authorization"
    assert "access-control-allow-credentials" not in asked.headers
    for _ in range(3):  # from the second on, the head is known
        polled = await http.get("/v1/inbox?wait=1s", headers={"Origin": PAGE})
        assert polled.json()["messages"][0]["message_id"] == "m1"
        assert permissions(polled) == {
            "access-control-allow-origin": PAGE,
            "access-control-expose-headers": "retry-after",
        }


async def test_a_poll_that_waited_says_it_too(stage: Any, http: httpx.AsyncClient, eventually: Any) -> None:
    cursor = stage.world.cursor("li", stage.world.append("li", "m0").seq)
    query = {"after": cursor, "wait": "60s"}
    waiting = asyncio.create_task(http.get("/v1/inbox", params=query, headers={"Origin": PAGE}))
    await eventually(lambda: stage.gateways[1].gauges()["parked"] == 1)
    stage.move_time(60_500)
    assert (await waiting).headers["access-control-allow-origin"] == PAGE


async def test_a_page_can_read_its_refusals(stage: Any, http: httpx.AsyncClient) -> None:
    asks: list[tuple[str, str, dict[str, str], int]] = [
        ("GET", "/v1/inbox", {"Authorization": "Bearer rubbish"}, 401),
        ("GET", "/v1/inbox?limit=x", {}, 422),
        ("GET", "/nowhere", {}, 404),
        ("POST", "/v1/inbox", {}, 405),
    ]
    for method, path, headers, status in asks:
        answer = await http.request(method, path, headers={"Origin": PAGE, **headers})
        assert (answer.status_code, answer.headers.get("access-control-allow-origin")) == (status, PAGE)


@pytest.mark.parametrize("origin", ["https://evil.example", PAGE + ".evil.example", "null", "http://app.example.com"])
async def test_others_get_no_permission(http: httpx.AsyncClient, origin: str) -> None:
    asked = await http.options("/v1/inbox", headers={**ASKS, "Origin": origin})
    called = await http.get("/v1/inbox", headers={"Origin": origin})
    assert (asked.status_code, called.status_code) == (204, 200)
    assert permissions(asked) == permissions(called) == {}


async def test_pages_that_share_a_connection_are_told_apart(stage: Any, http: httpx.AsyncClient) -> None:
    stage.world.append("li", "m1")
    for origin, permitted in ((PAGE, True), ("https://evil.example", False), (PAGE, True), (None, False)) * 2:
        answer = await http.get("/v1/inbox?wait=1s", headers={} if origin is None else {"Origin": origin})
        assert bool(permissions(answer)) is permitted
    assert stage.gateways[1].counters["connected"] == 1


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/inbox", {"Origin": PAGE}),
        ("/v1/inbox", {"Access-Control-Request-Method": "GET"}),
        ("/v1/connect", ASKS),
        ("/v1/receipts", ASKS),
    ],
    ids=["no question", "no page", "the line", "another route"],
)
async def test_only_a_pages_question_about_polls_is_answered(
    http: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    answer = await http.options(path, headers=headers)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


async def test_off_by_default(stage: Any, http: httpx.AsyncClient) -> None:
    url = f"http://127.0.0.1:{stage.gateways[0].port}/v1/inbox"
    asked = await http.options(url, headers=ASKS)
    called = await http.get(url, headers={"Origin": PAGE})
    assert (asked.status_code, called.status_code) == (405, 200)
    assert permissions(asked) == permissions(called) == {}


async def test_a_question_and_a_poll_sent_at_once_are_both_answered(stage: Any, http: httpx.AsyncClient) -> None:
    stage.world.append("li", "m1")
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateways[1].port)
    asks = "".join(f"{name}: {value}\r\n" for name, value in ASKS.items())
    token = http.headers["authorization"]
    writer.write(f"OPTIONS /v1/inbox HTTP/1.1\r\nHost: x\r\n{asks}\r\n".encode())
    writer.write(f"GET /v1/inbox HTTP/1.1\r\nHost: x\r\nOrigin: {PAGE}\r\nAuthorization: {token}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        heads = [await reader.readuntil(b"\r\n\r\n") for _ in range(2)]
    assert [head[9:12] for head in heads] == [b"204", b"200"]
    writer.close()


def test_a_star_lets_every_page_in_and_no_page_costs_nothing() -> None:
    anyone = Origins(["*"])
    assert b"Access-Control-Allow-Origin: https://any.example\r\n" in anyone.permission(
        {"origin": "https://any.example"}
    )
    assert anyone.permission({"host": "x"}) == b""
