"""The loop around ``Http2Core``: one asyncio protocol a connection, one write a tick."""

import asyncio
from collections.abc import Callable
from typing import cast

from providers.sandbox.wire.exchange import Answer, Receiver, Request, Wire
from providers.sandbox.wire.http2 import Http2Core

LINGER_S = 1.0
"""After GOAWAY and the last answer: how long later streams are still read (and left unanswered) before the close."""


class Http2Connection(asyncio.Protocol):
    """Hands whole requests to *receiver* and writes the answers it gives, at once or later."""

    def __init__(self, receiver: Receiver, number: int, on_lost: Callable[[], None]) -> None:
        self.number = number
        self._on_lost = on_lost
        self._receiver = receiver
        self._core = Http2Core(receiver.initial_streams())
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._flush_due = False
        self._close_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Settings go first, before the client has said anything."""
        self._transport = cast("asyncio.Transport", transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Everything that these bytes cause leaves in one write."""
        self._flush_due = True
        for stream, head, body in self._core.receive(data):
            self._receiver.take(Request(self, stream, True, head.method, head.path, head.headers, body))
        self._flush()
        if self._core.closed and self._transport is not None:
            self._transport.close()

    def pause_writing(self) -> None:
        """A client that does not read its answers may send no more requests."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """What is still unanswered stays so in the log."""
        self._transport = None
        if self._close_due is not None:
            self._close_due.cancel()
        self._on_lost()

    @property
    def last_stream(self) -> int | None:
        """See ``Connection.last_stream``."""
        return self._core.last_allowed

    def answer(self, stream: int, answer: Answer) -> bool:
        """See ``Connection.answer``."""
        core, transport = self._core, self._transport
        if transport is None or transport.is_closing():
            return False
        match answer.wire:
            case Wire.WHOLE:
                given = core.respond(stream, answer.status, answer.headers, answer.body)
            case Wire.SPLIT:
                given = core.respond(stream, answer.status, answer.headers, answer.body, pieces=2)
            case Wire.STALL:
                half = answer.body[: len(answer.body) // 2]
                core.begin(stream, answer.status, answer.headers, half)
                given = False
            case Wire.RESET:
                core.reset(stream)
                given = False
            case Wire.CLOSE:
                transport.abort()
                return False
            case Wire.SILENT:
                return False
        self._soon()
        if core.last_allowed is not None:
            self._close_when_answered()
        return given

    def go_away(self, last_stream: int) -> None:
        """See ``Connection.go_away``."""
        self._core.go_away(last_stream)
        self._close_when_answered()
        self._soon()

    def allow_streams(self, count: int) -> None:
        """See ``Connection.allow_streams``."""
        self._core.allow_streams(count)
        self._soon()

    def _close_when_answered(self) -> None:
        last = self._core.last_allowed
        if self._close_due is None and last is not None and not self._core.open_below(last):
            self._close_due = self._loop.call_later(LINGER_S, self._close)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        data = self._core.take_output()
        if data and self._transport is not None:
            self._transport.write(data)
