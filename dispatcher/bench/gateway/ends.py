"""Raw phones: what costs the gateway as much as a phone would, and costs the benchmark as little as possible.

They speak the WebSocket by the book (hello only after the 101) and look into frames no further than needed.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import cast

from dispatcher.protocol.frames import JSON, Ack, Hello
from dispatcher.protocol.wire import BINARY, TEXT, encode_frame

_NO_MASK = bytes(4)
HEAD = (
    b"GET /v1/connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: pushpath.v1.json\r\n\r\n"
)
_AT = b'"at":'


class Tally:
    """What a crowd of phones has seen. ``late``: nanoseconds from the time in a message's data to its arrival."""

    def __init__(self) -> None:
        self.online = 0
        self.late: list[int] = []
        self._wanted = 0
        self._reached: asyncio.Event | None = None

    def turned_online(self) -> None:
        self.online += 1
        if self._reached is not None and self.online >= self._wanted:
            self._reached.set()

    async def all_online(self, count: int, within_s: float) -> None:
        """Waits until *count* phones are; raises TimeoutError."""
        self._wanted = count
        self._reached = asyncio.Event()
        if self.online < count:
            await asyncio.wait_for(self._reached.wait(), within_s)


class Phone(asyncio.Protocol):
    """Says hello after the upgrade, acknowledges every message on its own."""

    __slots__ = ("_hello", "_rest", "_tally", "transport")

    def __init__(self, tally: Tally, token: str) -> None:
        self._tally = tally
        self._hello: bytes | None = encode_frame(TEXT, JSON.encode(Hello(token=token)), _NO_MASK)
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if self._hello is not None:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                self._rest = data
                return
            data = data[end:]
            self.transport.write(self._hello)
            self._hello = None
        out: list[bytes] = []
        at = 0
        while len(data) - at >= 2:
            size = data[at + 1]
            start = at + 2
            if size == 126:
                if len(data) < at + 4:
                    break
                (size,) = struct.unpack_from("!H", data, at + 2)
                start = at + 4
            if len(data) < start + size:
                break
            if data[at] & 0x0F in (TEXT, BINARY):
                self._heard(data[start : start + size], out)
            at = start + size
        self._rest = data[at:]
        if out:
            self.transport.write(b"".join(out))

    def _heard(self, payload: bytes, out: list[bytes]) -> None:
        if payload.startswith(b'{"t":"msg"'):
            found = payload.index(b'"delivery_id":"') + 15
            out.append(encode_frame(TEXT, JSON.encode(Ack([payload[found : found + 28].decode()])), _NO_MASK))
            sent = payload.find(_AT)
            if sent >= 0:
                began = int(payload[sent + 5 : payload.index(b"}", sent)])
                self._tally.late.append(time.monotonic_ns() - began)
        elif payload.startswith(b'{"t":"caught_up"'):
            self._tally.turned_online()


class Poller(asyncio.Protocol):
    """Parks a poll again as soon as one was answered."""

    __slots__ = ("_answered", "_request", "_rest", "transport")

    def __init__(self, token: str, cursor: str, answered: Callable[[], None]) -> None:
        query = f"GET /v1/inbox?limit=50&wait=60s&after={cursor} HTTP/1.1\r\nHost: x\r\n"
        self._request = f"{query}Authorization: Bearer {token}\r\n\r\n".encode()
        self._rest = b""
        self._answered = answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        end = data.find(b"\r\n\r\n") + 4
        length = data.find(b"Content-Length: ") + 16
        if end < 4 or len(data) < end + int(data[length : data.index(b"\r", length)]):
            self._rest = data
            return
        if not data.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(data[:80].decode())
        self._rest = b""
        self._answered()
        self.transport.write(self._request)


def dial(port: int, source: str | None = None) -> socket.socket:
    """A connected socket. *source*: an address of this machine to come from: each has its own 28,000 ports."""
    dialling = socket.socket()
    if source is not None:
        dialling.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
        dialling.bind((source, 0))
    dialling.connect(("127.0.0.1", port))
    dialling.setblocking(False)
    return dialling


async def knock(tally: Tally, port: int, tokens: Sequence[str], source: str | None = None) -> list[Phone]:
    """Phones that have connected and asked for the upgrade, and go on by themselves from here."""
    loop = asyncio.get_running_loop()
    phones: list[Phone] = []
    for token in tokens:
        dialling = dial(port, source)
        dialling.sendall(HEAD)
        _, phone = await loop.create_connection(lambda token=token: Phone(tally, token), sock=dialling)  # type: ignore[misc]
        phones.append(phone)
    return phones
