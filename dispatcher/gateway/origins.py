"""Cross-origin polls (https://fetch.spec.whatwg.org/#http-cors-protocol): which pages' scripts may read the answers.

As at the API: callers authenticate by a header that only they set, never by cookies, so nothing is told of credentials,
and an origin that is not listed simply gets no word of permission. The WebSocket needs none of it. No answer of the
gateway is ever cached (``no-store``), so caches need not be told that answers differ by origin.
"""

from collections.abc import Iterable, Mapping
from typing import Final

ANY: Final = "*"
_ASKED: Final = (
    "Access-Control-Allow-Methods: GET\r\n"
    "Access-Control-Allow-Headers: authorization\r\n"
    "Access-Control-Max-Age: 7200\r\n"
)


class Origins:
    """The origins that are let in; ``*`` stands for any."""

    __slots__ = ("_any", "_listed")

    def __init__(self, origins: Iterable[str]) -> None:
        self._listed = frozenset(origin.rstrip("/") for origin in origins)
        self._any = ANY in self._listed

    def permission(self, fields: Mapping[str, str]) -> bytes:
        """The header lines that every answer to a request with these *fields* carries, empty for none."""
        origin = fields.get("origin")
        if origin is None or not (self._any or origin in self._listed):
            return b""
        return (
            f"Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Expose-Headers: retry-after\r\nVary: origin\r\n"
        ).encode("latin-1")


def asks_first(fields: Mapping[str, str]) -> bool:
    """Whether an OPTIONS request is a browser's question before it calls."""
    return "access-control-request-method" in fields and "origin" in fields


def preflight(permission: bytes, *, keep_alive: bool) -> bytes:
    """The answer to such a question, but for the *permission* itself."""
    close = "" if keep_alive else "Connection: close\r\n"
    return f"HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\n{_ASKED if permission else ''}{close}\r\n".encode()


def permitted(answer: bytes, permission: bytes) -> bytes:
    """*answer* with the *permission* among its header lines."""
    cut = answer.index(b"\r\n") + 2
    return b"%b%b%b" % (answer[:cut], permission, answer[cut:])
