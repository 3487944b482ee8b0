"""The life of connections: bounds, probes, certificates, goodbyes, on both event loops."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dispatcher.domain.outcome import HandedOver, Rejected
from dispatcher.domain.paths import Path
from providers.http2 import Cause, CurlTransport, Http2Transport, Kind, Reply, Request, TransportFault, client_context
from providers.http2 import connection as connection_module
from providers.http2.frames import frame


class Mute:
    """An HTTP/2 end that sends its settings and then only listens."""

    def __init__(self) -> None:
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        writer.write(frame(4, 0, 0))
        while await reader.read(65_536):
            pass
        writer.close()


@pytest.fixture
async def mute() -> AsyncIterator[tuple[Mute, str]]:
    end = Mute()
    server = await asyncio.start_server(end.take, "127.0.0.1", 0)
    yield end, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for writer in end.writers:
        writer.close()
    await asyncio.sleep(0.01)


def causes(answers: list[Reply | TransportFault]) -> list[tuple[Kind, Cause] | int]:
    return [(answer.kind, answer.cause) if isinstance(answer, TransportFault) else answer.status for answer in answers]


async def test_a_peer_that_falls_silent_is_asked_and_then_left(
    mute: tuple[Mute, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "PROBE_S", 0.1)
    end, origin = mute
    transport = Http2Transport(origin, context=None)
    request = Request("POST", f"{origin}/x", [], b"x")
    assert causes(await transport.exchange([request], 100)) == [(Kind.UNKNOWN, Cause.DEADLINE)]
    await asyncio.sleep(0.3)
    assert causes(await transport.exchange([request], 100)) == [(Kind.UNKNOWN, Cause.DEADLINE)]
    assert end.connections == 2
    await transport.close()


async def test_more_than_may_wait_fails_at_once_and_says_why(mute: tuple[Mute, str]) -> None:
    _, origin = mute
    transport = Http2Transport(origin, context=None, waiting=10)
    requests = [Request("POST", f"{origin}/x", [], b"x")] * 12
    answers = causes(await transport.exchange(requests, 150))
    assert answers.count((Kind.NEVER_SENT, Cause.FULL)) == 2
    assert answers.count((Kind.UNKNOWN, Cause.DEADLINE)) == 10
    await transport.close()


async def test_closing_ends_what_is_under_way(mute: tuple[Mute, str]) -> None:
    _, origin = mute
    transport = Http2Transport(origin, context=None)
    waiting = asyncio.create_task(transport.exchange([Request("POST", f"{origin}/x", [], b"x")], 5_000))
    await asyncio.sleep(0.05)
    await transport.close()
    assert causes(await waiting) == [(Kind.UNKNOWN, Cause.CLOSED)]
    later = await transport.exchange([Request("POST", f"{origin}/x", [])], 100)
    assert causes(later) == [(Kind.NEVER_SENT, Cause.CLOSED)]


async def test_a_long_silent_connection_is_asked_before_it_is_trusted(lab: Any) -> None:
    provider = lab.provider(Path.APNS)
    await provider.send([lab.attempt(Path.APNS)], lab.now)
    (connection,) = provider._transports["production"]._connections
    connection._heard_at -= 60
    (outcome,) = await provider.send([lab.attempt(Path.APNS)], lab.now)
    assert isinstance(outcome, HandedOver)
    assert connection.core.pings_open == 0
    assert connection._probe is None


async def test_renewal_moves_to_a_new_connection_and_ends_the_old(lab: Any) -> None:
    provider = lab.provider(Path.APNS)
    await provider.send([lab.attempt(Path.APNS)], lab.now)
    await provider._transports["production"].renew()
    await provider.send([lab.attempt(Path.APNS)], lab.now)
    assert len({entry["connection"] for entry in await lab.requests("apns")}) == 2


async def test_a_certificate_speaks_in_place_of_a_token(lab: Any) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "com.example.im")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    encoding, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    provider = lab.provider(
        Path.APNS,
        key_pem=None,
        certificate_pem=certificate.public_bytes(encoding).decode(),
        certificate_key_pem=key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, no_password).decode(),
    )
    outcomes = await provider.send([lab.attempt(Path.APNS)], lab.now)
    assert outcomes == [Rejected("MissingProviderToken", configuration=True)]  # the simulator knows tokens only
    assert "authorization" not in (await lab.requests("apns"))[0]["headers"]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("kind", ["own", "curl"])
def test_both_wires_run_on_both_loops(loop: Callable[[], asyncio.AbstractEventLoop], kind: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(4, 0, 0))
        await reader.readexactly(24)
        while head := await reader.read(9):
            length = int.from_bytes(head[:3], "big")
            await reader.readexactly(length)
            if head[4] & 1 and head[3] in {0, 1}:  # the end of a request
                stream = int.from_bytes(head[5:], "big")
                writer.write(frame(1, 0x4, stream, b"\x88") + frame(0, 0, stream, b"he") + frame(0, 1, stream, b"llo"))
        writer.close()

    async def main() -> list[Reply | TransportFault]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        transport = Http2Transport(origin, context=None) if kind == "own" else CurlTransport(clear_http2=True)
        answers = await transport.exchange([Request("POST", f"{origin}/x", [("a", "b")], b"x")] * 20, 3_000)
        await transport.close()
        server.close()
        await asyncio.sleep(0.05)
        return answers

    with asyncio.Runner(loop_factory=loop) as runner:
        answers = runner.run(main())
    assert causes(answers) == [200] * 20
    assert all(isinstance(found, Reply) and found.body == b"hello" for found in answers)


async def test_another_origin_is_never_reached_by_mistake() -> None:
    transport = Http2Transport("https://127.0.0.1:9", context=client_context())
    answers = await transport.exchange([Request("GET", "https://127.0.0.1:99/x", [])], 100)
    assert [str(answer) for answer in answers] == ["connect: not this transport's origin"]
    await transport.close()


@pytest.mark.parametrize("kind", ["own", "curl"])
async def test_answers_can_be_taken_while_others_are_under_way(kind: str) -> None:
    """And what was abandoned is heard of no more."""
    held = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(4, 0, 0))
        await reader.readexactly(24)
        while head := await reader.read(9):
            length = int.from_bytes(head[:3], "big")
            await reader.readexactly(length)
            stream = int.from_bytes(head[5:], "big")
            if head[3] == 3:
                held.set()
            elif head[4] & 1 and head[3] in {0, 1} and stream not in {3, 5}:
                writer.write(frame(1, 0x5, stream, b"\x88"))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    transport: Any = Http2Transport(origin, context=None) if kind == "own" else CurlTransport(clear_http2=True)
    batch = transport.begin([Request("POST", f"{origin}/x", [], b"x")] * 5, 30_000)
    async with asyncio.timeout(10):
        while batch.left > 2:  # noqa: ASYNC110 - only the last answer wakes
            await asyncio.sleep(0.01)
    taken = batch.take()
    assert sorted(place for place, _ in taken) == [0, 3, 4]
    assert causes([found for _, found in taken]) == [200] * 3
    assert batch.take() == []
    batch.abandon()
    await asyncio.wait_for(held.wait(), 10)  # our RST_STREAM
    assert causes(await transport.exchange([Request("POST", f"{origin}/x", [], b"x")], 5_000)) == [200]
    await transport.close()
    server.close()
    await asyncio.sleep(0.05)


async def test_one_request_without_an_answer_does_not_stop_a_connection_that_talks() -> None:
    """It is asked whether it still stands, and serves meanwhile: else a few silent phones would block all others."""
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(frame(4, 0, 0))
        await reader.readexactly(24)
        while head := await reader.read(9):  # and never a word to a PING
            length = int.from_bytes(head[:3], "big")
            await reader.readexactly(length)
            stream = int.from_bytes(head[5:], "big")
            if head[4] & 1 and head[3] in {0, 1} and stream != 3:
                writer.write(frame(1, 0x5, stream, b"\x88"))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    transport = Http2Transport(origin, context=None, connections=1)
    request = Request("POST", f"{origin}/x", [], b"x")
    first, silent, last = await transport.exchange([request] * 3, 100)
    assert causes([first, silent, last]) == [200, (Kind.UNKNOWN, Cause.DEADLINE), 200]
    assert transport._connections[0]._probe is not None
    assert causes(await transport.exchange([request] * 3, 500)) == [200] * 3
    assert connections == 1
    await transport.close()
    server.close()
    await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("streams", "connections"),
    [
        (1, 2),  # not trusted yet: no more than usual
        (5, 4),  # until twenty requests fit
        (2, 6),  # never more than the most
        (50, 2),
    ],
)
async def test_a_peer_that_grants_few_streams_gets_more_connections(streams: int, connections: int) -> None:
    seen = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen += 1
        writer.write(frame(4, 0, 0, b"\0\x03" + streams.to_bytes(4, "big")))
        await reader.readexactly(24)
        while head := await reader.read(9):
            length = int.from_bytes(head[:3], "big")
            await reader.readexactly(length)
            if head[4] & 1 and head[3] in {0, 1}:
                await asyncio.sleep(0.005)
                writer.write(frame(1, 0x5, int.from_bytes(head[5:], "big"), b"\x88"))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    transport = Http2Transport(origin, context=None, most_connections=6, concurrent=20)
    answers = await transport.exchange([Request("POST", f"{origin}/x", [], b"x")] * 150, 20_000)
    assert causes(answers) == [200] * 150
    assert seen == connections
    await transport.close()
    server.close()
    await asyncio.sleep(0.05)
