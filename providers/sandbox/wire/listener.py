"""Accepts connections for one end and picks HTTP/2 or HTTP/1.1 for each."""

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import cast

from providers.sandbox.wire.exchange import Receiver
from providers.sandbox.wire.frames import PREFACE
from providers.sandbox.wire.http1_connection import Http1Connection
from providers.sandbox.wire.http2_connection import Http2Connection

HANDSHAKE_TIMEOUT_S = 60.0
BACKLOG = 1024
_ENOUGH = 3  #: bytes that tell "PRI" from every HTTP/1.1 method


class _Chooser(asyncio.Protocol):
    """The first protocol of a connection: ALPN decides under TLS, the first bytes decide in clear text."""

    def __init__(self, listener: "Listener", receiver: Receiver) -> None:
        self._listener = listener
        self._receiver = receiver
        self._transport: asyncio.Transport | None = None
        self._start = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._listener.open.add(self._transport)
        secured = transport.get_extra_info("ssl_object")
        if secured is not None and secured.selected_alpn_protocol() == "h2":
            self._become(Http2Connection)
        elif secured is not None and self._listener.http2_only:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._start += data
        if len(self._start) < _ENOUGH:
            return
        self._become(Http2Connection if PREFACE.startswith(self._start[:_ENOUGH]) else Http1Connection)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()

    def _forget(self) -> None:
        if self._transport is not None:
            self._listener.open.discard(self._transport)

    def _become(self, kind: type[Http1Connection | Http2Connection]) -> None:
        if self._transport is None:
            return
        protocol = kind(self._receiver, next(self._listener.numbers), self._forget)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if self._start:
            protocol.data_received(self._start)


class Listener:
    """One port. *handshake_delay* gives the seconds that a new connection waits before its TLS handshake begins."""

    def __init__(
        self,
        *,
        numbers: Iterator[int] | None = None,
        tls: ssl.SSLContext | None = None,
        http2_only: bool = False,
        handshake_delay: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.numbers = numbers or itertools.count(1)
        self.http2_only = http2_only
        self.open: set[asyncio.Transport] = set()
        self.port = 0
        self._tls = tls
        self._delay = handshake_delay
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: set[asyncio.Task[None]] = set()

    def bind(self, host: str, port: int) -> int:
        """Take *port* (0: any) and return its number; OSError when it is in use."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.create_server((host, port), family=family, backlog=BACKLOG)
        bound.setblocking(False)
        self._socket = bound
        self.port = int(bound.getsockname()[1])
        return self.port

    def start(self, receiver: Receiver) -> None:
        """Begin to accept for *receiver*; ``bind`` comes first."""
        if self._socket is None:
            raise RuntimeError("bind first")
        self._accepting = asyncio.create_task(self._accept(self._socket, receiver))

    async def stop(self) -> None:
        """Close the port and every connection."""
        tasks = [*self._handshakes, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
        for transport in list(self.open):
            transport.abort()
        self.open.clear()
        await asyncio.sleep(0)

    async def _accept(self, listening: socket.socket, receiver: Receiver) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError:
                await asyncio.sleep(0.05)  # out of file descriptors, or the client gave up in between
                continue
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.create_task(self._welcome(accepted, receiver))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _welcome(self, accepted: socket.socket, receiver: Receiver) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._tls is not None and (delay := self._delay()) > 0:
                await asyncio.sleep(delay)
            with contextlib.suppress(OSError):  # a failed handshake, ssl.SSLError included, is the client's affair
                await loop.connect_accepted_socket(
                    lambda: _Chooser(self, receiver),
                    accepted,
                    ssl=self._tls,
                    ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if self._tls is not None else None,
                )
        except asyncio.CancelledError:
            accepted.close()
            raise
