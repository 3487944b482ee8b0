"""What every wire of ours speaks: requests in, and for each one a reply or a fault, as values.

A fault says the one thing the pipeline must know: whether the other side can have seen the request.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from operator import itemgetter
from typing import NamedTuple, Protocol

from dispatcher.domain.clock import SECOND, Millis
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
    """Requests that a transport has under way together, each until its answer or the deadline of all."""

    __slots__ = ("_abandon", "_answered", "done", "ends_at", "left")

    def __init__(self, count: int, deadline_ms: Millis, abandon: "Callable[[Batch], None]") -> None:
        loop = asyncio.get_running_loop()
        self.left = count  #: how many have no answer yet
        self.ends_at = loop.time() + deadline_ms / SECOND  #: the loop's time
        self.done: asyncio.Future[None] = loop.create_future()  #: set once all are answered
        self._answered: list[tuple[int, Reply | TransportFault]] = []
        self._abandon = abandon
        if not count:
            self.done.set_result(None)

    def answer(self, place: int, answer: Reply | TransportFault) -> None:
        """The transport's: the last answer wakes whoever waits."""
        self._answered.append((place, answer))
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)

    def take(self) -> list[tuple[int, Reply | TransportFault]]:
        """What was answered since this was asked before, each with its place among the requests."""
        taken, self._answered = self._answered, []
        return taken

    def abandon(self) -> None:
        """Nobody waits any more: the transport gives up what has no answer."""
        if self.left:
            self._abandon(self)

    async def whole(self) -> list[Reply | TransportFault]:
        """All answers in the requests' order; whoever stops waiting abandons the rest."""
        try:
            await self.done
        finally:
            self.abandon()
        return [answer for _, answer in sorted(self.take(), key=itemgetter(0))]


class Transport(Protocol):
    """A wire to one or more hosts. Made inside the running loop that uses it."""

    async def exchange(self, requests: Sequence[Request], deadline_ms: Millis) -> list[Reply | TransportFault]:
        """All at once; same length and order. Never raises for what the network does."""

    async def renew(self) -> None:
        """Later requests leave on fresh connections; those under way end on the old ones."""

    async def close(self) -> None:
        """Ends connections; requests under way fail as ``closed``."""


class BeginsBatches(Transport, Protocol):
    """A transport that hands out what it has begun, so that one silent request holds up no other's answer."""

    def begin(self, requests: Sequence[Request], deadline_ms: Millis) -> Batch:
        """All at once; the caller takes the answers as they come, or abandons them."""


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
