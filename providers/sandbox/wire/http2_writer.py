"""The writing half of an HTTP/2 connection: answers within the client's windows (RFC 9113 section 5.2)."""

from providers.sandbox.wire.exchange import Header
from providers.sandbox.wire.fields import RequestHead
from providers.sandbox.wire.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME,
    GOAWAY,
    HEADERS,
    INTERNAL_ERROR,
    LONG,
    MAX_FRAME,
    NO_ERROR,
    RST_STREAM,
    TWO_LONGS,
    frame,
)
from providers.sandbox.wire.head import encode_head


class Stream:
    """A request under way, or its answer."""

    __slots__ = ("body", "ended", "head", "pending", "send_window", "unreported")

    def __init__(self, head: RequestHead, send_window: int) -> None:
        self.head = head
        self.body = b""
        self.ended = False
        self.unreported = 0  #: bytes received since the last WINDOW_UPDATE
        self.send_window = send_window
        self.pending: bytes | None = None  #: answer bytes that wait for the client's window


class AnswerWriter:
    """Queues frames; ``take_output`` gives what must be written."""

    def __init__(self) -> None:
        self.last_allowed: int | None = None  #: our GOAWAY's last stream
        self._output = bytearray()
        self._streams: dict[int, Stream] = {}
        self._blocked: dict[int, Stream] = {}
        self._peer_window = DEFAULT_WINDOW
        self._peer_frame = MAX_FRAME
        self._send_window = DEFAULT_WINDOW

    def take_output(self) -> bytes:
        """Bytes to write now; empty when there are none."""
        if not self._output:
            return b""
        data = bytes(self._output)
        self._output.clear()
        return data

    def respond(self, stream: int, status: int, headers: tuple[Header, ...], body: bytes, pieces: int = 1) -> bool:
        """Queue a whole answer, its body in *pieces* DATA frames. False: the stream is gone."""
        state = self._streams.get(stream)
        if state is None:
            return False
        block = encode_head(status, headers)
        size = len(block)
        flags = END_HEADERS if body else END_HEADERS | END_STREAM
        self._output += FRAME.pack(size >> 8, size & 255, HEADERS, flags, stream) + block
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
        self._output += frame(RST_STREAM, 0, stream, LONG.pack(code))

    def go_away(self, last_stream: int, code: int = NO_ERROR, detail: bytes = b"") -> None:
        """GOAWAY: streams above *last_stream* are still parsed and returned, for the owner to ignore."""
        self.last_allowed = last_stream
        self._output += frame(GOAWAY, 0, 0, TWO_LONGS.pack(last_stream, code) + detail)

    def open_below(self, last_stream: int) -> bool:
        """Whether a stream up to *last_stream* still waits for an answer."""
        return any(stream <= last_stream for stream in self._streams)

    def _send(self, stream: int, state: Stream, body: bytes) -> None:
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

    def _spend(self, state: Stream, size: int) -> None:
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
