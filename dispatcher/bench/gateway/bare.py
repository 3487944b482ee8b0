"""What a connection costs before anything of ours: an event loop whose protocol answers with fixed bytes."""

import asyncio
import time
from multiprocessing.connection import Connection
from typing import Any, cast

from dispatcher.bench.gateway.children import ask, heard, obey, run_child
from dispatcher.bench.gateway.ends import Phone, Tally, knock
from dispatcher.gateway.settings import GatewaySettings
from dispatcher.protocol.wire import TEXT, encode_frame

STORM = 2_000  #: phones that knock at once

_UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: pushpath.v1.json\r\n\r\n"
)
_GREETING = encode_frame(TEXT, b'{"t":"welcome","session":"bare.1","heartbeat_s":240}') + encode_frame(
    TEXT, b'{"t":"caught_up","cursor":"0000000100060a24181e4000b1f3a2c4","more":false}'
)


class _Bare(asyncio.Protocol):
    """Upgrades whatever comes first, greets whatever comes then."""

    __slots__ = ("transport", "upgraded")

    def __init__(self) -> None:
        self.upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(_GREETING if self.upgraded else _UPGRADED)
        self.upgraded = True


async def storm(pipe: Connection, port: int, tokens: list[str], tally: Tally) -> list[Phone]:
    """Phones that all knock while the child stands still, then come online together, so many at once."""
    phones: list[Phone] = []
    already = tally.online
    for start in range(0, len(tokens), STORM):
        await ask(pipe, "hold")
        phones += await knock(tally, port, tokens[start : start + STORM])
        pipe.send(("go", None))
        await heard(pipe)
        await tally.all_online(already + len(phones), 60)
    return phones


def stand_still(pipe: Connection) -> str:
    """In the child: the loop stands still until the storm is outside the door."""
    pipe.send("held")
    pipe.recv()
    return "released"


def serve_bare(pipe: Connection) -> None:
    """The main of a child that holds such connections; as many listeners as a gateway has."""

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        backlog = GatewaySettings().backlog
        door = await loop.create_server(_Bare, "127.0.0.1", 0, backlog=backlog)
        twins = [door.sockets[0].dup() for _ in range(1, GatewaySettings().doors)]
        doors = [door, *[await loop.create_server(_Bare, sock=twin, backlog=backlog) for twin in twins]]
        pipe.send(door.sockets[0].getsockname()[1])

        async def told(word: str, _: Any) -> Any:
            return stand_still(pipe) if word == "hold" else {"cpu": time.process_time()}

        await obey(pipe, told)
        for each in doors:
            each.close()

    run_child(serve())


async def accept_cpu(pipe: Connection, tokens: list[str]) -> float:
    """CPU seconds a connection of a :func:`serve_bare` child, in the same storm as ours."""
    port: int = await heard(pipe)
    before = (await ask(pipe, "usage"))["cpu"]
    phones = await storm(pipe, port, tokens, Tally())
    spent: float = (await ask(pipe, "usage"))["cpu"] - before
    for phone in phones:
        phone.transport.abort()
    await asyncio.sleep(0)
    return spent / len(tokens)
