"""HTTP/1.1 request heads without I/O (RFC 9112), as far as a gateway needs them: GET without a body.

Strict where laxness lets a request mean two things: no folded lines, no blanks around names, no doubled lengths.
"""

import re
from typing import Final

from msgspec import Struct

MAX_HEAD: Final = 16 * 1024  #: bytes of request line and fields together
_REQUEST = re.compile(rb"([A-Z]{1,16}) ([\x21-\x7e]{1,8000}) HTTP/1\.([01])\Z")
_NAME = rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)"
_VALUE = rb"((?:[^\x00-\x20\x7f](?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)?)"
_FIELD = rb"%b:[ \t]*%b[ \t]*\r\n" % (_NAME, _VALUE)
_fields = re.compile(_FIELD.decode()).findall
_all_fields = re.compile(rb"(?:%b)*\Z" % _FIELD).match
_ONCE = frozenset({"host", "authorization", "content-length", "sec-websocket-key", "sec-websocket-version"})


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


def read_again(line: bytes, before: Request) -> Request | None:
    """A request whose fields are byte for byte those of *before*, on the same connection; None where *line* is not the
    usual request line. Whoever polls sends the same fields every time.
    """
    found = _REQUEST.match(line)
    if found is None or found[3] != b"1" or found[1] != b"GET":
        return None
    path, _, query = found[2].decode().partition("?")
    return Request("GET", path, query, before.fields, before.keep_alive) if path.startswith("/") else None


def read_request(data: bytes | bytearray) -> tuple[Request, int] | None:
    """The first request in *data* and its length; None while it is not whole. Raises :class:`BadRequest`."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > MAX_HEAD:
            raise BadRequest(431, "the request's head is too large")
        return None
    if end > MAX_HEAD:
        raise BadRequest(431, "the request's head is too large")
    first, _, rest = bytes(data[: end + 2]).partition(b"\r\n")
    line = _REQUEST.match(first)
    if line is None:
        raise BadRequest(400, "no HTTP/1.1 request line")
    if _all_fields(rest) is None:
        raise BadRequest(400, "a malformed header field")
    fields: dict[str, str] = {}
    for name, value in _fields(rest.decode("latin-1")):
        known = name.lower()
        if known in fields:
            if known in _ONCE:
                raise BadRequest(400, f"{known} stands twice")
            value = f"{fields[known]}, {value}"
        fields[known] = value
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
