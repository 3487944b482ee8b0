"""WebSocket framing without I/O (RFC 6455, 5): bytes in, events out; and frames out.

An event is a pair ``(opcode, payload)``: whole text and binary messages, pings, pongs, and the peer's close. A fault
ends the stream with ``(FAULT, payload)``, whose payload is what our close frame has to carry. No extensions: reserved
bits are a fault (5.2). Between messages a reader holds nothing.
"""

import codecs
from collections.abc import Callable
from struct import Struct as Layout
from typing import Final

from dispatcher.protocol.close_codes import CloseCode, may_be_received

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
FAULT: Final = 0x10  #: not on the wire: the stream broke the protocol

WireEvent = tuple[int, bytes]

_utf8 = codecs.getincrementaldecoder("utf-8")
_short = Layout("!BBH").pack
_long = Layout("!BBQ").pack


class _Fault(Exception):
    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.payload = close_payload(code, reason)


def apply_mask(payload: bytes, mask: bytes) -> bytes:
    """Masks or unmasks (5.3), as one long XOR."""
    size = len(payload)
    key = (mask * (size + 3 >> 2))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def encode_frame(opcode: int, payload: bytes, mask: bytes | None = None, *, fin: bool = True) -> bytes:
    """One frame. Clients give four random bytes as *mask*, servers none."""
    size = len(payload)
    first = opcode | 0x80 if fin else opcode
    flag = 0 if mask is None else 0x80
    if size < 126:
        head = bytes((first, flag | size))
    elif size < 65_536:
        head = _short(first, flag | 126, size)
    else:
        head = _long(first, flag | 127, size)
    return head + payload if mask is None else b"%b%b%b" % (head, mask, apply_mask(payload, mask))


def close_payload(code: int, reason: str = "") -> bytes:
    """The payload of a close frame (5.5.1); the reason is cut to the 123 bytes that fit, at a character's edge."""
    return code.to_bytes(2, "big") + reason.encode()[:123].decode(errors="ignore").encode()


def read_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a close event's payload; 1005 where it was empty."""
    if not payload:
        return CloseCode.NO_CODE, ""
    return int.from_bytes(payload[:2], "big"), payload[2:].decode(errors="replace")


