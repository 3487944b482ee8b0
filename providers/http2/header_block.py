"""HPACK for requests of few shapes (RFC 7541): constants indexed once, ids and tokens as plain literals.

What peers send us needs no state: our settings give them a dynamic table of size 0, so every block of theirs stands
alone, and only those that someone reads are decoded.
"""

from collections import deque
from collections.abc import Iterable, Mapping

from hpack import Decoder, HPACKError

#: Headers that hardly change on one connection; all others would only wear the table out.
INDEXED = frozenset(
    {":authority", "authorization", "apns-topic", "apns-push-type", "apns-priority", "content-type", "user-agent"}
)
_STATIC_NAMES: Mapping[str, int] = {
    ":authority": 1,
    ":path": 4,
    "accept": 19,
    "authorization": 23,
    "content-length": 28,
    "content-type": 31,
    "user-agent": 58,
}
_STATIC: Mapping[tuple[str, str], bytes] = {
    (":method", "GET"): b"\x82",
    (":method", "POST"): b"\x83",
    (":path", "/"): b"\x84",
    (":scheme", "http"): b"\x86",
    (":scheme", "https"): b"\x87",
}
#: First byte of a block that says all about the status (RFC 7541, appendix A).
STATUS_BYTES: Mapping[int, int] = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
_FIRST_DYNAMIC = 62
_ENTRY_COST = 32
TABLE_BYTES = 4096


class BadBlock(ValueError):
    """No HPACK, or one that needs a dynamic table we did not grant."""


def integer(value: int, prefix_bits: int, pattern: int) -> bytes:
    """RFC 7541, 5.1."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes((pattern | value,))
    encoded = bytearray((pattern | limit,))
    value -= limit
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _text(value: bytes) -> bytes:
    length = len(value)
    return (bytes((length,)) if length < 0x7F else integer(length, 7, 0)) + value


class Encoder:
    """The sending side of one connection."""

    __slots__ = ("_entries", "_inserted", "_names", "_shrink", "_size", "_table", "_used")

    def __init__(self) -> None:
        self._table: dict[tuple[str, str], int] = {}  #: header to the number of its insertion
        self._entries: deque[tuple[tuple[str, str], int]] = deque()
        self._inserted = 0
        self._used = 0
        self._size = TABLE_BYTES
        self._shrink = False
        self._names: dict[str, bytes] = {}

    def limit(self, size: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE. Below ours, we stop indexing: the next block says so."""
        if size < self._size:
            self._size = 0
            self._used = 0
            self._table.clear()
            self._entries.clear()
            self._shrink = True

    def encode(self, headers: Iterable[tuple[str, str]]) -> bytes:
        """One header block. Pseudo-headers first, names in lower case."""
        parts: list[bytes] = []
        if self._shrink:
            parts.append(b"\x20")
            self._shrink = False
        table = self._table
        for header in headers:
            number = table.get(header)
            if number is not None:
                index = _FIRST_DYNAMIC + self._inserted - 1 - number
                parts.append(bytes((0x80 | index,)) if index < 0x7F else integer(index, 7, 0x80))
                continue
            static = _STATIC.get(header)
            if static is not None:
                parts.append(static)
                continue
            name, text = header
            value = text.encode()
            if name in INDEXED and self._insert(header, len(value)):
                parts += (self._name(name, 6, 0x40), _text(value))
            else:
                parts += (self._names.get(name) or self._name(name, 4, 0x00), _text(value))
        return b"".join(parts)

    def _name(self, name: str, prefix_bits: int, pattern: int) -> bytes:
        index = _STATIC_NAMES.get(name)
        if index is not None:
            encoded = integer(index, prefix_bits, pattern)
        else:
            encoded = bytes((pattern,)) + _text(name.encode())
        if not pattern:
            self._names[name] = encoded
        return encoded

    def _insert(self, header: tuple[str, str], value_bytes: int) -> bool:
        cost = len(header[0]) + value_bytes + _ENTRY_COST
        if cost > self._size:
            return False
        while self._used + cost > self._size:
            oldest, oldest_cost = self._entries.popleft()
            del self._table[oldest]
            self._used -= oldest_cost
        self._entries.append((header, cost))
        self._table[header] = self._inserted
        self._inserted += 1
        self._used += cost
        return True


def decode(block: bytes) -> list[tuple[bytes, bytes]]:
    """A whole block of a peer that has no dynamic table; raises :class:`BadBlock`."""
    decoder = Decoder(max_header_list_size=65_536)
    decoder.max_allowed_table_size = 0
    try:
        fields = decoder.decode(b"\x20" + block, raw=True)
    except HPACKError as fault:
        raise BadBlock(str(fault)) from None
    return [(bytes(name), bytes(value)) for name, value in fields]


def status_of(block: bytes) -> int:
    """The ``:status`` of a block; decodes only the unusual ones. Raises :class:`BadBlock`."""
    at = 0
    while at < len(block) and block[at] == 0x20:
        at += 1
    status = STATUS_BYTES.get(block[at]) if at < len(block) else None
    if status is not None:
        return status
    for name, value in decode(block):
        if name == b":status" and len(value) == 3 and value.isdigit():
            return int(value)
    raise BadBlock("an answer without a status")
