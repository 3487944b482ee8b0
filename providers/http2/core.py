"""HTTP/2 from the client's side, without I/O (RFC 9113): bytes in, ends of streams out.

It knows what a general client hides and what pushes need: which streams a GOAWAY or a REFUSED_STREAM certainly left
unprocessed, and which may have been processed although no answer came.
"""

import struct
from collections import deque
from collections.abc import Sequence

from providers.http2.exchange import Cause, Kind, TransportFault
from providers.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEAD,
    HEADERS,
    LARGEST,
    MAX_FRAME,
    MOST_STREAMS,
    OUR_STREAM_WINDOW,
    OUR_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    RST_STREAM,
    SETTINGS,
    WINDOW,
    WINDOW_UPDATE,
    Broken,
    Code,
    frame,
    unpadded,
)
from providers.http2.header_block import BadBlock, Encoder, status_of
from providers.http2.streams import BlockReply, Ended, Stream


class Core:
    """One connection. After every call, :meth:`take_output` has what to write."""

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}
        self.ready = False  #: the peer's settings came: only they say how many streams there may be
        self.max_streams = MOST_STREAMS
        self.draining = False  #: no new streams: GOAWAY, or all stream ids used
        self.pings_open = 0
        self.went_away = False
        self.answered = False  #: at least once
        self._encoder = Encoder()
        self._next_id = 1
        self._window = WINDOW
        self._stream_window = WINDOW
        self._max_frame = MAX_FRAME
        self._blocked: deque[Stream] = deque()
        self._received = 0
        self._buffer = b""
        self._head: tuple[int, int, bytearray] | None = None  #: stream, flags, block so far
        settings = struct.pack(">HLHLHL", 1, 0, 2, 0, 4, OUR_STREAM_WINDOW)
        update = struct.pack(">L", OUR_WINDOW - WINDOW)
        self._out = [PREFACE, frame(SETTINGS, 0, 0, settings), frame(WINDOW_UPDATE, 0, 0, update)]

    def room(self, body_bytes: int) -> bool:
        """Whether a request with such a body can leave whole, now."""
        return (
            self.ready
            and not self.draining
            and len(self.streams) < self.max_streams
            and not self._blocked
            and (self._window >= body_bytes or not self.streams)
        )

    def start(self, headers: Sequence[tuple[str, str]], body: bytes, ticket: object) -> Stream:
        """Opens a stream; ask :meth:`room` first. *headers* begin with the pseudo-headers."""
        stream = Stream(self._next_id, ticket, self._stream_window)
        self._next_id += 2
        if self._next_id > LARGEST:
            self.draining = True
        self.streams[stream.id] = stream
        block = self._encoder.encode(headers)
        size, length = len(body), len(block)
        end = 0 if body else END_STREAM
        if length > self._max_frame:
            self._write_long_head(stream.id, end, block)
        else:
            self._out.append(HEAD.pack(length >> 8, length & 0xFF, HEADERS, end | END_HEADERS, stream.id) + block)
        if not body:
            return stream
        if size <= self._window and size <= stream.window and size <= self._max_frame:
            self._window -= size
            stream.window -= size
            self._out.append(HEAD.pack(size >> 8, size & 0xFF, DATA, END_STREAM, stream.id) + body)
        else:
            stream.unsent = body
            self._blocked.append(stream)
            self._send_blocked()
        return stream

    def drop(self, stream: Stream) -> None:
        """Gives up on *stream*: RST_STREAM, and nothing more is heard of it."""
        if self.streams.pop(stream.id, None) is not None:
            self._reset(stream, Code.CANCEL)

    def ping(self) -> None:
        """Asks whether the peer is there; :attr:`pings_open` is 0 again once it is."""
        self.pings_open += 1
        self._out.append(frame(PING, 0, 0, b"pushpath"))

    def go_away(self, code: Code = Code.NO_ERROR) -> None:
        """Says goodbye."""
        self.draining = True
        self._out.append(frame(GOAWAY, 0, 0, struct.pack(">LL", 0, code)))

    def take_output(self) -> bytes:
        """What to write."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def lost(self, cause: Cause, detail: str = "") -> list[Ended]:
        """The connection is gone: every stream without an answer may have been processed."""
        if self.went_away and cause is Cause.LOST:
            cause = Cause.GOAWAY_BELOW
        ended = [Ended(stream, TransportFault(Kind.UNKNOWN, cause, detail)) for stream in self.streams.values()]
        self.streams.clear()
        self._blocked.clear()
        self.draining = True
        return ended

    def receive(self, data: bytes) -> list[Ended]:
        """Eats what came; raises :class:`Broken` (then nothing more may be fed)."""
        if self._buffer:
            data = self._buffer + data
        ended: list[Ended] = []
        at, total = 0, len(data)
        unpack = HEAD.unpack_from
        while total - at >= 9:
            high, low, kind, flags, stream_id = unpack(data, at)
            length = high << 8 | low
            if length > MAX_FRAME:
                raise Broken(Code.FRAME_SIZE_ERROR, "a frame is longer than we allowed")
            end = at + 9 + length
            if end > total:
                break
            payload = data[at + 9 : end]
            at = end
            if self._head is not None and kind != CONTINUATION:
                raise Broken(Code.PROTOCOL_ERROR, "a header block was interrupted")
            if kind == HEADERS:
                self._on_headers(flags, stream_id & LARGEST, payload, ended)
            elif kind == DATA:
                self._on_data(flags, stream_id & LARGEST, payload, ended)
            else:
                self._on_other(kind, flags, stream_id & LARGEST, payload, ended)
        self._buffer = data[at:]
        return ended

    def _on_headers(self, flags: int, stream_id: int, payload: bytes, ended: list[Ended]) -> None:
        if flags & (PADDED | PRIORITIZED):
            payload = unpadded(flags, payload)
            if flags & PRIORITIZED:
                payload = payload[5:]
        if flags & END_HEADERS:
            self._on_block(flags, stream_id, payload, ended)
        else:
            self._head = (stream_id, flags, bytearray(payload))

    def _on_block(self, flags: int, stream_id: int, block: bytes, ended: list[Ended]) -> None:
        stream = self.streams.get(stream_id)
        if stream is None:
            self._check_known(stream_id)
            return
        if not stream.status:  # else these are trailers
            try:
                status = status_of(block)
            except BadBlock as fault:
                raise Broken(Code.COMPRESSION_ERROR, str(fault)) from None
            if status >= 200:
                stream.status, stream.block = status, block
        if flags & END_STREAM:
            self._finish(stream, ended)

    def _on_data(self, flags: int, stream_id: int, payload: bytes, ended: list[Ended]) -> None:
        self._received += len(payload)
        if self._received >= OUR_WINDOW // 2:
            self._out.append(frame(WINDOW_UPDATE, 0, 0, struct.pack(">L", self._received)))
            self._received = 0
        stream = self.streams.get(stream_id)
        if stream is None:
            self._check_known(stream_id)
            return
        if flags & PADDED:
            payload = unpadded(flags, payload)
        if payload:
            stream.size += len(payload)
            stream.body.append(payload)
            if stream.size > OUR_STREAM_WINDOW:
                raise Broken(Code.FLOW_CONTROL_ERROR, "more data than the stream's window")
        if flags & END_STREAM:
            self._finish(stream, ended)

    def _on_other(self, kind: int, flags: int, stream_id: int, payload: bytes, ended: list[Ended]) -> None:
        match kind:
            case 9:
                self._on_continuation(flags, stream_id, payload, ended)
            case 8:
                self._on_window_update(stream_id, payload, ended)
            case 6:
                self._on_ping(flags, payload)
            case 4:
                self._on_settings(flags, payload)
            case 3:
                self._on_reset(stream_id, payload, ended)
            case 7:
                self._on_go_away(payload, ended)
            case 5:
                raise Broken(Code.PROTOCOL_ERROR, "a push although we forbade them")
            case _:
                pass  # PRIORITY and unknown kinds are ignored (RFC 9113, 5.5)

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes, ended: list[Ended]) -> None:
        if self._head is None or self._head[0] != stream_id:
            raise Broken(Code.PROTOCOL_ERROR, "a continuation of nothing")
        _, first_flags, block = self._head
        block += payload
        if len(block) > 65_536:
            raise Broken(Code.PROTOCOL_ERROR, "a header block without end")
        if flags & END_HEADERS:
            self._head = None
            self._on_block(first_flags, stream_id, bytes(block), ended)

    def _on_window_update(self, stream_id: int, payload: bytes, ended: list[Ended]) -> None:
        if len(payload) != 4:
            raise Broken(Code.FRAME_SIZE_ERROR, "a window update of a wrong size")
        more = int.from_bytes(payload, "big") & LARGEST
        if not stream_id:
            self._window += more
            if not more or self._window > LARGEST:
                raise Broken(Code.FLOW_CONTROL_ERROR, "a window beyond its bounds")
        elif (stream := self.streams.get(stream_id)) is not None:
            stream.window += more
            if not more or stream.window > LARGEST:
                del self.streams[stream_id]
                self._reset(stream, Code.FLOW_CONTROL_ERROR)
                ended.append(Ended(stream, TransportFault(Kind.UNKNOWN, Cause.PROTOCOL, "a window beyond its bounds")))
        self._send_blocked()

    def _on_ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise Broken(Code.FRAME_SIZE_ERROR, "a ping of a wrong size")
        if flags & ACK:
            self.pings_open = 0
        else:
            self._out.append(frame(PING, ACK, 0, payload))

    def _on_settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            return
        if len(payload) % 6:
            raise Broken(Code.FRAME_SIZE_ERROR, "settings of a wrong size")
        for setting, value in struct.iter_unpack(">HL", payload):
            if setting == 1:
                self._encoder.limit(value)
            elif setting == 3:
                self.max_streams = min(value, MOST_STREAMS)
            elif setting == 4:
                if value > LARGEST:
                    raise Broken(Code.FLOW_CONTROL_ERROR, "a window beyond its bounds")
                for stream in self.streams.values():
                    stream.window += value - self._stream_window
                self._stream_window = value
            elif setting == 5:
                if not MAX_FRAME <= value < 1 << 24:
                    raise Broken(Code.PROTOCOL_ERROR, "a frame size beyond its bounds")
                self._max_frame = min(value, 1 << 16)
        self.ready = True
        self._out.append(frame(SETTINGS, ACK, 0))
        self._send_blocked()

    def _on_reset(self, stream_id: int, payload: bytes, ended: list[Ended]) -> None:
        if len(payload) != 4:
            raise Broken(Code.FRAME_SIZE_ERROR, "a reset of a wrong size")
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            self._check_known(stream_id)
            return
        self._unblock(stream)
        if int.from_bytes(payload, "big") == Code.REFUSED_STREAM and not stream.status:
            fault = TransportFault(Kind.NEVER_SENT, Cause.REFUSED)
        else:
            fault = TransportFault(Kind.UNKNOWN, Cause.RESET)
        ended.append(Ended(stream, fault))

    def _on_go_away(self, payload: bytes, ended: list[Ended]) -> None:
        if len(payload) < 8:
            raise Broken(Code.FRAME_SIZE_ERROR, "a goodbye of a wrong size")
        last = int.from_bytes(payload[:4], "big") & LARGEST
        self.draining = True
        self.went_away = True
        for stream in [found for found in self.streams.values() if found.id > last]:
            del self.streams[stream.id]
            self._unblock(stream)
            ended.append(Ended(stream, TransportFault(Kind.NEVER_SENT, Cause.GOAWAY_ABOVE)))

    def _finish(self, stream: Stream, ended: list[Ended]) -> None:
        del self.streams[stream.id]
        if stream.unsent:
            self._reset(stream, Code.CANCEL)  # answered before all of the request was read
        if not stream.status:
            ended.append(Ended(stream, TransportFault(Kind.UNKNOWN, Cause.PROTOCOL, "an end without an answer")))
            return
        self.answered = True
        ended.append(Ended(stream, BlockReply(stream.status, stream.block, b"".join(stream.body))))

    def _reset(self, stream: Stream, code: Code) -> None:
        self._unblock(stream)
        self._out.append(frame(RST_STREAM, 0, stream.id, struct.pack(">L", code)))

    def _unblock(self, stream: Stream) -> None:
        if stream.unsent:
            stream.unsent = b""
            self._blocked = deque(found for found in self._blocked if found is not stream)

    def _send_blocked(self) -> None:
        for _ in range(len(self._blocked)):
            stream = self._blocked.popleft()
            while stream.unsent and (size := min(len(stream.unsent), self._window, stream.window, self._max_frame)) > 0:
                piece, stream.unsent = stream.unsent[:size], stream.unsent[size:]
                self._window -= size
                stream.window -= size
                self._out.append(frame(DATA, 0 if stream.unsent else END_STREAM, stream.id, piece))
            if stream.unsent:
                self._blocked.append(stream)

    def _write_long_head(self, stream_id: int, end: int, block: bytes) -> None:
        pieces = [block[at : at + self._max_frame] for at in range(0, len(block), self._max_frame)]
        self._out.append(frame(HEADERS, end, stream_id, pieces[0]))
        for piece in pieces[1:-1]:
            self._out.append(frame(CONTINUATION, 0, stream_id, piece))
        self._out.append(frame(CONTINUATION, END_HEADERS, stream_id, pieces[-1]))

    def _check_known(self, stream_id: int) -> None:
        """Frames of a stream that is over may still be on their way; others were never opened by us."""
        if stream_id >= self._next_id or not stream_id & 1:
            raise Broken(Code.PROTOCOL_ERROR, "a frame of a stream that never was")
