"""Bad input and every way a line can end, as two WebSocket libraries that know nothing of each other see it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Protocol

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

from dispatcher.gateway.rehearsal import APP
from dispatcher.ports.node_bus import BusFrame
from dispatcher.protocol.wire import BINARY, CLOSE, CONTINUATION, PING, TEXT, encode_frame

MASK = b"\x01\x02\x03\x04"
NAME = "pushpath.v1.json"


class Client(Protocol):
    """One library's connection. ``raw`` puts bytes on the wire behind its back."""

    async def say(self, text: str) -> None: ...
    async def raw(self, data: bytes) -> None: ...
    async def close(self, code: int) -> None: ...
    async def hear(self) -> dict[str, Any] | int:
        """The next frame, or the close code that the server sent."""


class ByWebsockets:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    @classmethod
    async def open(cls, port: int) -> "ByWebsockets":
        return cls(
            await connect(
                f"ws://127.0.0.1:{port}/v1/connect",
                subprotocols=[Subprotocol(NAME)],
                compression=None,
                ping_interval=None,
                proxy=None,
            )
        )

    async def say(self, text: str) -> None:
        await self.socket.send(text)

    async def raw(self, data: bytes) -> None:
        self.socket.transport.write(data)

    async def close(self, code: int) -> None:
        await self.socket.close(code)

    async def hear(self) -> dict[str, Any] | int:
        try:
            frame: dict[str, Any] = json.loads(await self.socket.recv())
            return frame
        except ConnectionClosed as closed:
            return int(closed.rcvd.code) if closed.rcvd is not None else 0  # 0: the server sent no close frame

    async def gone(self) -> None:
        self.socket.transport.abort()
        await self.socket.wait_closed()


class ByWsproto:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self.events: list[Any] = []

    @classmethod
    async def open(cls, port: int) -> "ByWsproto":
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        client.writer.write(client.protocol.send(Request(host="x", target="/v1/connect", subprotocols=[NAME])))
        accepted = await client._event()
        assert isinstance(accepted, AcceptConnection)
        assert accepted.subprotocol == NAME
        return client

    async def say(self, text: str) -> None:
        self.writer.write(self.protocol.send(TextMessage(data=text)))

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)

    async def close(self, code: int) -> None:
        self.writer.write(self.protocol.send(CloseConnection(code=code)))

    async def hear(self) -> dict[str, Any] | int:
        text = ""
        while True:
            event = await self._event()
            if isinstance(event, CloseConnection):
                return int(event.code)
            if isinstance(event, TextMessage):
                text += event.data
                if event.message_finished:
                    frame: dict[str, Any] = json.loads(text)
                    return frame

    async def _event(self) -> Any:
        while not self.events:
            data = await self.reader.read(65_536)
            assert data, "the server sent no close frame"
            self.protocol.receive_data(data)
            self.events += list(self.protocol.events())
        return self.events.pop(0)

    async def gone(self) -> None:
        self.writer.transport.abort()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@pytest.fixture(params=[ByWebsockets, ByWsproto], ids=["websockets", "wsproto"])
async def client(request: pytest.FixtureRequest, stage: Any) -> AsyncIterator[Any]:
    async with asyncio.timeout(20):
        opened = await request.param.open(stage.gateways[0].port)
        yield opened
        await opened.gone()


async def ends(client: Client) -> tuple[list[dict[str, Any]], int]:
    """What is said until the end, and the close code."""
    frames: list[dict[str, Any]] = []
    while True:
        heard = await client.hear()
        if isinstance(heard, int):
            return frames, heard
        frames.append(heard)


async def online(client: Client, token: str, **hello: Any) -> None:
    await client.say(json.dumps({"t": "hello", "token": token, **hello}))
    while (await client.hear())["t"] != "caught_up":  # type: ignore[index]
        pass


def masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    return encode_frame(opcode, payload, MASK, fin=fin)


