"""What passes between a wire and the simulator behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

Header = tuple[bytes, bytes]


class Wire(StrEnum):
    """How an answer reaches the client; all but WHOLE are scripted faults."""

    WHOLE = "whole"
    SPLIT = "split"  #: the body in two DATA frames (HTTP/1.1: two writes)
    STALL = "stall"  #: headers and half of the body, then nothing
    RESET = "reset"  #: RST_STREAM instead of an answer (HTTP/1.1: the connection is aborted)
    CLOSE = "close"  #: the connection is cut instead of an answer
    SILENT = "silent"  #: taken by the vendor, never answered


@dataclass(frozen=True, slots=True)
class Answer:
    """*reason* is the vendor's word for an error and goes to the request log, not to the wire."""

    status: int
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    reason: str | None = None
    wire: Wire = Wire.WHOLE


class Connection(Protocol):
    """The connection that a request came on; *number* counts from 1 within one end."""

    number: int

    @property
    def last_stream(self) -> int | None:
        """The last stream that is answered, once ``go_away`` was called."""

    def answer(self, stream: int, answer: Answer) -> bool:
        """Write *answer*, or the fault it asks for. False: not a byte of an answer left (gone, reset, cut)."""

    def go_away(self, last_stream: int) -> None:
        """Take no stream above *last_stream* (HTTP/1.1: close after this one's answer); close when all are answered."""

    def allow_streams(self, count: int) -> None:
        """Raise the number of concurrent streams; nothing to do on HTTP/1.1."""


@dataclass(slots=True)
class Request:
    """One request as received. *stream* is the HTTP/2 stream id; on HTTP/1.1 the request's place on its connection."""

    connection: Connection
    stream: int
    multiplexed: bool  #: HTTP/2
    method: str
    path: str  #: as on the wire, with the query
    raw_headers: Sequence[Header]  #: names in lower case, without HTTP/2's pseudo-headers
    body: bytes

    def headers(self) -> Mapping[bytes, bytes]:
        """The last value of each name."""
        return dict(self.raw_headers)


class Receiver(Protocol):
    """Whoever stands behind a listener."""

    def take(self, request: Request) -> None:
        """Answer *request* on its connection, now or later or never. Must not raise."""

    def initial_streams(self) -> int:
        """Concurrent streams that a new HTTP/2 connection is allowed."""
