"""The server side of HTTP/2 without I/O (RFC 9113): bytes in, whole requests out, answers queued as bytes.

Written for speed, because a general-purpose state machine takes most of a core at a few thousand requests a second;
the ``h2`` library, curl and aioapns judge it in the tests. Server push, CONNECT and upgrades are not offered.
"""

from struct import Struct
from typing import NamedTuple

from hpack import Decoder
from hpack.exceptions import HPACKError

from providers.sandbox.wire.exchange import Header
from providers.sandbox.wire.fields import MalformedError, RequestHead, read_head
from providers.sandbox.wire.head import encode_head

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_BODY = 256 * 1024
MAX_HEADER_BLOCK = 32 * 1024
DEFAULT_WINDOW = 65_535
MAX_WINDOW = 2**31 - 1
MAX_FRAME = 16_384

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, MAX_CONCURRENT, INITIAL_WINDOW, MAX_FRAME_SIZE, MAX_HEADER_LIST = 1, 3, 4, 5, 6
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED = 0, 1, 2, 3, 5
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 6, 7, 8, 9

_FRAME = Struct(">HBBBL")  # length (24 bits in two fields), type, flags, stream
_LONG = Struct(">L")
_SETTING = Struct(">HL")
_TWO_LONGS = Struct(">LL")


class RequestReceived(NamedTuple):
    """A request whose last byte is here."""

    stream: int
    head: RequestHead
    body: bytes


class FatalError(Exception):
    """The connection cannot go on; *code* is what GOAWAY says."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class _Stream:
    __slots__ = ("body", "ended", "head", "pending", "send_window", "unreported")

    def __init__(self, head: RequestHead, send_window: int) -> None:
        self.head = head
        self.body = b""
        self.ended = False
        self.unreported = 0  #: bytes received since the last WINDOW_UPDATE
        self.send_window = send_window
        self.pending: bytes | None = None  #: answer bytes that wait for the client's window


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame, header and payload."""
    size = len(payload)
    return _FRAME.pack(size >> 8, size & 255, kind, flags, stream) + payload


