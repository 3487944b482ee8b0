"""The API over a real socket and real stores: the poll path whole, idempotency, drain, and hostile clients."""

import asyncio
import os
import signal
import time
from typing import Any

import httpx

from dispatcher.domain.requests import InboxQuery

DEVICE = {"user_id": "li", "platform": "android", "tokens": []}


def message(name: str, **changes: Any) -> dict[str, Any]:
    return {"message_id": name, "to": {"user_ids": ["li"]}, "notification": {"title": "Wang", "body": name}, **changes}


async def phone_of(backend: httpx.AsyncClient, user_id: str = "li", device_id: str = "d-1") -> dict[str, str]:
    minted = await backend.post("/v1/device-tokens", json={"user_id": user_id, "device_id": device_id})
    assert minted.status_code == 201, minted.text
    return {"Authorization": f"Bearer {minted.json()['token']}"}


async def test_a_message_is_accepted_pulled_proven_and_looked_up(backend: httpx.AsyncClient) -> None:
    assert (await backend.put("/v1/users/li", json={"phone": "+8613800138012"})).status_code == 201
    phone = await phone_of(backend)
    registered = await backend.put("/v1/devices/d-1", json=DEVICE, headers=phone)
    assert registered.status_code in {200, 201}, registered.text
    assert (await backend.post("/v1/messages", json=message("m-1", data={"k": 1}))).status_code == 202

    page = (await backend.get("/v1/inbox?limit=1", headers=phone)).json()
    (entry,) = page["messages"]
    assert (entry["message_id"], entry["notification"]["title"], entry["data"]) == ("m-1", "Wang", {"k": 1})
    receipt = {"delivery_id": entry["delivery_id"], "event": "displayed"}
    proven = await backend.post("/v1/receipts", json={"receipts": [receipt]}, headers=phone)
    assert proven.json() == {"accepted": 1, "unknown": 0, "duplicate": 0}
    again = await backend.post("/v1/receipts", json={"receipts": [receipt]}, headers=phone)
    assert again.json()["duplicate"] == 1

    state = (await backend.get("/v1/messages/m-1")).json()
    assert (state["message_id"], state["class"], state["deliveries"][0]["proof"]) == ("m-1", "chat", "displayed")
    timeline = (await backend.get("/v1/messages/m-1/timeline")).json()
    assert timeline["events"][0]["kind"] == "accepted"


