"""What a hostile or broken client sees, over raw sockets and with wsproto as the second independent client."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Pong, Request, TextMessage

from dispatcher.gateway.rehearsal import APP
from dispatcher.protocol.wire import CLOSE, CONTINUATION, PING, PONG, TEXT, FrameReader, encode_frame, read_close

UPGRADE = (
    b"GET /v1/connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
Dial = Callable[..., Awaitable["Raw"]]
MASK = b"\x01\x02\x03\x04"


class Raw:
    """Bytes up, WebSocket events down."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.frames = FrameReader(masked=False, limit=1 << 20)
        self.events: list[tuple[int, bytes]] = []

    @classmethod
    async def dial(cls, port: int, *, upgrade: bool = True) -> "Raw":
        raw = cls(*await asyncio.open_connection("127.0.0.1", port))
        if upgrade:
            raw.writer.write(UPGRADE)
            head = await raw.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
        return raw

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    def hello(self, token: str) -> None:
        self.send(encode_frame(TEXT, json.dumps({"t": "hello", "token": token}).encode(), MASK))

    async def event(self) -> tuple[int, bytes]:
        async with asyncio.timeout(5):
            while not self.events:
                data = await self.reader.read(65_536)
                if not data:
                    raise EOFError
                self.events += self.frames.feed(data)
        return self.events.pop(0)

    async def close_code(self) -> int:
        """The server's close code; what it says before is skipped."""
        while True:
            opcode, payload = await self.event()
            if opcode == CLOSE:
                return read_close(payload)[0]

    async def gone(self) -> bool:
        async with asyncio.timeout(5):
            return await self.reader.read() == b""


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    """Opens raw connections; none of them outlives its test."""
    opened = []

    async def dialled(port: int, *, upgrade: bool = True) -> Raw:
        opened.append(await Raw.dial(port, upgrade=upgrade))
        return opened[-1]

    yield dialled
    for each in opened:
        each.writer.transport.abort()
        with suppress(ConnectionError):
            await each.writer.wait_closed()


@pytest.fixture
async def raw(stage: Any, dial: Dial) -> Raw:
    return await dial(stage.gateways[0].port)


def masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    return encode_frame(opcode, payload, MASK, fin=fin)


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        pytest.param(encode_frame(TEXT, b'{"t":"ping"}'), 1002, id="unmasked"),
        pytest.param(b"\xc1\x80" + MASK, 1002, id="reserved bit"),
        pytest.param(b"\x83\x80" + MASK, 1002, id="unknown opcode"),
        pytest.param(masked(TEXT, b"\xff\xfe"), 1007, id="bad UTF-8"),
        pytest.param(b"\x81\xff" + (1 << 20).to_bytes(8, "big") + MASK, 1009, id="a frame of 1 MB"),
        pytest.param(masked(TEXT, b"a" * 65_536, fin=False) + masked(CONTINUATION, b"b"), 1009, id="fragments too big"),
        pytest.param(masked(TEXT, b'{"t":"ping"}'), 1008, id="a first frame that is no hello"),
        pytest.param(masked(TEXT, b"rubbish"), 4003, id="a first frame that does not parse"),
        pytest.param(masked(0x2, b'{"t":"hello","token":"x"}'), 4003, id="binary on the text subprotocol"),
        pytest.param(masked(TEXT, b'{"t":"hello","token":"x"}'), 4001, id="a forged token"),
        pytest.param(masked(TEXT, b'{"t":"hello","token":"x","y":1}'), 4003, id="an unknown field"),
        pytest.param(masked(CLOSE, b"\x03\xed"), 1002, id="a close code that may not be sent"),
        pytest.param(masked(CLOSE, b"\x03\xe8bye"), 1000, id="a goodbye is answered in kind"),
        pytest.param(masked(CLOSE, b"\x0f\xa0"), 4000, id="a goodbye of their own"),
        pytest.param(masked(CLOSE, b""), 1005, id="an empty goodbye"),
    ],
)
async def test_a_broken_stream_ends_with_its_close_code_and_leaves_no_state(
    stage: Any, raw: Raw, stream: bytes, code: int
) -> None:
    raw.send(stream)
    assert await raw.close_code() == code
    raw.send(masked(CLOSE, b"\x03\xe8"))
    assert await raw.gone()
    await stage.settled()
    assert stage.gateways[0].gauges()["lines"] == 0
    assert stage.world.presences._held == {}