class Http2Core:
    """One connection. ``receive`` eats bytes, ``take_output`` gives what must be written; nothing is awaited."""

    def __init__(self, streams: int, window: int = 1 << 20) -> None:
        self.closed = False  #: nothing more is read; write the output and close
        self.last_allowed: int | None = None  #: our GOAWAY's last stream
        self._decoder = Decoder(max_header_list_size=MAX_HEADER_BLOCK)
        self._buffer = bytearray()
        self._output = bytearray()
        self._preface_seen = False
        self._settings_seen = False
        self._streams: dict[int, _Stream] = {}
        self._blocked: dict[int, _Stream] = {}
        self._highest = 0
        self._limit = MAX_WINDOW  # what we announce binds the client only once it acknowledged it
        self._announced: list[int] = []
        self._block: tuple[int, int, bytearray] | None = None  # stream, flags, header block so far
        self._peer_window = DEFAULT_WINDOW
        self._peer_frame = MAX_FRAME
        self._send_window = DEFAULT_WINDOW
        self._window = max(window, DEFAULT_WINDOW)
        self._receive_window = self._window
        self._announce((MAX_CONCURRENT, streams), (MAX_HEADER_LIST, MAX_HEADER_BLOCK))
        if self._window > DEFAULT_WINDOW:
            self._output += frame(WINDOW_UPDATE, 0, 0, _LONG.pack(self._window - DEFAULT_WINDOW))

    # -- what the owner asks for ------------------------------------------------------------------------------

    def take_output(self) -> bytes:
        """Bytes to write now; empty when there are none."""
        if not self._output:
            return b""
        data = bytes(self._output)
        self._output.clear()
        return data

    def is_open(self, stream: int) -> bool:
        """Whether *stream* still waits for (the rest of) its answer."""
        return stream in self._streams

    def allow_streams(self, count: int) -> None:
        """Announce a new number of concurrent streams. A higher one holds at once, a lower one when acknowledged."""
        self._announce((MAX_CONCURRENT, count))
        self._limit = max(self._limit, count)

    def respond(self, stream: int, status: int, headers: tuple[Header, ...], body: bytes, pieces: int = 1) -> bool:
        """Queue a whole answer, its body in *pieces* DATA frames. False: the stream is gone."""
        state = self._streams.get(stream)
        if state is None:
            return False
        block = encode_head(status, headers)
        size = len(block)
        flags = END_HEADERS if body else END_HEADERS | END_STREAM
        self._output += _FRAME.pack(size >> 8, size & 255, HEADERS, flags, stream) + block
        if not body:
            del self._streams[stream]
        elif pieces > 1 and 1 < len(body) <= min(state.send_window, self._send_window, self._peer_frame):
            half = len(body) // 2
            self._output += frame(DATA, 0, stream, body[:half])
            self._spend(state, half)
            self._send(stream, state, body[half:])
        else:
            self._send(stream, state, body)
        return True

    def begin(self, stream: int, status: int, headers: tuple[Header, ...], part: bytes) -> bool:
        """Queue an answer that never ends: headers and a first *part* of the body. False: the stream is gone."""
        state = self._streams.get(stream)
        if state is None:
            return False
        self._output += frame(HEADERS, END_HEADERS, stream, encode_head(status, headers))
        if part:
            self._output += frame(DATA, 0, stream, part)
            self._spend(state, len(part))
        return True

    def reset(self, stream: int, code: int = INTERNAL_ERROR) -> None:
        """RST_STREAM, and forget the stream."""
        self._forget(stream)
        self._output += frame(RST_STREAM, 0, stream, _LONG.pack(code))

    def go_away(self, last_stream: int, code: int = NO_ERROR, detail: bytes = b"") -> None:
        """GOAWAY: streams above *last_stream* are still parsed and returned, for the owner to ignore."""
        self.last_allowed = last_stream
        self._output += frame(GOAWAY, 0, 0, _TWO_LONGS.pack(last_stream, code) + detail)

    def open_below(self, last_stream: int) -> bool:
        """Whether a stream up to *last_stream* still waits for an answer."""
        return any(stream <= last_stream for stream in self._streams)

    # -- what the client sends --------------------------------------------------------------------------------

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
            high, low, kind, flags, stream = _FRAME.unpack_from(buffer, position)
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
        for name, value in _SETTING.iter_unpack(payload):
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
        gain = _LONG.unpack(payload)[0] & MAX_WINDOW
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
            fields = self._decoder.decode(block, raw=True)
        except HPACKError as error:
            raise FatalError(COMPRESSION_ERROR, type(error).__name__) from error
        state = self._streams.get(stream)
        if state is not None:
            self._on_trailers(stream, state, flags, requests)
            return
        if stream <= self._highest:
            self._output += frame(RST_STREAM, 0, stream, _LONG.pack(STREAM_CLOSED))
            return
        self._highest = stream
        if len(self._streams) >= self._limit:
            self._output += frame(RST_STREAM, 0, stream, _LONG.pack(REFUSED_STREAM))
            return
        try:
            head = read_head(fields)
        except MalformedError:
            self._output += frame(RST_STREAM, 0, stream, _LONG.pack(PROTOCOL_ERROR))
            return
        state = self._streams[stream] = _Stream(head, self._peer_window)
        if flags & END_STREAM:
            self._complete(stream, state, requests)

    def _on_trailers(self, stream: int, state: _Stream, flags: int, requests: list[RequestReceived]) -> None:
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
            self._output += frame(WINDOW_UPDATE, 0, 0, _LONG.pack(self._window - self._receive_window))
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
            self._output += frame(WINDOW_UPDATE, 0, stream, _LONG.pack(state.unreported))
            state.unreported = 0

    def _complete(self, stream: int, state: _Stream, requests: list[RequestReceived]) -> None:
        state.ended = True
        if state.head.content_length not in (None, len(state.body)):
            self.reset(stream, PROTOCOL_ERROR)
            return
        requests.append(RequestReceived(stream, state.head, state.body))
        state.body = b""

    # -- writing within the client's windows ------------------------------------------------------------------

    def _send(self, stream: int, state: _Stream, body: bytes) -> None:
        size = len(body)
        if size <= state.send_window and size <= self._send_window and size <= self._peer_frame:
            self._send_window -= size
            self._output += frame(DATA, END_STREAM, stream, body)
            del self._streams[stream]
            return
        room = min(state.send_window, self._send_window)
        while body and room > 0:
            part, body = body[: min(room, self._peer_frame)], body[min(room, self._peer_frame) :]
            self._output += frame(DATA, 0 if body else END_STREAM, stream, part)
            self._spend(state, len(part))
            room -= len(part)
        if body:
            state.pending = body
            self._blocked[stream] = state
        else:
            del self._streams[stream]

    def _spend(self, state: _Stream, size: int) -> None:
        state.send_window -= size
        self._send_window -= size

    def _unblock(self) -> None:
        for stream, state in list(self._blocked.items()):
            if self._send_window <= 0:
                return
            body, state.pending = state.pending, None
            del self._blocked[stream]
            self._send(stream, state, body or b"")

    def _forget(self, stream: int) -> None:
        self._streams.pop(stream, None)
        self._blocked.pop(stream, None)

    def _announce(self, *settings: tuple[int, int]) -> None:
        self._announced.append(next(value for name, value in settings if name == MAX_CONCURRENT))
        self._output += frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*setting) for setting in settings))

    def _unpad(self, payload: bytes) -> bytes:
        if not payload or payload[0] >= len(payload):
            raise FatalError(PROTOCOL_ERROR, "padding longer than the frame")
        return payload[1 : len(payload) - payload[0]]
