"""The server side of HTTP/2 without I/O (RFC 9113): bytes in, whole requests out, answers queued as bytes.

Written for speed, because a general-purpose state machine takes most of a core at a few thousand requests a second;
the ``h2`` library, curl and aioapns judge it in the tests. Server push, CONNECT and upgrades are not offered.
"""

from typing import NamedTuple

from providers.sandbox.wire.fields import MalformedError, RequestHead, read_head
from providers.sandbox.wire.frames import (
    ACK,
    CANCEL,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    INITIAL_WINDOW,
    LONG,
    MAX_BODY,
    MAX_CONCURRENT,
    MAX_FRAME,
    MAX_FRAME_SIZE,
    MAX_HEADER_BLOCK,
    MAX_HEADER_LIST,
    MAX_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTING,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    FatalError,
    frame,
)
from providers.sandbox.wire.header_table import HeaderBlockError, HeaderDecoder
from providers.sandbox.wire.http2_writer import AnswerWriter, Stream


class RequestReceived(NamedTuple):
    """A request whose last byte is here."""

    stream: int
    head: RequestHead
    body: bytes


class Http2Core(AnswerWriter):
    """One connection. ``receive`` eats bytes, ``take_output`` gives what must be written; nothing is awaited."""

    def __init__(self, streams: int, window: int = 1 << 20) -> None:
        super().__init__()
        self.closed = False  #: nothing more is read; write the output and close
        self._decoder = HeaderDecoder(MAX_HEADER_BLOCK)
        self._buffer = bytearray()
        self._preface_seen = False
        self._settings_seen = False
        self._highest = 0
        self._limit = MAX_WINDOW  # what we announce binds the client only once it acknowledged it
        self._announced: list[int] = []
        self._block: tuple[int, int, bytearray] | None = None  # stream, flags, header block so far
        self._window = max(window, DEFAULT_WINDOW)
        self._receive_window = self._window
        self._announce((MAX_CONCURRENT, streams), (MAX_HEADER_LIST, MAX_HEADER_BLOCK))
        if self._window > DEFAULT_WINDOW:
            self._output += frame(WINDOW_UPDATE, 0, 0, LONG.pack(self._window - DEFAULT_WINDOW))

    def allow_streams(self, count: int) -> None:
        """Announce a new number of concurrent streams. A higher one holds at once, a lower one when acknowledged."""
        self._announce((MAX_CONCURRENT, count))
        self._limit = max(self._limit, count)

    def receive(self, data: bytes) -> list[RequestReceived]:
        """Requests that *data* completed. A fault of the client's ends in GOAWAY and ``closed``."""
        requests: list[RequestReceived] = []
        if self.closed:
            return requests
        self._buffer += data
        try:
            self._parse(requests)
        except FatalError as error:
            self.go_away(self._highest, error.code, str(error).encode())
            self.closed = True
        return requests

    def _parse(self, requests: list[RequestReceived]) -> None:
        buffer = self._buffer
        position = 0
        if not self._preface_seen:
            if not PREFACE.startswith(buffer[: len(PREFACE)]):
                raise FatalError(PROTOCOL_ERROR, "no HTTP/2 preface")
            if len(buffer) < len(PREFACE):
                return
            self._preface_seen = True
            position = len(PREFACE)
        end = len(buffer)
        while end - position >= 9:
            high, low, kind, flags, stream = FRAME.unpack_from(buffer, position)
            size = high << 8 | low
            if size > MAX_FRAME:
                raise FatalError(FRAME_SIZE_ERROR, "frame above SETTINGS_MAX_FRAME_SIZE")
            if end - position - 9 < size:
                break
            position += 9 + size
            self._on_frame(kind, flags, stream & MAX_WINDOW, bytes(buffer[position - size : position]), requests)
        del buffer[:position]

    def _on_frame(self, kind: int, flags: int, stream: int, payload: bytes, requests: list[RequestReceived]) -> None:
        if self._block is not None and (kind != CONTINUATION or stream != self._block[0]):
            raise FatalError(PROTOCOL_ERROR, "header block interrupted")
        if not self._settings_seen:
            if kind != SETTINGS or flags & ACK:
                raise FatalError(PROTOCOL_ERROR, "the first frame must be SETTINGS")
            self._settings_seen = True
        if kind == DATA:
            self._on_data(flags, stream, payload, requests)
        elif kind == HEADERS:
            self._on_headers(flags, stream, payload, requests)
        elif kind == CONTINUATION:
            self._on_continuation(flags, payload, requests)
        elif kind == WINDOW_UPDATE:
            self._on_window_update(stream, payload)
        else:
            self._on_rare_frame(kind, flags, stream, payload)

    def _on_rare_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS:
            self._on_settings(flags, stream, payload)
        elif kind == RST_STREAM:
            if len(payload) != 4:
                raise FatalError(FRAME_SIZE_ERROR, "RST_STREAM of a wrong size")
            if stream == 0 or stream > self._highest:
                raise FatalError(PROTOCOL_ERROR, "RST_STREAM on an idle stream")
            self._forget(stream)
        elif kind == PING:
            self._on_ping(flags, stream, payload)
        elif kind == PUSH_PROMISE:
            raise FatalError(PROTOCOL_ERROR, "clients do not push")
        elif kind == GOAWAY and stream:
            raise FatalError(PROTOCOL_ERROR, "GOAWAY on a stream")
        elif kind == PRIORITY and len(payload) != 5:
            self.reset(stream, FRAME_SIZE_ERROR)

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise FatalError(FRAME_SIZE_ERROR, "PING of a wrong size")
        if stream:
            raise FatalError(PROTOCOL_ERROR, "PING on a stream")
        if not flags & ACK:
            self._output += frame(PING, ACK, 0, payload)

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise FatalError(PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise FatalError(FRAME_SIZE_ERROR, "SETTINGS acknowledgement with content")
            if self._announced:
                self._limit = self._announced.pop(0)
            return
        if len(payload) % 6:
            raise FatalError(FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        for name, value in SETTING.iter_unpack(payload):
            if name == INITIAL_WINDOW:
                if value > MAX_WINDOW:
                    raise FatalError(FLOW_CONTROL_ERROR, "initial window too large")
                for state in self._streams.values():
                    state.send_window += value - self._peer_window
                self._peer_window = value
            elif name == MAX_FRAME_SIZE:
                if not MAX_FRAME <= value < 1 << 24:
                    raise FatalError(PROTOCOL_ERROR, "frame size out of bounds")
                self._peer_frame = value
        self._output += frame(SETTINGS, ACK, 0)
        self._unblock()

    def _on_window_update(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise FatalError(FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong size")
        gain = LONG.unpack(payload)[0] & MAX_WINDOW
        if stream == 0:
            self._send_window += gain
            if gain == 0 or self._send_window > MAX_WINDOW:
                raise FatalError(FLOW_CONTROL_ERROR if gain else PROTOCOL_ERROR, "bad connection window")
        else:
            if stream > self._highest:
                raise FatalError(PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
            state = self._streams.get(stream)
            if state is None:
                return
            state.send_window += gain
            if gain == 0 or state.send_window > MAX_WINDOW:
                self.reset(stream, FLOW_CONTROL_ERROR if gain else PROTOCOL_ERROR)
        if self._blocked:
            self._unblock()

    def _on_headers(self, flags: int, stream: int, payload: bytes, requests: list[RequestReceived]) -> None:
        if not stream & 1:
            raise FatalError(PROTOCOL_ERROR, "clients open odd streams")
        if flags & PADDED:
            payload = self._unpad(payload)
        if flags & HAS_PRIORITY:
            if len(payload) < 5:
                raise FatalError(FRAME_SIZE_ERROR, "priority cut off")
            payload = payload[5:]
        if flags & END_HEADERS:
            self._on_block(stream, flags, payload, requests)
        else:
            self._block = (stream, flags, bytearray(payload))

    def _on_continuation(self, flags: int, payload: bytes, requests: list[RequestReceived]) -> None:
        if self._block is None:
            raise FatalError(PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        stream, first_flags, block = self._block
        block += payload
        if len(block) > MAX_HEADER_BLOCK:
            raise FatalError(COMPRESSION_ERROR, "header block too large")
        if flags & END_HEADERS:
            self._block = None
            self._on_block(stream, first_flags, bytes(block), requests)

    def _on_block(self, stream: int, flags: int, block: bytes, requests: list[RequestReceived]) -> None:
        try:
            fields = self._decoder.decode(block)
        except HeaderBlockError as error:
            raise FatalError(COMPRESSION_ERROR, str(error)) from error
        state = self._streams.get(stream)
        if state is not None:
            self._on_trailers(stream, state, flags, requests)
            return
        if stream <= self._highest:
            self._output += frame(RST_STREAM, 0, stream, LONG.pack(STREAM_CLOSED))
            return
        self._highest = stream
        if len(self._streams) >= self._limit:
            self._output += frame(RST_STREAM, 0, stream, LONG.pack(REFUSED_STREAM))
            return
        try:
            head = read_head(fields)
        except MalformedError:
            self._output += frame(RST_STREAM, 0, stream, LONG.pack(PROTOCOL_ERROR))
            return
        state = self._streams[stream] = Stream(head, self._peer_window)
        if flags & END_STREAM:
            self._complete(stream, state, requests)

    def _on_trailers(self, stream: int, state: Stream, flags: int, requests: list[RequestReceived]) -> None:
        if state.ended:
            self.reset(stream, STREAM_CLOSED)
        elif not flags & END_STREAM:
            self.reset(stream, PROTOCOL_ERROR)
        else:
            self._complete(stream, state, requests)

    def _on_data(self, flags: int, stream: int, payload: bytes, requests: list[RequestReceived]) -> None:
        if stream == 0 or stream > self._highest:
            raise FatalError(PROTOCOL_ERROR, "DATA on an idle stream")
        size = len(payload)
        self._receive_window -= size
        if self._receive_window < 0:
            raise FatalError(FLOW_CONTROL_ERROR, "connection window overrun")
        if self._receive_window <= self._window >> 1:
            self._output += frame(WINDOW_UPDATE, 0, 0, LONG.pack(self._window - self._receive_window))
            self._receive_window = self._window
        if flags & PADDED:
            payload = self._unpad(payload)
        state = self._streams.get(stream)
        if state is None:
            return
        if state.ended:
            self.reset(stream, STREAM_CLOSED)
            return
        state.unreported += size
        if state.unreported > DEFAULT_WINDOW:
            self.reset(stream, FLOW_CONTROL_ERROR)
            return
        state.body += payload
        if len(state.body) > MAX_BODY:
            self.reset(stream, CANCEL)
        elif flags & END_STREAM:
            self._complete(stream, state, requests)
        elif state.unreported > DEFAULT_WINDOW >> 1:
            self._output += frame(WINDOW_UPDATE, 0, stream, LONG.pack(state.unreported))
            state.unreported = 0

    def _complete(self, stream: int, state: Stream, requests: list[RequestReceived]) -> None:
        state.ended = True
        if state.head.content_length not in (None, len(state.body)):
            self.reset(stream, PROTOCOL_ERROR)
            return
        requests.append(RequestReceived(stream, state.head, state.body))
        state.body = b""

    def _announce(self, *settings: tuple[int, int]) -> None:
        self._announced.append(next(value for name, value in settings if name == MAX_CONCURRENT))
        self._output += frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*setting) for setting in settings))

    def _unpad(self, payload: bytes) -> bytes:
        if not payload or payload[0] >= len(payload):
            raise FatalError(PROTOCOL_ERROR, "padding longer than the frame")
        return payload[1 : len(payload) - payload[0]]