async def test_a_hello_that_never_comes_ends_after_five_seconds(stage: Any, raw: Raw) -> None:
    stage.move_time(4_500)
    raw.send(masked(PING, b"still here"))
    assert await raw.event() == (PONG, b"still here")
    stage.move_time(800)
    assert await raw.close_code() == 1008


async def test_a_request_that_never_comes_ends_too(stage: Any, dial: Dial, eventually: Any) -> None:
    coming = stage.gateways[0].desk.unclaimed
    raw = await dial(stage.gateways[0].port, upgrade=False)
    raw.send(b"GET /v1/conn")
    await eventually(lambda: any(arrival.buffer for arrival in coming))
    stage.move_time(5_500)
    assert (await raw.reader.read()).startswith(b"HTTP/1.1 408 ")
    raw.writer.close()
    await eventually(lambda: not coming)
    silent = await dial(stage.gateways[0].port, upgrade=False)
    await eventually(lambda: len(coming) == 1)
    stage.move_time(5_500)
    assert await silent.gone()


async def test_fragments_with_pings_between_byte_by_byte_are_one_hello(stage: Any, raw: Raw) -> None:
    token = await stage.world.bind("li", "phone-1")
    hello = json.dumps({"t": "hello", "token": token}).encode()
    stream = masked(TEXT, hello[:9], fin=False) + masked(PING, b"between") + masked(CONTINUATION, hello[9:])
    for at in range(len(stream)):
        raw.send(stream[at : at + 1])
        if not at % 40:
            await asyncio.sleep(0)
    assert await raw.event() == (PONG, b"between")
    assert b'"t":"welcome"' in (await raw.event())[1]


async def test_hello_in_the_same_packet_as_the_upgrade_is_heard(stage: Any, dial: Dial) -> None:
    token = await stage.world.bind("li", "phone-1")
    raw = await dial(stage.gateways[0].port, upgrade=False)
    raw.writer.write(UPGRADE)
    raw.hello(token)
    await raw.reader.readuntil(b"\r\n\r\n")
    assert b'"t":"welcome"' in (await raw.event())[1]


async def test_a_peer_that_does_not_finish_the_goodbye_is_cut_off(stage: Any, raw: Raw) -> None:
    raw.send(masked(TEXT, b"rubbish"))
    assert await raw.close_code() == 4003
    stage.move_time(3_000)
    assert await raw.gone()


async def test_a_flood_of_pings_waits_and_others_are_served(stage: Any, raw: Raw, eventually: Any) -> None:
    raw.hello(await stage.world.bind("li", "phone-1"))
    flood = masked(PING, b"") * 50_000
    raw.send(flood)
    phone = await stage.phone("wang", "phone-2")
    await phone.hear_until("caught_up")
    gateway = stage.gateways[0]
    await eventually(lambda: gateway.desk.throttled)
    await stage.world.dispatch("wang", "m1")
    assert (await phone.hear(1))["message_id"] == "m1"
    assert gateway.counters["lines_throttled"] >= 1


async def test_a_slow_consumer_is_cut_off_at_the_byte_limit_and_resumes(stage: Any, dial: Dial) -> None:
    gateway = await stage.gateway(slow_bytes=64 * 1024)
    token = await stage.world.bind("li", "phone-1")
    raw = await dial(gateway.port)
    raw.hello(token)
    await raw.event()
    await raw.event()
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
    sent = 0
    async with asyncio.timeout(20):
        while not gateway.counters["lines_closed.4008"]:
            for _ in range(50):
                sent += 1
                await stage.world.dispatch("li", f"m{sent}", "x" * 3_500)
            await asyncio.sleep(0.01)
    assert stage.world.presences._held[APP, "li"]["phone-1"].line == "lost"
    raw.writer.transport.abort()
    phone = await stage.phone(token=token, gateway=gateway)
    seen = [frame["message_id"] for frame in await phone.hear_until("caught_up") if frame["t"] == "msg"]
    assert seen == [f"m{number}" for number in range(sent - 199, sent + 1)]


async def test_near_the_limit_of_files_a_new_connection_gets_a_clear_refusal(stage: Any, dial: Dial) -> None:
    gateway = await stage.gateway(max_connections=2)
    held = [await dial(gateway.port) for _ in range(2)]
    refused = await dial(gateway.port, upgrade=False)
    refused.writer.write(UPGRADE)
    answer = await refused.reader.read()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: " in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "overloaded"
    assert len(held) == 2