PING_FRAME = b'{"t":"ping"}'
BROKEN = [
    pytest.param(encode_frame(TEXT, PING_FRAME), 1002, id="unmasked"),
    pytest.param(b"\xc1\x80" + MASK, 1002, id="first reserved bit: compression nobody agreed to"),
    pytest.param(b"\xa1\x80" + MASK, 1002, id="second reserved bit"),
    pytest.param(b"\x91\x80" + MASK, 1002, id="third reserved bit"),
    pytest.param(b"\x83\x80" + MASK, 1002, id="unknown data opcode"),
    pytest.param(b"\x8b\x80" + MASK, 1002, id="unknown control opcode"),
    pytest.param(masked(CONTINUATION, b"a"), 1002, id="continuation of nothing"),
    pytest.param(masked(TEXT, b"{", fin=False) + masked(TEXT, b"}"), 1002, id="a message inside another"),
    pytest.param(masked(PING, b"", fin=False), 1002, id="a fragmented ping"),
    pytest.param(b"\x89\xfe\x00\x7e" + MASK + bytes(126), 1002, id="a long ping"),
    pytest.param(b"\x81\xfe\x00\x05" + MASK + bytes(5), 1002, id="a length not in its shortest form"),
    pytest.param(b"\x81\xff" + (1 << 63).to_bytes(8, "big") + MASK, 1002, id="a length with its top bit set"),
    pytest.param(masked(CLOSE, b"\x03"), 1002, id="half a close code"),
    pytest.param(masked(CLOSE, b"\x03\xed"), 1002, id="a close code that may not be sent"),
    pytest.param(masked(CLOSE, b"\x03\xe8\xff"), 1007, id="a close reason that is no UTF-8"),
    pytest.param(masked(TEXT, b"\xff\xfe"), 1007, id="bad UTF-8"),
    pytest.param(masked(TEXT, b"\xe6\x97", fin=False) + masked(CONTINUATION, b"a"), 1007, id="UTF-8 broken in two"),
    pytest.param(b"\x81\xff" + (1 << 20).to_bytes(8, "big") + MASK, 1009, id="a frame of 1 MB"),
    pytest.param(masked(TEXT, b"a" * 65_536, fin=False) + masked(CONTINUATION, b"b"), 1009, id="fragments too big"),
    pytest.param(masked(TEXT, b"rubbish"), 4003, id="no JSON"),
    pytest.param(masked(TEXT, b'{"t":"dance"}'), 4003, id="no frame of ours"),
    pytest.param(masked(TEXT, b'{"t":"ack","ids":[""]}'), 4003, id="an empty id"),
    pytest.param(masked(TEXT, b'{"t":"ack","ids":["a"],"x":1}'), 4003, id="an unknown field"),
    pytest.param(masked(TEXT, b"[" * 30_000), 4003, id="deep nesting"),
    pytest.param(masked(BINARY, PING_FRAME), 4003, id="binary on the text subprotocol"),
]


@pytest.mark.parametrize(("stream", "code"), BROKEN)
async def test_a_broken_stream_ends_clearly_before_hello(client: Client, stage: Any, stream: bytes, code: int) -> None:
    await client.raw(stream)
    assert (await ends(client))[1] == code
    await stage.settled()
    assert stage.world.presences._held == {}


@pytest.mark.parametrize(("stream", "code"), BROKEN)
async def test_a_broken_stream_ends_clearly_while_online(client: Client, stage: Any, stream: bytes, code: int) -> None:
    await online(client, await stage.world.bind("li", "phone-1"))
    await client.raw(stream)
    assert (await ends(client))[1] == code
    await stage.settled()
    assert stage.gateways[0].gauges()["lines"] == 0


async def test_fragments_with_pings_between_are_one_message(client: Client, stage: Any) -> None:
    hello = json.dumps({"t": "hello", "token": await stage.world.bind("li", "phone-1"), "state": "foreground"}).encode()
    await client.raw(masked(TEXT, hello[:3], fin=False) + masked(PING, b"1") + masked(CONTINUATION, b"", fin=False))
    await client.raw(
        masked(CONTINUATION, hello[3:50], fin=False) + masked(PING, b"2") + masked(CONTINUATION, hello[50:])
    )
    heard = await client.hear()
    assert isinstance(heard, dict)
    assert heard["t"] == "welcome"


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
async def test_a_goodbye_is_answered_with_its_code(client: Client, stage: Any, code: int) -> None:
    await online(client, await stage.world.bind("li", "phone-1"))
    await client.close(code)
    assert await ends(client) == ([], code)
    await stage.settled()
    held = (await stage.world.presences.of_users(APP, ["li"], stage.clock()))["li"]
    assert [line.line for line in held] == ([] if code == 1000 else ["lost"])