def whole_text(data: bytes, limit: int) -> bytes | None:
    """The payload where *data* is one whole masked ASCII text message, nothing before and nothing behind it.

    Nearly all that a device ever sends is: such bytes need no reader. None for everything else, right or wrong.
    """
    if len(data) < 7 or data[0] != 0x81:
        return None
    size = data[1] - 0x80
    start = 6
    if size >= 126:
        size = data[2] << 8 | data[3] if size == 126 else 0
        start = 8 if size >= 126 else 1  # a length not in its shortest form never fits below
    if not 0 < size <= limit or len(data) != size + start:
        return None
    key = (data[start - 4 : start] * (size + 3 >> 2))[:size]
    payload = (int.from_bytes(data[start:], "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")
    return payload if payload.isascii() else None


class FrameReader:
    """Reads one direction of one connection. *masked*: whether the peer has to mask (clients must, servers must not).

    *limit*: bytes of a whole message; more is a fault 1009, known from the header before the payload arrives.
    """

    __slots__ = ("_kind", "_limit", "_masked", "_need", "_parts", "_tail", "_text")

    def __init__(self, *, masked: bool, limit: int) -> None:
        self._masked = masked
        self._limit = limit
        self._tail: bytearray | None = None  # an unfinished frame
        self._need = 0  # bytes until a parse is worth another try
        self._kind = -1  # opcode of the unfinished message, -1: none, -2: ended
        self._parts: bytearray | None = None  # its fragments so far
        self._text: Callable[[bytes, bool], str] | None = None  # its UTF-8 check

    @property
    def idle(self) -> bool:
        """Whether it stands between messages and holds nothing: then another reader may go on."""
        return self._kind == -1 and self._tail is None

    def feed(self, data: bytes) -> list[WireEvent]:
        """Events in *data* and what was left before. After a close or a fault nothing more comes."""
        tail = self._tail
        if self._kind == -2:
            return []
        if tail is not None:
            tail += data
            if len(tail) < self._need:
                return []
            data = bytes(tail)
            self._tail = None
        events: list[WireEvent] = []
        try:
            used = self._read(data, events)
        except _Fault as fault:
            self._end()
            events.append((FAULT, fault.payload))
            return events
        if used < len(data) and self._kind != -2:
            self._tail = bytearray(data[used:] if used else data)
        return events

    def _end(self) -> None:
        self._kind = -2
        self._tail = self._parts = self._text = None

    def _read(self, data: bytes, events: list[WireEvent]) -> int:
        pos = 0
        have = len(data)
        while have - pos >= 2:
            first = data[pos]
            second = data[pos + 1]
            size = second & 0x7F
            opcode = first & 0x0F
            self._check_head(first, opcode, size, second >> 7)
            start = pos + 2
            if size >= 126:
                start += 2 if size == 126 else 8
                if have < start:
                    self._need = start - pos
                    return pos
                size = int.from_bytes(data[pos + 2 : start], "big")
                self._check_length(size, start - pos)
            room = self._limit - (len(self._parts) if self._parts is not None and opcode == CONTINUATION else 0)
            if size > room:
                raise _Fault(CloseCode.TOO_BIG, f"a message may have at most {self._limit} bytes")
            end = start + size + (4 if self._masked else 0)
            if have < end:
                self._need = end - pos
                return pos
            payload = data[start:end]
            if self._masked:
                payload = apply_mask(payload[4:], payload[:4])
            pos = end
            self._take(opcode, payload, first >= 0x80, events)
            if self._kind == -2:
                return have
        self._need = 2
        return pos

    def _check_head(self, first: int, opcode: int, size: int, masked: int) -> None:
        if first & 0x70:
            raise _Fault(CloseCode.PROTOCOL_FAULT, "reserved bits are set")
        if masked != self._masked:
            raise _Fault(CloseCode.PROTOCOL_FAULT, "a client must mask its frames, a server must not")
        if opcode >= CLOSE:
            if opcode > PONG:
                raise _Fault(CloseCode.PROTOCOL_FAULT, "unknown opcode")
            if size > 125 or first < 0x80:
                raise _Fault(CloseCode.PROTOCOL_FAULT, "a control frame is short and whole")
        elif opcode == CONTINUATION:
            if self._kind < 0:
                raise _Fault(CloseCode.PROTOCOL_FAULT, "a continuation of nothing")
        elif opcode > BINARY:
            raise _Fault(CloseCode.PROTOCOL_FAULT, "unknown opcode")
        elif self._kind >= 0:
            raise _Fault(CloseCode.PROTOCOL_FAULT, "a new message inside a fragmented one")

    def _check_length(self, size: int, head: int) -> None:
        if size >= 1 << 63:
            raise _Fault(CloseCode.PROTOCOL_FAULT, "the length's top bit is set")
        if size < (126 if head == 4 else 65_536):
            raise _Fault(CloseCode.PROTOCOL_FAULT, "the length is not in its shortest form")

    def _take(self, opcode: int, payload: bytes, fin: bool, events: list[WireEvent]) -> None:
        if fin and opcode in (TEXT, BINARY):
            if opcode == TEXT and not payload.isascii():
                self._check_text(_utf8().decode, payload, True)
            events.append((opcode, payload))
        elif opcode == CLOSE:
            self._take_close(payload, events)
        elif opcode > CLOSE:
            events.append((opcode, payload))
        else:
            self._take_fragment(opcode, payload, fin, events)

    def _take_fragment(self, opcode: int, payload: bytes, fin: bool, events: list[WireEvent]) -> None:
        if opcode != CONTINUATION:
            self._kind = opcode
            self._parts = bytearray()
            self._text = _utf8().decode if opcode == TEXT else None
        if self._text is not None:
            self._check_text(self._text, payload, fin)
        if self._parts is None:  # pragma: no cover - the head was checked
            return
        self._parts += payload
        if fin:
            events.append((self._kind, bytes(self._parts)))
            self._kind = -1
            self._parts = self._text = None

    def _take_close(self, payload: bytes, events: list[WireEvent]) -> None:
        if len(payload) == 1:
            raise _Fault(CloseCode.PROTOCOL_FAULT, "half a close code")
        if payload:
            code = int.from_bytes(payload[:2], "big")
            if not may_be_received(code):
                raise _Fault(CloseCode.PROTOCOL_FAULT, "a close code that may not be sent")
            self._check_text(_utf8().decode, payload[2:], True)
        self._end()
        events.append((CLOSE, payload))

    @staticmethod
    def _check_text(decode: Callable[[bytes, bool], str], payload: bytes, final: bool) -> None:
        try:
            decode(payload, final)
        except UnicodeDecodeError:
            raise _Fault(CloseCode.BAD_UTF8, "text that is no UTF-8") from None
