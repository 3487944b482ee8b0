"""A gateway on memory ports over a real socket, and phones that speak to it through independent clients."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from dispatcher.domain.clock import Millis, system_clock
from dispatcher.gateway.rehearsal import APP, Rehearsal
from dispatcher.gateway.server import Gateway
from dispatcher.gateway.settings import GatewaySettings
from dispatcher.ports.presence import Presence


class MovableClock:
    """The machine's clock, moved ahead at will."""

    def __init__(self) -> None:
        self.ahead: Millis = 0

    def __call__(self) -> Millis:
        return system_clock() + self.ahead


@dataclass
class Stage:
    """One world with its gateways."""

    world: Rehearsal
    clock: MovableClock
    gateways: list[Gateway] = field(default_factory=list)
    exits: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def gateway(self, **settings: Any) -> Gateway:
        gateway = self.world.gateway(GatewaySettings(port=0, **settings))
        await gateway.start()
        self.gateways.append(gateway)
        return gateway

    async def socket(self, gateway: Gateway | None = None, *, codec: str = "pushpath.v1.json") -> ClientConnection:
        url = f"ws://127.0.0.1:{(gateway or self.gateways[0]).port}/v1/connect"
        opened = connect(url, subprotocols=[Subprotocol(codec)], compression=None, ping_interval=None, proxy=None)
        return await self.exits.enter_async_context(opened)

    async def phone(
        self, user_id: str = "li", device_id: str = "phone-1", *, gateway: Gateway | None = None, **hello: Any
    ) -> "Phone":
        """A phone that said hello; its token is minted for a new binding unless one is given."""
        socket = await self.socket(gateway)
        token = hello.pop("token", None) or await self.world.bind(user_id, device_id)
        phone = Phone(socket)
        await phone.say(t="hello", token=token, **hello)
        return phone

    async def presence(self, user_id: str = "li") -> Presence:
        """Where the user's one device is."""
        (presence,) = (await self.world.presences.of_users(APP, [user_id], self.clock()))[user_id]
        return presence

    def move_time(self, by: Millis) -> None:
        """Time passes; every deadline is asked."""
        self.clock.ahead += by
        for gateway in self.gateways:
            gateway.tick()
            gateway.ask_all_lines(gateway.desk.now)

    async def settled(self) -> None:
        """Acks are applied and questions to the stores answered."""
        for gateway in self.gateways:
            await gateway.desk.acks.flush()
            assert await gateway.desk.chores.done(5)


@dataclass
class Phone:
    """A JSON device."""

    socket: ClientConnection

    async def say(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def hear(self, within_s: float = 5) -> dict[str, Any]:
        async with asyncio.timeout(within_s):
            frame: dict[str, Any] = json.loads(await self.socket.recv())
        return frame

    async def hear_until(self, kind: str) -> list[dict[str, Any]]:
        """Frames up to the first of *kind*, which is the last one."""
        frames = []
        while True:
            frames.append(await self.hear())
            if frames[-1]["t"] == kind:
                return frames

    async def closed(self) -> tuple[int, list[dict[str, Any]]]:
        """The close code, and what was said before it."""
        frames = []
        async with asyncio.timeout(5):
            with suppress(ConnectionClosed):
                while True:
                    frames.append(json.loads(await self.socket.recv()))
        assert self.socket.close_code is not None
        return self.socket.close_code, frames


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    clock = MovableClock()
    made = Stage(Rehearsal(clock), clock)
    await made.gateway()
    yield made
    await made.exits.aclose()
    for gateway in made.gateways:
        await gateway.stop(0.5)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits for what another process's or task's work makes true."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    return wait