@pytest.mark.parametrize(
    ("hello", "code", "word"),
    [
        ({"token": "a.b.c"}, 4001, "token_invalid"),
        ({"token": "expired"}, 4001, "token_expired"),
        ({"token": "foreign epoch"}, 4010, "moved"),
        ({"token": "unknown device"}, 4010, "device_unknown"),
        ({"cursor": "rubbish"}, 4003, "foreign_cursor"),
        ({"cursor": "of wang"}, 4003, "foreign_cursor"),
        ({"t": "ping", "token": None}, 1008, "no_hello"),
    ],
)
async def test_a_hello_that_is_refused_says_why(
    client: Client, stage: Any, hello: dict[str, Any], code: int, word: str
) -> None:
    world = stage.world
    named = {
        "expired": world.token("li", "phone-1", ttl=-1_000),
        "foreign epoch": world.token("li", "phone-1", epoch=9),
        "unknown device": world.token("li", "phone-9"),
        "of wang": world.cursor("wang", 1),
    }
    frame = {"t": "hello", "token": await world.bind("li", "phone-1")} | hello
    said = {key: named.get(value, value) for key, value in frame.items() if value is not None}
    await client.say(json.dumps(said))
    frames, closed = await ends(client)
    assert (closed, [each["code"] for each in frames]) == (code, [word])
    await stage.settled()
    assert world.presences._held == {}


async def test_a_cursor_of_the_future_is_as_none(client: Client, stage: Any) -> None:
    token = await stage.world.bind("li", "phone-1")
    await stage.world.dispatch("li", "m1")
    await client.say(json.dumps({"t": "hello", "token": token, "cursor": stage.world.cursor("li", 1 << 60)}))
    kinds = [await client.hear() for _ in range(3)]
    assert [each["t"] for each in kinds if isinstance(each, dict)] == ["welcome", "msg", "caught_up"]
    await stage.settled()
    assert stage.world.books.proven == {}


async def test_a_second_hello_ends_the_line(client: Client, stage: Any) -> None:
    token = await stage.world.bind("li", "phone-1")
    await online(client, token)
    await client.say(json.dumps({"t": "hello", "token": token}))
    assert (await ends(client))[1] == 1002


async def test_a_token_that_ends_while_connected_has_its_minute(client: Client, stage: Any) -> None:
    await online(client, await stage.world.bind("li", "phone-1", ttl=30_000))
    stage.move_time(89_000)
    await client.say('{"t":"ping"}')
    assert (await client.hear())["t"] == "pong"  # type: ignore[index]
    stage.move_time(2_000)
    frames, code = await ends(client)
    assert (code, frames[-1]["code"]) == (4001, "token_expired")


async def test_a_device_that_moves_while_connected_hears_nothing_more_of_the_old_user(
    client: Client, stage: Any
) -> None:
    world = stage.world
    await online(client, await world.bind("li", "phone-1"))
    stale = world.append("li", "to the old user")
    await world.bind("wang", "phone-1")
    moved = BusFrame(kind="moved", app=APP, user_id="li", device_id="phone-1", epoch=2)
    await world.bus.send({stage.gateways[0].desk.node: [moved]})
    await world.wake(stale)
    frames, code = await ends(client)
    assert (code, [each["t"] for each in frames]) == (4010, ["bye"])


async def test_pings_are_answered_in_kind_and_a_pong_nobody_asked_for_is_nothing(client: Client, stage: Any) -> None:
    await online(client, await stage.world.bind("li", "phone-1"))
    await client.raw(masked(0xA, b"unasked") + masked(PING, b"x" * 125))
    await client.say('{"t":"ping"}')
    assert await client.hear() == {"t": "pong", "heartbeat_s": 240}