async def test_a_reconnect_storm_is_admitted_at_a_set_rate(stage: Any, dial: Dial) -> None:
    gateway = await stage.gateway(connects_per_second=3)
    answers = []
    for _ in range(8):
        raw = await dial(gateway.port, upgrade=False)
        raw.writer.write(UPGRADE)
        answers.append((await raw.reader.readuntil(b"\r\n"))[9:12])
        raw.writer.close()
    assert answers.count(b"101") in {3, 6}  # a second may have turned
    assert set(answers) == {b"101", b"503"}
    stage.move_time(1_000)
    await dial(gateway.port)


async def test_one_address_does_not_take_the_others_place(stage: Any, dial: Dial) -> None:
    gateway = await stage.gateway(connects_per_address=1, trusted_peers=("127.0.0.1",))

    async def status(forwarded: str) -> bytes:
        raw = await dial(gateway.port, upgrade=False)
        raw.writer.write(UPGRADE[:-2] + f"X-Forwarded-For: {forwarded}\r\n\r\n".encode())
        line = await raw.reader.readuntil(b"\r\n")
        return line[9:12]

    stage.clock.ahead += 1_000 - stage.clock() % 1_000
    gateway.tick()
    assert await status("10.0.0.1") == b"101"
    assert await status("10.0.0.1") == b"429"
    assert await status("6.6.6.6, 10.0.0.2") == b"101"
    assert await status("10.0.0.2") == b"429"


async def test_a_chain_of_our_own_balancers_leads_to_the_device(stage: Any, dial: Dial) -> None:
    gateway = await stage.gateway(connects_per_address=1, trusted_peers=("127.0.0.0/8", "10.1.0.0/16"))

    async def status(forwarded: str) -> bytes:
        raw = await dial(gateway.port, upgrade=False)
        raw.writer.write(UPGRADE[:-2] + f"X-Forwarded-For: {forwarded}\r\n\r\n".encode())
        return (await raw.reader.readuntil(b"\r\n"))[9:12]

    stage.clock.ahead += 1_000 - stage.clock() % 1_000
    gateway.tick()
    assert await status("6.6.6.6, 10.0.0.2, 10.1.2.3") == b"101"
    assert await status("7.7.7.7, 10.0.0.2") == b"429"
    assert await status("6.6.6.6") == b"101"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"rubbish\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"POST /v1/connect HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"POST /v1/connect HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", b"413"),
        (b"GET /v1/connect HTTP/1.1\r\nHost: x\r\n\r\n", b"426"),
        (b"GET /" + b"a" * 20_000, b"431"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
    ],
)
async def test_http_that_is_no_upgrade_is_answered_clearly(
    stage: Any, dial: Dial, request_: bytes, status: bytes
) -> None:
    raw = await dial(stage.gateways[0].port, upgrade=False)
    raw.writer.write(request_)
    line = await raw.reader.readuntil(b"\r\n")
    assert line[9:12] == status


async def test_wsproto_holds_a_whole_conversation(stage: Any) -> None:
    token = await stage.world.bind("li", "phone-1")
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateways[0].port)
    peer = WSConnection(ConnectionType.CLIENT)
    writer.write(peer.send(Request(host="x", target="/v1/connect", subprotocols=["pushpath.v1.json"])))

    async def hear() -> Any:
        async with asyncio.timeout(5):
            while True:
                for event in peer.events():
                    return event
                peer.receive_data(await reader.read(65_536) or None)

    accepted = await hear()
    assert isinstance(accepted, AcceptConnection)
    assert accepted.subprotocol == "pushpath.v1.json"
    hello = json.dumps({"t": "hello", "token": token, "state": "foreground"})
    writer.write(peer.send(TextMessage(data=hello[:20], message_finished=False)))
    writer.write(peer.send(TextMessage(data=hello[20:])))
    kinds: list[str] = []
    while kinds[-1:] != ["caught_up"]:
        event = await hear()
        kinds.append(json.loads(event.data)["t"])
    assert kinds == ["welcome", "caught_up"]
    delivery = await stage.world.dispatch("li", "m1", "早" * 100)
    event = await hear()
    assert json.loads(event.data)["delivery_id"] == delivery
    writer.write(peer.send(TextMessage(data=json.dumps({"t": "ack", "ids": [delivery]}))))
    writer.write(peer.send(Ping(payload=b"x")))
    assert isinstance(await hear(), Pong)
    writer.write(peer.send(CloseConnection(code=1000)))
    closed = await hear()
    assert isinstance(closed, CloseConnection)
    assert closed.code == 1000
    await stage.settled()
    assert (APP, "li", delivery) in stage.world.books.proven
    writer.close()
