"""Three gateway nodes behind a balancer under load: one after the other restarted, one killed; nobody notices.

The checker compares what was dispatched with what each screen showed: all of it, each once, in order.
SOAK_ROUNDS and SOAK_PHONES make it longer and larger by hand (no PUSHPATH_ before them: those are settings).
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from dispatcher.client.device import DeviceClient
from tests.faults.conftest import STRATEGY

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "1"))
PHONES = int(os.environ.get("SOAK_PHONES", "24"))
_MAIN = "from dispatcher.cli import main; main()"


class GatewayNode:
    """One `pushpath gateway` on the installation's stores."""

    def __init__(self, up: Any, number: int) -> None:
        self.log = Path(up.data.parent / f"gateway-{number}.txt")
        self.config = str(up.data / "pushpath.toml")
        self.port = _free_port()
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, "gateway"],
                stdout=log,
                stderr=log,
                env={**os.environ, "PUSHPATH_CONFIG": self.config, "PUSHPATH_GATEWAY_PORT": str(self.port)},
            )

    @property
    def serves(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return bool(httpx.get(f"http://127.0.0.1:{self.port}/healthz", trust_env=False).json()["status"] == "ok")
        return False

    async def end(self, number: int) -> int:
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, 20)


class Balancer:
    """Hands each new connection to any node that takes it."""

    def __init__(self, nodes: list[GatewayNode]) -> None:
        self.nodes = nodes
        self.server: asyncio.Server | None = None
        self.pipes: set[asyncio.Task[None]] = set()

    async def listen(self) -> str:
        self.server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1/connect"

    async def close(self) -> None:
        assert self.server is not None
        self.server.close()
        for pipe in list(self.pipes):
            pipe.cancel()
        await asyncio.gather(*self.pipes, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.pipes.add(task)
        ends = [writer]
        try:
            for node in random.sample(self.nodes, len(self.nodes)):
                with contextlib.suppress(OSError):
                    theirs, ours = await asyncio.open_connection("127.0.0.1", node.port)
                    ends.append(ours)
                    await asyncio.gather(_pour(reader, ours), _pour(theirs, writer))
                    break
        except asyncio.CancelledError:
            pass
        finally:
            self.pipes.discard(task)
            for end in ends:
                end.transport.abort()


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    sink.close()


class Screen:
    """One person's phone: what it showed, in order."""

    def __init__(self, up: Any, user: str, gateway_url: str) -> None:
        self.user = user
        self.shown: list[str] = []
        self.client = DeviceClient(
            up.document["api_url"],
            gateway_url,
            user_id=user,
            device_id=f"{user}-d",
            token=lambda: self._token(up),
            on_message=self._show,
        )
        self.running: asyncio.Task[None] | None = None

    async def _token(self, up: Any) -> str:
        wish = {"user_id": self.user, "device_id": f"{self.user}-d"}
        return str((await up.call("POST", "/v1/device-tokens", json=wish)).json()["token"])

    async def _show(self, message: Any) -> None:
        self.shown.append(message.message_id)


@pytest.fixture
async def nodes(up: Any) -> AsyncIterator[list[GatewayNode]]:
    started = [GatewayNode(up, number) for number in range(3)]
    try:
        await up.until(lambda: all(node.serves for node in started), 90)
        yield started
    finally:
        for node in started:
            node.process.kill()
            node.process.wait(10)


@pytest.fixture
async def screens() -> AsyncIterator[list[Screen]]:
    """Phones for a test to fill in; they hang up however it ends."""
    made: list[Screen] = []
    yield made
    for screen in made:
        await screen.client.__aexit__(None, None, None)
        if screen.running is not None:
            await asyncio.wait([screen.running], timeout=5)


@pytest.mark.timeout(240 + 120 * ROUNDS)
async def test_rolling_restarts_and_a_killed_node_lose_and_double_nothing_and_cost_no_sms(
    up: Any, nodes: list[GatewayNode], screens: list[Screen]
) -> None:
    name = f"s{uuid4().hex[:8]}"
    users = [f"{name}-u{number}" for number in range(PHONES)]
    # A killed node takes lines along unseen until its lease lapses: on a busy machine phones need seconds to be back.
    up.publish(STRATEGY.replace("longconn, wait: 3s", "longconn, wait: 12s"))
    balancer = Balancer(nodes)
    url = await balancer.listen()
    for user in users:
        await up.person(user)
        screen = Screen(up, user, url)
        screens.append(screen)
        await screen.client.register("android")
        screen.running = asyncio.create_task(screen.client.run())
    await up.until(lambda: all(screen.client.state == "online" for screen in screens), 30)

    sent: list[str] = []
    over = asyncio.Event()

    async def talk() -> None:
        while not over.is_set():
            sent.append(f"{name}-m{len(sent)}")
            await up.dispatch(sent[-1], *users, **{"class": "chat"})
            await asyncio.sleep(0.1)

    talking = asyncio.create_task(talk())
    for _ in range(ROUNDS):
        for node in nodes:  # the rolling restart
            await asyncio.sleep(2)
            assert await node.end(signal.SIGTERM) == 0
            node.start()
            await up.until(lambda node=node: node.serves, 60)
        await asyncio.sleep(2)
        victim = random.choice(nodes)
        await victim.end(signal.SIGKILL)
        await asyncio.sleep(2)
        victim.start()
        await up.until(lambda victim=victim: victim.serves, 60)
    await asyncio.sleep(2)
    over.set()
    await talking

    await up.until(lambda: all(len(screen.shown) >= len(sent) for screen in screens), 40)
    for screen in screens:
        assert screen.shown == sent, screen.user  # all of it, each once, in order
    await up.until(lambda: up.settled(*sent), 30)
    assert set(up.states(*sent).values()) == {"confirmed"}
    assert not [text for text in up.texts() if name in text]
    assert up.balanced()
    await balancer.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
