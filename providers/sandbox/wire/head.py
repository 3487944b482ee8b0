"""HPACK for answers: stateless, so that no encoder table has to agree with the client's (RFC 7541)."""

from collections.abc import Iterable

from providers.sandbox.wire.exchange import Header

# RFC 7541 appendix A: statuses that are one byte, and the names that our answers use.
_INDEXED_STATUS = {200: 8, 204: 9, 206: 10, 304: 11, 400: 12, 404: 13, 500: 14}
_STATUS_NAME = 8
_INDEXED_NAMES = {b"allow": 22, b"content-length": 28, b"content-type": 31, b"date": 33, b"retry-after": 53}


def _integer(value: int, prefix_bits: int, first: int) -> bytes:
    """RFC 7541 section 5.1."""
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes((first | value,))
    out = bytearray((first | most,))
    value -= most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _literal_name(name: bytes) -> bytes:
    index = _INDEXED_NAMES.get(name)
    if index is not None:
        return _integer(index, 4, 0)
    return b"\x00" + _integer(len(name), 7, 0) + name


_STATUSES = {status: bytes((0x80 | index,)) for status, index in _INDEXED_STATUS.items()}
_NAMES: dict[bytes, bytes] = {}


def encode_head(status: int, headers: Iterable[Header]) -> bytes:
    """One header block: status first, then *headers* as literals without indexing (section 6.2.2)."""
    first = _STATUSES.get(status)
    if first is None:
        first = _STATUSES[status] = _integer(_STATUS_NAME, 4, 0) + b"\x03%d" % status
    block = first
    for name, value in headers:
        known = _NAMES.get(name)
        if known is None:
            known = _NAMES[name] = _literal_name(name)
        size = len(value)
        block += known + (bytes((size,)) if size < 127 else _integer(size, 7, 0)) + value
    return block
