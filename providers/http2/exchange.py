"""What every wire of ours speaks: requests in, and for each one a reply or a fault, as values.

A fault says the one thing the pipeline must know: whether the other side can have seen the request.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, Protocol

from dispatcher.domain.clock import Millis
from dispatcher.domain.outcome import RetryLater, Unknown


class Kind(StrEnum):
    """Whether a request without an answer may have been processed."""

    NEVER_SENT = "never_sent"  #: certainly not: safe to send again
    UNKNOWN = "unknown"  #: maybe: send again only under the same ids


class Cause(StrEnum):
    """Why there was no answer: closed, so that metrics stay few."""

    FULL = "full"  #: more requests wait than the transport's bound
    CLOSED = "closed"  #: the transport was closed
    CONNECT = "connect"  #: refused, unreachable, or no such name
    TLS = "tls"  #: the other side could not prove who it is
    DEADLINE = "deadline"
    LOST = "lost"  #: the connection ended under the request
    RESET = "reset"  #: RST_STREAM
    REFUSED = "refused"  #: RST_STREAM with REFUSED_STREAM (RFC 9113, 8.7)
    GOAWAY_ABOVE = "goaway_above"  #: above GOAWAY's last stream: not processed (RFC 9113, 6.8)
    GOAWAY_BELOW = "goaway_below"  #: at or below it, and the connection ended without an answer
    PROTOCOL = "protocol"  #: the other side broke HTTP


class TransportFault(Exception):
    """No answer came."""

    def __init__(self, kind: Kind, cause: Cause, detail: str = "") -> None:
        super().__init__(f"{cause}: {detail}" if detail else str(cause))
        self.kind = kind
        self.cause = cause

    @property
    def outcome(self) -> RetryLater | Unknown:
        """What the fault means for an attempt."""
        if self.kind is Kind.NEVER_SENT:
            return RetryLater(f"transport_{self.cause}")
        return Unknown(f"transport_{self.cause}")


class Request(NamedTuple):
    """One HTTP request. Names of *headers* in lower case; values without control characters."""

    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    body: bytes = b""


class Reply:
    """One HTTP answer, whole. Headers are read only where someone asks for them."""

    def __init__(self, status: int, fields: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.body = body

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name; of repeated ones the last."""
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.fields}

    @property
    def retry_after_ms(self) -> Millis | None:
        """Retry-After in milliseconds where it is given in seconds (RFC 9110, 10.2.3); at most a day."""
        text = self.headers.get("retry-after", "").strip()
        return min(int(text), 86_400) * 1_000 if text.isascii() and text.isdigit() and len(text) < 10 else None

    def __repr__(self) -> str:
        return f"Reply({self.status}, {len(self.body)} bytes)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A client certificate and its key, PEM. Never prints itself."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Identity(...)"


class Batch:
    """One ``exchange`` under way: answers by place, and who waits for all of them."""

    __slots__ = ("answers", "done", "ends_at", "left")

    def __init__(self, count: int, ends_at: float, done: asyncio.Future[None]) -> None:
        self.answers: list[Reply | TransportFault | None] = [None] * count
        self.left = count
        self.ends_at = ends_at  #: the loop's time
        self.done = done

    def answer(self, place: int, answer: Reply | TransportFault) -> None:
        """The last answer wakes the caller."""
        self.answers[place] = answer
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


class Transport(Protocol):
    """A wire to one or more hosts. Made inside the running loop that uses it."""

    async def exchange(self, requests: Sequence[Request], deadline_ms: Millis) -> list[Reply | TransportFault]:
        """All at once; same length and order. Never raises for what the network does."""

    async def renew(self) -> None:
        """Later requests leave on fresh connections; those under way end on the old ones."""

    async def close(self) -> None:
        """Ends connections; requests under way fail as ``closed``."""


async def request(
    transport: Transport,
    method: str,
    url: str,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    deadline_ms: Millis,
) -> Reply:
    """One request; raises :class:`TransportFault` where there is no answer."""
    (answer,) = await transport.exchange([Request(method, url, headers, body)], deadline_ms)
    if isinstance(answer, TransportFault):
        raise answer
    return answer
