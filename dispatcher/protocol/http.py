"""HTTP/1.1 request heads without I/O (RFC 9112), as far as a gateway needs them: GET without a body.

Strict where laxness lets a request mean two things: no folded lines, no blanks around names, no doubled lengths.
"""

import re
from typing import Final

from msgspec import Struct

MAX_HEAD: Final = 16 * 1024  #: bytes of request line and fields together
_REQUEST = re.compile(rb"([A-Z]{1,16}) ([\x21-\x7e]{1,8000}) HTTP/1\.([01])\Z")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*\Z")


class BadRequest(ValueError):
    """No request we take. ``status`` is what to answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Request(Struct, frozen=True, gc=False):
    """A request's head. Field names are lower-case; repeated fields are joined by commas."""

    method: str
    path: str
    query: str
    fields: dict[str, str]
    keep_alive: bool

    def __repr__(self) -> str:  # fields and query may carry a token
        return f"Request({self.method} {self.path})"

    def tokens(self, name: str) -> list[str]:
        """A list field's members, lower-case."""
        return [part.strip().lower() for part in self.fields.get(name, "").split(",")]


def read_request(data: bytes | bytearray) -> tuple[Request, int] | None:
    """The first request in *data* and its length; None while it is not whole. Raises :class:`BadRequest`."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > MAX_HEAD:
            raise BadRequest(431, "the request's head is too large")
        return None
    if end > MAX_HEAD:
        raise BadRequest(431, "the request's head is too large")
    lines = bytes(data[:end]).split(b"\r\n")
    line = _REQUEST.match(lines[0])
    if line is None:
        raise BadRequest(400, "no HTTP/1.1 request line")
    fields: dict[str, str] = {}
    for text in lines[1:]:
        field = _FIELD.match(text)
        if field is None:
            raise BadRequest(400, "a malformed header field")
        name = field[1].decode().lower()
        value = field[2].decode("latin-1")
        if name in fields:
            if name in {"host", "authorization", "content-length", "sec-websocket-key", "sec-websocket-version"}:
                raise BadRequest(400, f"{name} stands twice")
            value = f"{fields[name]}, {value}"
        fields[name] = value
    if "transfer-encoding" in fields or fields.get("content-length", "0") != "0":
        raise BadRequest(413, "no request here has a body")
    if line[3] == b"1" and "host" not in fields:
        raise BadRequest(400, "no Host field")
    path, _, query = line[2].decode().partition("?")
    if not path.startswith("/"):
        raise BadRequest(400, "the target is no path of ours")
    connection = fields.get("connection", "").lower()
    keep_alive = "close" not in connection if line[3] == b"1" else "keep-alive" in connection
    return Request(line[1].decode(), path, query, fields, keep_alive), end + 4
