"""HTTP/1.1 on httptools: keep-alive and pipelining, answers in the order of the requests."""

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

import httptools

from providers.sandbox.wire.exchange import Answer, Header, Receiver, Request, Wire

MAX_BODY = 256 * 1024
MAX_HEADERS = 32 * 1024
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class _Slot:
    __slots__ = ("answer", "place")

    def __init__(self, place: int) -> None:
        self.place = place
        self.answer: Answer | None = None


class Http1Connection(asyncio.Protocol):
    """Requests are counted from 1 in place of stream ids."""

    def __init__(self, receiver: Receiver, number: int, on_lost: Callable[[], None]) -> None:
        self.number = number
        self.last_stream: int | None = None
        self._on_lost = on_lost
        self._receiver = receiver
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._slots: deque[_Slot] = deque()
        self._count = 0
        self._owed = 0  #: body bytes still to come of a request that offered an upgrade
        self._method = b""
        self._start()

    def _start(self) -> None:
        self._url = b""
        self._headers: list[Header] = []
        self._body = bytearray()
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing to say first."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """What is still unanswered stays so in the log."""
        self._transport = None
        self._on_lost()

    def pause_writing(self) -> None:
        """A client that does not read its answers may send no more requests."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Bytes that are no HTTP/1.1 end the connection with 400."""
        if self._owed:
            data = self._take_owed(data)
        if not data:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # An offer to switch protocols is declined. The parser stops after the headers, so the body is ours to read.
            method = self._parser.get_method()
            self._parser = httptools.HttpRequestParser(self)
            length = dict(self._headers).get(b"content-length", b"0")
            self._owed = int(length) if length.isdigit() else 0
            self._method = method
            if not self._owed:
                self._dispatch(method, keep_alive=True)
            self.data_received(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)

    def _take_owed(self, data: bytes) -> bytes:
        body, rest = data[: self._owed], data[self._owed :]
        self._owed -= len(body)
        self.on_body(body)
        if not self._owed:
            self._dispatch(self._method, keep_alive=True)
        return rest

    # -- httptools' callbacks ---------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        """May come in parts."""
        self._grow(len(url))
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        self._grow(len(name) + len(value))
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """curl waits for this before it sends a larger body."""
        if (b"expect", b"100-continue") in self._headers and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """May come in parts."""
        self._body += body
        if len(self._body) > MAX_BODY:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def on_message_complete(self) -> None:
        """The request is whole, unless it offers an upgrade: see ``data_received``."""
        if not self._parser.should_upgrade():
            self._dispatch(self._parser.get_method(), keep_alive=self._parser.should_keep_alive())

    def _dispatch(self, method: bytes, *, keep_alive: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._count += 1
        self._slots.append(_Slot(self._count))
        if not keep_alive and self.last_stream is None:
            self.last_stream = self._count
        path = self._url.decode("ascii", "replace")
        verb = method.decode("ascii", "replace")
        request = Request(self, self._count, False, verb, path, self._headers, bytes(self._body))
        self._start()
        self._receiver.take(request)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_HEADERS:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _refuse(self, status: HTTPStatus) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        line = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        self._transport.write(line.encode())
        self._transport.close()

    # -- what the receiver asks for ---------------------------------------------------------------------------

    def answer(self, stream: int, answer: Answer) -> bool:
        """See ``Connection.answer``; an answer waits for those of earlier requests."""
        if self._transport is None or self._transport.is_closing():
            return False
        if answer.wire in (Wire.RESET, Wire.CLOSE):
            self._transport.abort()
            return False
        if answer.wire is Wire.SILENT:
            return False
        slot = next((slot for slot in self._slots if slot.place == stream), None)
        if slot is None or slot.answer is not None:
            return False
        slot.answer = answer
        while self._slots and self._slots[0].answer is not None:
            if self._slots[0].answer.wire is Wire.STALL:
                self._write(self._slots[0].answer, self._slots[0].place, len(self._slots[0].answer.body) // 2)
                self._slots[0].answer = None  # the rest never comes, nor what stands behind it
                return False
            done = self._slots.popleft()
            self._write(cast("Answer", done.answer), done.place, None)
        return answer.wire is not Wire.STALL

    def go_away(self, last_stream: int) -> None:
        """See ``Connection.go_away``."""
        self.last_stream = last_stream

    def allow_streams(self, count: int) -> None:
        """See ``Connection.allow_streams``."""

    def _write(self, answer: Answer, place: int, only: int | None) -> None:
        transport = self._transport
        if transport is None:
            return
        last = place == self.last_stream
        phrase = _PHRASES.get(answer.status, "Status")
        lines = [b"HTTP/1.1 %d %s\r\n" % (answer.status, phrase.encode())]
        lines += [b"%s: %s\r\n" % header for header in answer.headers]
        if answer.status != HTTPStatus.NO_CONTENT:
            lines.append(b"content-length: %d\r\n" % len(answer.body))
        lines.append(b"connection: close\r\n\r\n" if last else b"\r\n")
        transport.write(b"".join(lines))
        body = answer.body if only is None else answer.body[:only]
        if answer.wire is Wire.SPLIT and len(body) > 1:
            transport.write(body[: len(body) // 2])
            body = body[len(body) // 2 :]
        transport.write(body)
        if last and only is None:
            transport.close()
