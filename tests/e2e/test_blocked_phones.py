"""`PUT /v1/blocks` through real processes: phones on the line are cut, new ones refused, others left alone."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.running import RunningUp

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(120)]
#: A list is read again every second, in a tick of a quarter; the rest is for a busy machine.
REACHES_WITHIN_S = 4.0


class Town:
    """People with a phone each."""

    def __init__(self, up: RunningUp, backend: httpx.AsyncClient) -> None:
        self.gateway_url = up.document["gateway_url"]
        self.inbox_url = httpx.URL(self.gateway_url).copy_with(scheme="http", path="/v1/inbox")
        self.backend = backend
        self.exits = contextlib.AsyncExitStack()

    async def token(self, user: str) -> str:
        device = {"user_id": user, "device_id": f"{user}-phone"}
        minted = (await self.backend.post("/v1/device-tokens", json=device)).raise_for_status().json()
        described = {"user_id": user, "platform": "web", "tokens": []}
        (await self.backend.put(f"/v1/devices/{user}-phone", json=described)).raise_for_status()
        return str(minted["token"])

    async def hello(self, token: str, address: str = "127.0.0.1") -> ClientConnection:
        opened = connect(self.gateway_url, proxy=None, local_addr=(address, 0))
        line = await self.exits.enter_async_context(opened)
        await line.send(json.dumps({"t": "hello", "token": token}))
        return line

    async def block(self, kind: str, value: str) -> None:
        body = {"kind": kind, "value": value, "reason": "tried out"}
        assert (await self.backend.put("/v1/blocks", json=body)).status_code in {200, 201}

    async def lift(self, kind: str, value: str) -> None:
        assert (await self.backend.delete("/v1/blocks", params={"kind": kind, "value": value})).status_code == 204

    async def dispatch(self, user: str, message_id: str) -> None:
        body = {"message_id": message_id, "to": {"user_ids": [user]}, "notification": {"body": message_id}}
        (await self.backend.post("/v1/messages", json=body)).raise_for_status()

    async def let_in(self, token: str, address: str = "127.0.0.1") -> list[Any]:
        """What a phone hears up to ``caught_up``, once it is let in again."""
        async with asyncio.timeout(REACHES_WITHIN_S):
            while True:
                frames = await heard(await self.hello(token, address), "caught_up", "bye")
                if frames[-1]["t"] == "caught_up":
                    return frames


async def heard(line: ClientConnection, *kinds: str) -> list[Any]:
    """Frames up to the first of *kinds*, or to the line's end."""
    frames: list[Any] = []
    async with asyncio.timeout(REACHES_WITHIN_S):
        with contextlib.suppress(ConnectionClosed):
            while not frames or frames[-1]["t"] not in kinds:
                frames.append(json.loads(await line.recv()))
    return frames


async def cut(line: ClientConnection) -> tuple[int | None, Any]:
    """Why the line was cut: its close code, and the last frame before."""
    frames = await heard(line)
    return line.close_code, frames[-1]


@pytest.fixture
async def town(up: RunningUp) -> AsyncIterator[Town]:
    headers = {"Authorization": f"Bearer {up.document['api_key']}"}
    url = up.document["api_url"]
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30) as backend:
        made = Town(up, backend)
        async with made.exits:
            yield made


async def test_a_blocked_user_is_cut_and_refused_until_the_block_is_lifted(town: Town) -> None:
    name = uuid4().hex[:8]
    mallory, li = f"mallory-{name}", f"li-{name}"
    token = await town.token(mallory)
    line, bystander = await town.hello(token), await town.hello(await town.token(li))
    for each in (line, bystander):
        assert (await heard(each, "caught_up"))[-1]["t"] == "caught_up"

    began = time.monotonic()
    await town.block("user", mallory)
    code, last = await cut(line)
    assert (code, last["t"], last["code"]) == (1008, "bye", "blocked")
    assert last["retry_after_s"] >= 60
    assert time.monotonic() - began < REACHES_WITHIN_S

    code, last = await cut(await town.hello(token))  # and is not let in again
    assert (code, last["code"]) == (1008, "blocked")
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, trust_env=False) as phone:
        polled = await phone.get(town.inbox_url.copy_with(params={"wait": "30s"}))
        assert (polled.status_code, polled.json()["code"]) == (403, "blocked")
    await town.dispatch(mallory, f"{name}-kept")
    await town.dispatch(li, f"{name}-other")
    assert (await heard(bystander, "msg"))[-1]["message_id"] == f"{name}-other"

    await town.lift("user", mallory)
    frames = await town.let_in(token)
    assert [frame["message_id"] for frame in frames if frame["t"] == "msg"] == [f"{name}-kept"]


async def test_a_parked_poll_of_a_blocked_user_is_answered(town: Town) -> None:
    user = f"parked-{uuid4().hex[:8]}"
    token = await town.token(user)
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=40) as phone:
        parked = asyncio.create_task(phone.get(town.inbox_url.copy_with(params={"wait": "30s"})))
        await asyncio.wait({parked}, timeout=0.5)
        assert not parked.done()
        await town.block("user", user)
        answer = await asyncio.wait_for(parked, REACHES_WITHIN_S)
    await town.lift("user", user)
    assert (answer.status_code, answer.json()["code"]) == (403, "blocked")


async def test_a_blocked_network_is_cut_and_the_same_user_elsewhere_is_not(town: Town) -> None:
    name = uuid4().hex[:8]
    tokens = [await town.token(f"near-{name}"), await town.token(f"far-{name}")]
    near, far = await town.hello(tokens[0]), await town.hello(tokens[1], "127.9.8.7")
    for line in (near, far):
        assert (await heard(line, "caught_up"))[-1]["t"] == "caught_up"
    await town.block("address", "127.9.8.0/24")
    code, last = await cut(far)
    assert (code, last["code"]) == (1008, "blocked")
    code, last = await cut(await town.hello(tokens[0], "127.9.8.9"))
    assert (code, last["code"]) == (1008, "blocked")
    assert (await heard(await town.hello(tokens[1]), "caught_up"))[-1]["t"] == "caught_up"
    await town.dispatch(f"far-{name}", f"{name}-m")
    await town.lift("address", "127.9.8.0/24")
    await town.let_in(tokens[1], "127.9.8.7")