async def test_fifty_identical_requests_at_once_are_one_message(backend: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(backend.post("/v1/messages", json=message("same")) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [202]
    assert len({answer.json()["accepted_at"] for answer in answers}) == 1
    phone = await phone_of(backend)
    assert len((await backend.get("/v1/inbox", headers=phone)).json()["messages"]) == 1


async def test_another_app_sees_nothing_of_it(backend: httpx.AsyncClient, serving: Any) -> None:
    await backend.post("/v1/messages", json=message("m-1"))
    await phone_of(backend)
    stranger = {"Authorization": f"Bearer {serving.stranger}"}
    assert (await backend.get("/v1/messages/m-1", headers=stranger)).status_code == 404
    assert (await backend.get("/v1/users/li", headers=stranger)).status_code == 404
    assert (await backend.get("/v1/inbox?user_id=li", headers=stranger)).json()["messages"] == []
    assert (await backend.post("/v1/messages/m-1/recall", headers=stranger)).status_code == 404


async def test_a_moved_device_loses_its_old_users_inbox(backend: httpx.AsyncClient) -> None:
    await backend.post("/v1/messages", json=message("m-1"))
    old = await phone_of(backend, "li")
    assert (await backend.put("/v1/devices/d-1", json=DEVICE, headers=old)).status_code in {200, 201}
    new = await phone_of(backend, "wu")
    assert (await backend.get("/v1/inbox", headers=old)).status_code == 401
    assert (await backend.get("/v1/inbox", headers=new)).json()["messages"] == []


async def test_the_shipped_strategy_can_be_read_drafted_and_published(backend: httpx.AsyncClient) -> None:
    shown = await backend.get("/v1/strategies/default", headers={"Accept": "application/yaml"})
    assert shown.status_code == 200
    check = await backend.post("/v1/strategies/validate", content=shown.text)
    assert check.json() == {"valid": True, "errors": []}
    stored = await backend.put(
        "/v1/strategies/default/draft",
        content=shown.text + "# changed\n",
        headers={"Content-Type": "application/yaml", "If-Match": shown.headers["etag"]},
    )
    assert stored.status_code == 200, stored.text
    assert (await backend.post("/v1/strategies/default/publish", json={})).json()["version"] == 2
    actions = [entry["action"] for entry in (await backend.get("/v1/audit")).json()["entries"]]
    assert actions[:2] == ["strategy.publish", "strategy.draft"]


async def test_books_metrics_and_readiness_answer(backend: httpx.AsyncClient) -> None:
    await backend.post("/v1/messages", json=message("m-1"))
    assert (await backend.get("/readyz")).status_code == 200
    assert (await backend.get("/v1/books")).status_code == 200
    assert 'pushpath_accepted_total{class="chat"} 1.0' in (await backend.get("/metrics")).text


async def test_sigterm_answers_parked_polls_and_ends_within_five_seconds(
    backend: httpx.AsyncClient, serving: Any
) -> None:
    phone = await phone_of(backend)
    arrived = asyncio.Semaphore(0)
    pull = serving.core.pull

    async def told(*question: Any) -> bytes:
        arrived.release()
        page: bytes = await pull(*question)
        return page

    serving.core.pull = told
    parked = [asyncio.create_task(backend.get("/v1/inbox?wait=5s", headers=phone)) for _ in range(20)]
    for _ in parked:
        await asyncio.wait_for(arrived.acquire(), 10)
    began = time.monotonic()
    os.kill(os.getpid(), signal.SIGTERM)
    answers = await asyncio.gather(*parked)
    await asyncio.wait_for(serving.task, 5)
    assert {answer.status_code for answer in answers} == {200}
    assert time.monotonic() - began < 5


async def test_a_client_that_leaves_its_long_poll_leaves_nothing_behind(
    backend: httpx.AsyncClient, serving: Any
) -> None:
    phone = await phone_of(backend)
    parked, ended = asyncio.Event(), asyncio.Event()
    pull = serving.core.pull

    async def watched(app: str, user_id: str, device_id: str | None, query: InboxQuery, wait_ms: int = 0) -> bytes:
        parked.set()
        try:
            page: bytes = await pull(app, user_id, device_id, query, wait_ms)
            return page
        finally:
            ended.set()

    serving.core.pull = watched
    host, _, port = serving.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"GET /v1/inbox?wait=5s HTTP/1.1\r\nHost: x\r\nAuthorization: {phone['Authorization']}\r\n\r\n".encode()
    )
    await asyncio.wait_for(parked.wait(), 3)
    began = time.monotonic()
    writer.close()
    await asyncio.wait_for(ended.wait(), 3)
    assert time.monotonic() - began < 2
    del reader


async def test_a_wait_ends_when_something_arrives(backend: httpx.AsyncClient) -> None:
    phone = await phone_of(backend)
    parked = asyncio.create_task(backend.get("/v1/inbox?wait=5s", headers=phone))
    await backend.post("/v1/messages", json=message("m-1"))
    began = time.monotonic()
    page = (await parked).json()
    assert [entry["message_id"] for entry in page["messages"]] == ["m-1"]
    assert time.monotonic() - began < 2


async def test_raw_nonsense_on_the_socket_gets_a_4xx_and_the_next_request_is_served(
    backend: httpx.AsyncClient, serving: Any
) -> None:
    host, _, port = serving.url.removeprefix("http://").partition(":")

    async def say(raw: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(raw)
        answer = await asyncio.wait_for(reader.read(4_096), 5)
        writer.close()
        return answer

    key = f"Authorization: Bearer {serving.key}\r\n".encode()
    head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n" + key
    for raw in (
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        head + b"Content-Length: 2000000\r\n\r\n",
        head + b"Content-Length: nonsense\r\n\r\n",
        head + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n0\r\n\r\n',
        head + b"Content-Length: 3\r\n\r\n\xff\xfe\xfd",
    ):
        answer = await say(raw)
        assert answer.startswith(b"HTTP/1.1 4"), (raw, answer)
    assert (await backend.get("/healthz")).status_code == 200
