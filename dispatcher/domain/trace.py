"""Traces without a library: where a message's trace stands, and what a span says (W3C Trace Context, OpenTelemetry).

A message carries 24 bytes, its trace and the span of the request that brought it, or nothing at all. Every further span
of it has an id that follows from the trace and from what it tells of, so that whoever comes later (a receipt, another
process, another step) names its parent without having been told.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b

from dispatcher.domain.clock import Millis

NANOS = 1_000_000  #: of a millisecond
PACKED = 24
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")
_SAMPLED = 1
_LONGEST_TEXT = 128


class SpanKind(StrEnum):
    """Of OpenTelemetry's kinds those that occur here."""

    SERVER = "server"
    CLIENT = "client"
    CONSUMER = "consumer"
    INTERNAL = "internal"


class Attribute(StrEnum):
    """Every name a span may carry. None of them holds a person's id, number, token or text."""

    APP = "pushpath.app"
    CLASS = "pushpath.class"
    LANE = "pushpath.lane"
    MESSAGE_ID = "pushpath.message_id"
    MESSAGES = "pushpath.messages"
    DELIVERY_ID = "pushpath.delivery_id"
    ATTEMPT_ID = "pushpath.attempt_id"
    TRACKS = "pushpath.tracks"
    STRATEGY = "pushpath.strategy"
    VERSION = "pushpath.strategy_version"
    RULE = "pushpath.rule"
    PATH = "pushpath.path"
    STEP = "pushpath.step"
    ATTEMPT = "pushpath.attempt"
    TOGETHER = "messaging.batch.message_count"
    OUTCOME = "pushpath.outcome"
    REASON = "pushpath.reason"
    EVENT = "pushpath.event"
    CONFIRMED = "pushpath.confirmed"
    STATE = "pushpath.state"
    METHOD = "http.request.method"
    ROUTE = "http.route"
    STATUS = "http.response.status_code"


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span to stand under: its trace (128 bits) and its own id (64 bits), neither of them zero."""

    trace_id: int
    span_id: int

    def pack(self) -> bytes:
        """As messages carry it."""
        return self.trace_id.to_bytes(16, "big") + self.span_id.to_bytes(8, "big")

    def child(self, *names: object) -> "TraceContext":
        """The span of this trace that tells of *names*: always the same one."""
        text = "\0".join(map(str, names)).encode()
        digest = blake2b(text, digest_size=8, key=self.trace_id.to_bytes(16, "big"), person=b"pushpath-span").digest()
        return TraceContext(self.trace_id, int.from_bytes(digest, "big") or 1)


def unpack(packed: bytes | None) -> TraceContext | None:
    """Reads what :meth:`TraceContext.pack` wrote; None where there is nothing, or something else."""
    if packed is None or len(packed) != PACKED:
        return None
    return TraceContext(int.from_bytes(packed[:16], "big"), int.from_bytes(packed[16:], "big"))


@dataclass(frozen=True, slots=True)
class Incoming:
    """What a ``traceparent`` header says."""

    context: TraceContext
    sampled: bool


def read_traceparent(text: str) -> Incoming | None:
    """The caller's span (https://www.w3.org/TR/trace-context/#traceparent-header); None where there is none that holds:
    a faulty header is no fault of the request's. Versions above 00 are read by what 00 knows of them."""
    match = _PARENT.match(text)
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5] is not None):
        return None
    trace_id, span_id = int(match[2], 16), int(match[3], 16)
    if not trace_id or not span_id:
        return None
    return Incoming(TraceContext(trace_id, span_id), sampled=bool(int(match[4], 16) & _SAMPLED))


Value = str | int | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One finished span. Times are nanoseconds since 1970."""

    name: str
    context: TraceContext
    parent: TraceContext | None
    kind: SpanKind
    started: int
    ended: int
    attributes: Mapping[Attribute, Value] = field(default_factory=dict)
    error: str | None = None  #: the word for what went wrong


def nanos(at: Millis) -> int:
    """A time as spans have it."""
    return at * NANOS


def attributes(**values: object) -> dict[Attribute, Value]:
    """By lower-case name of :class:`Attribute`; None is left out, and what is no plain value says itself as ``str``
    does, so that a masked type stays masked. Texts are cut at 128 characters."""
    found: dict[Attribute, Value] = {}
    for name, value in values.items():
        if value is None:
            continue
        plain = isinstance(value, bool | int) and not isinstance(value, str)
        found[Attribute[name.upper()]] = value if plain else str(value)[:_LONGEST_TEXT]  # type: ignore[assignment]
    return found
