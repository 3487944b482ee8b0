"""What callers ask of the core, once it passed the door: validated, durations and times in milliseconds.

Raw bodies are checked and turned into these values by ``dispatcher.api.schemas``; the pipeline trusts them.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

from dispatcher.domain.clock import DAY, HOUR, MINUTE, SECOND, Millis, from_datetime
from dispatcher.domain.delivery import Proof
from dispatcher.domain.message import Priority
from dispatcher.domain.paths import Path
from dispatcher.domain.template import LocalTexts

MAX_RECIPIENTS = 1_000  #: of one message
MAX_BATCH_MESSAGES = 1_000
MAX_BATCH_RECIPIENTS = 10_000
MAX_RECEIPTS = 500  #: of one request
MAX_CONTENT_BYTES = 4_000  #: rendered notification plus data, as JSON in UTF-8
DEFAULT_TTL: Millis = DAY
MAX_TTL: Millis = 30 * DAY
MAX_AHEAD: Millis = 30 * DAY  #: how far not_before may lie ahead
MAX_INBOX_LIMIT = 200
DEFAULT_INBOX_LIMIT = 50

_DURATION = re.compile(r"([0-9]{1,10})(ms|s|m|h|d)\Z")
#: What :func:`dispatcher.domain.clock.to_datetime` can show again.
_FIRST, _LAST = -62_135_596_800_000, 253_402_300_799_999
_UNIT = {"ms": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:)([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])\Z"
)


def parse_duration(text: str) -> Millis:
    """A duration such as ``200ms``, ``3s``, ``10m``, ``2h``, ``7d`` in milliseconds; ValueError for anything else."""
    match = _DURATION.match(text)
    if match is None:
        raise ValueError("a duration is a whole number and a unit: 200ms, 3s, 10m, 2h, 7d")
    return int(match[1]) * _UNIT[match[2]]


def parse_time(text: str) -> Millis:
    """An RFC 3339 time (its zone is required) in milliseconds, finer parts cut off; ValueError for anything else.

    A leap second (``:60``) counts as the second after it (RFC 3339, 5.7).
    """
    match = _RFC3339.match(text)
    if match is None:
        raise ValueError("a time is RFC 3339 with a zone: 2026-03-01T08:30:00Z or 2026-03-01T16:30:00.250+08:00")
    date, clock, second, fraction, zone = match.groups()
    leap = second == "60"
    zone = "+00:00" if zone in "Zz" else zone
    try:
        moment = datetime.fromisoformat(f"{date}T{clock}{'59' if leap else second}{zone}")
    except ValueError as error:
        raise ValueError(f"no such time: {error}") from None
    at = from_datetime(moment) + int((fraction or "0").ljust(3, "0")[:3]) + (SECOND if leap else 0)
    if not _FIRST <= at <= _LAST:
        raise ValueError("no such time: it is outside the years 1 to 9999 in UTC")
    return at


def write_duration(duration: Millis) -> str:
    """The shortest text that :func:`parse_duration` reads back."""
    for unit in ("d", "h", "m", "s"):
        if duration and duration % _UNIT[unit] == 0:
            return f"{duration // _UNIT[unit]}{unit}"
    return f"{duration}ms"


def as_timedelta(duration: Millis) -> timedelta:
    """*duration* for libraries that want one."""
    return timedelta(milliseconds=duration)


_encode = msgspec.json.Encoder(order="sorted").encode


def content_bytes(notification: Mapping[str, Any] | None, data: Mapping[str, Any] | None) -> int:
    """Bytes of rendered content, to be held against :data:`MAX_CONTENT_BYTES` (again after a template)."""
    return sum(len(_encode(part)) for part in (notification, data) if part is not None)


class DispatchRequest(Struct, frozen=True, kw_only=True):
    """One message as a backend asked for it, defaults filled in.

    ``user_ids`` and ``device_ids`` keep the caller's order without repeats; together 1 to 1,000. One of
    ``notification``, ``data`` and ``template`` is there. ``notification`` holds exactly the members that were sent.
    """

    message_id: str
    user_ids: tuple[str, ...]
    device_ids: tuple[str, ...] = ()
    klass: str = "chat"
    notification: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    sms_text: str | None = None
    template: str | None = None
    params: dict[str, Any] = {}
    priority: Priority = Priority.NORMAL
    ttl_ms: Millis = DEFAULT_TTL
    collapse_key: str | None = None
    strategy: str | None = None
    not_before: Millis | None = None
    dry_run: bool = False
    #: the template's texts, rendered by the core; no content of the caller's
    texts: tuple[LocalTexts, ...] = ()
    trace: bytes | None = None  #: no content either: where its spans stand

    @property
    def recipients(self) -> int:
        """How many were named; users and devices of one user may still turn out to be the same delivery."""
        return len(self.user_ids) + len(self.device_ids)

    def content_hash(self) -> bytes:
        """16 bytes over what was asked for: equal for equal content, however it was spelled.

        Order of recipients and of object members, defaults left out or written down, ``24h`` or ``1d`` make no
        difference. ``dry_run`` is no content.
        """
        shown = {name: value for name, value in (self.notification or {}).items() if value is not None}
        content = (
            self.message_id,
            sorted(self.user_ids),
            sorted(self.device_ids),
            self.klass,
            shown,
            self.data or {},
            self.sms_text,
            self.template,
            self.params,
            self.priority,
            self.ttl_ms,
            self.collapse_key,
            self.strategy,
            self.not_before,
        )
        return blake2b(_encode(content), digest_size=16, person=b"pushpath-content").digest()

    def __repr__(self) -> str:
        return f"DispatchRequest({self.message_id}, {self.klass}, recipients={self.recipients})"


class Accepted(Struct, frozen=True, kw_only=True):
    """A message the ledger holds; of a duplicate, what the first one was told."""

    message_id: str
    accepted_at: Millis
    recipients: int
    duplicate: bool


class ReceiptItem(Struct, frozen=True, kw_only=True):
    """One piece of evidence as a phone or its backend sent it. At least one of the two ids is there.

    ``via`` and ``attempt_id`` say what woke the phone. ``at``: the phone's own clock, not to be trusted.
    """

    user_id: str
    event: Proof
    device_id: str | None = None
    delivery_id: str | None = None
    message_id: str | None = None
    via: Path | None = None
    attempt_id: str | None = None
    at: Millis | None = None


class CarrierCallback(Struct, frozen=True, kw_only=True):
    """A request that a carrier signed, as it came. ``url_path``: path and query; ``headers`` by lower-case name."""

    url_path: str
    headers: Mapping[str, str]
    body: bytes
    form: Mapping[str, str]  #: empty where the body is no form


class Counts(Struct, frozen=True):
    """What became of a list of receipts; the three sum up to its length."""

    accepted: int = 0
    unknown: int = 0
    duplicate: int = 0


class Window(StrEnum):
    """How far back an inbox page looks."""

    RECENT = "recent"  #: the last 7 days
    MONTH = "month"  #: 7 to 30 days
    ARCHIVE = "archive"  #: older


class InboxQuery(Struct, frozen=True, kw_only=True):
    """One pull. ``before``: a page's ``next``; ``after``: a cursor. Never both. Cursors are still unread texts:
    :func:`dispatcher.domain.ids.read_cursor` raises ``ForeignCursor``, which the door answers with 422."""

    limit: int = DEFAULT_INBOX_LIMIT
    before: str | None = None
    after: str | None = None
    window: Window = Window.RECENT
