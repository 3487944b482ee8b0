"""The header list of an HTTP/2 request, checked (RFC 9113 sections 8.2 and 8.3)."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from providers.sandbox.wire.exchange import Header

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_CONNECTION_ONLY = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_USUAL = frozenset(
    b"accept accept-encoding apns-collapse-id apns-expiration apns-id apns-priority apns-push-type apns-topic "
    b"authorization content-type host user-agent".split()
)
"""Names that need no look at their letters."""


class MalformedError(Exception):
    """A stream error of type PROTOCOL_ERROR."""


class RequestHead(NamedTuple):
    """*headers* are the regular ones in order; a missing Host is filled from ``:authority``."""

    method: str
    path: str
    headers: list[Header]
    content_length: int | None


def _check(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name) or name in _CONNECTION_ONLY:
        raise MalformedError
    if name == b"te" and value != b"trailers":
        raise MalformedError


def read_head(fields: Iterable[Header]) -> RequestHead:
    """Split pseudo-headers from the rest; MalformedError where the RFC calls the request malformed."""
    pseudo: dict[bytes, bytes] = {}
    headers: list[Header] = []
    length: int | None = None
    has_host = False
    for header in fields:
        name, value = header
        if name[:1] == b":":
            if headers or name in pseudo or name not in _PSEUDO:
                raise MalformedError
            pseudo[name] = value
            continue
        if name not in _USUAL:
            _check(name, value)
            if name == b"content-length":
                length = _length(value, length)
        elif name == b"host":
            has_host = True
        headers.append(header)  # the table's own tuple: the request log keeps it
    try:
        method, path = pseudo[b":method"].decode("ascii"), pseudo[b":path"].decode("ascii")
        pseudo[b":scheme"]
    except (KeyError, UnicodeDecodeError):
        raise MalformedError from None
    if not path:
        raise MalformedError
    authority = pseudo.get(b":authority")
    if authority is not None and not has_host:
        headers.append((b"host", authority))
    return RequestHead(method, path, headers, length)


def _length(value: bytes, before: int | None) -> int:
    if not value.isdigit() or before not in (None, int(value)):
        raise MalformedError
    return int(value)
