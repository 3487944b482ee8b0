"""Status events as webhooks carry them: what a receiver is told, once it asked for it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any

import msgspec

from dispatcher.domain.clock import Millis, rfc3339
from dispatcher.domain.journal import Entry, Kind
from dispatcher.domain.paths import VENDOR_PATHS, Path
from dispatcher.domain.receipt import EVENTS

MAX_EVENTS = 100  #: of one POST
_CARRIER = "carrier:"


class StatusEvent(StrEnum):
    """What can be subscribed to."""

    HANDED_OVER = "handed_over"
    DELIVERED = "delivered"
    DISPLAYED = "displayed"
    OPENED = "opened"
    ESCALATED = "escalated"
    SETTLED = "settled"
    TOKEN_DEAD = "token_dead"  # noqa: S105 - an event, no secret
    SMS_STATUS = "sms_status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """One status event of one delivery, before it is known whose it is. ``track`` 255: of no device."""

    event: StatusEvent
    at: Millis
    place: int
    track: int
    key: str  #: the same for the same happening, however often it is read
    path: Path | None = None
    step: int = 0
    attempt: int = 0
    of_attempt: bool = False  #: path, step and attempt name one attempt
    detail: Mapping[str, Any] | None = None


class EventBody(msgspec.Struct, kw_only=True, rename={"klass": "class"}):
    """One member of ``events``. ``id`` is the same when an event is sent again: receivers drop what they have."""

    id: str
    event: StatusEvent
    at: str
    app: str
    message_id: str
    klass: str
    user_id: str
    delivery_id: str
    device_id: str | None = None
    attempt_id: str | None = None
    path: Path | None = None
    detail: dict[str, Any] = {}


def happened(entry: Entry, raw: bytes) -> Iterator[Happened]:
    """What a journal entry tells receivers. *raw*: the entry's bytes, from which event ids follow."""
    if entry.kind not in {Kind.OUTCOME, Kind.RECEIPT, Kind.ESCALATED}:
        return
    digest = blake2b(raw, digest_size=12).hexdigest()
    for index, (place, track) in enumerate(entry.members):
        own = {name: column[index] for name, column in entry.columns.items() if column[index] is not None}
        told = {**entry.shared, **own}
        base = _Base(entry, place, track, f"{digest}.{index}", told)
        if entry.kind is Kind.OUTCOME:
            yield from base.outcome()
        elif entry.kind is Kind.ESCALATED:
            yield base.make(StatusEvent.ESCALATED, {"reason": told.get("reason"), "step": base.step // 8})
        else:
            yield from base.receipt()


class _Base:
    """One member of an entry."""

    def __init__(self, entry: Entry, place: int, track: int, key: str, told: dict[str, Any]) -> None:
        self._place, self._track, self._key, self._told = place, track, key, told
        self.at = int(told.get("at", entry.at))
        self.step = int(told.get("step", entry.step))
        self._attempt = int(told.get("attempt", entry.attempt))
        path = told.get("path", entry.path)
        self._path = Path(path) if path is not None else None

    def make(self, event: StatusEvent, detail: Mapping[str, Any], *, of_attempt: bool = False) -> Happened:
        return Happened(
            event=event,
            at=self.at,
            place=self._place,
            track=self._track,
            key=f"{self._key}.{event.value}",
            path=self._path,
            step=self.step,
            attempt=0 if self._path is Path.SMS else self._attempt,
            of_attempt=of_attempt,
            detail={name: value for name, value in detail.items() if value is not None},
        )

    def outcome(self) -> Iterator[Happened]:
        outcome, reason = self._told.get("outcome"), self._told.get("reason")
        if outcome == "handed_over":
            yield self.make(StatusEvent.HANDED_OVER, {}, of_attempt=True)
        elif outcome == "token_dead" and self._path in VENDOR_PATHS:
            yield self.make(StatusEvent.TOKEN_DEAD, {"reason": reason}, of_attempt=True)

    def receipt(self) -> Iterator[Happened]:
        event, source = self._told.get("event"), str(self._told.get("source", ""))
        if source.startswith(_CARRIER):
            detail = {"status": source.removeprefix(_CARRIER), "error": self._told.get("error")}
            yield self.make(StatusEvent.SMS_STATUS, detail)
        if event in EVENTS:
            inferred = True if self._told.get("inferred") else None
            yield self.make(StatusEvent(event), {"inferred": inferred})
        if self._told.get("confirmed"):
            yield self.make(StatusEvent.SETTLED, {"state": "confirmed", "confirmed_by": self._path})


def settled(home: int, place: int, state: str, at: Millis) -> Happened:
    """The end of a delivery that no receipt brought about: expired, exhausted, suppressed, recalled."""
    key = blake2b(f"{home:016x}{place:04x}{state}".encode(), digest_size=12).hexdigest()
    event = StatusEvent.SETTLED
    return Happened(event=event, at=at, place=place, track=255, key=f"{key}.{event.value}", detail={"state": state})


def event_id(key: str) -> str:
    """An event's id, of its key."""
    return f"ev_{blake2b(key.encode(), digest_size=15).hexdigest()}"


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[dict[str, Any]]).decode


def write_event(body: EventBody) -> bytes:
    """JSON."""
    return _encode(body)


def join_events(events: Iterable[bytes]) -> bytes:
    """Events as they wait: their JSON, comma-separated, so that waiting ones are joined without being read."""
    return b",".join(events)


def post_body(waiting: bytes) -> bytes:
    """The body of a POST."""
    return b'{"events":[%b]}' % waiting


def without_user(waiting: bytes, user_id: str) -> tuple[bytes, int]:
    """What is left of *waiting* when a user is erased, and how many events that are."""
    kept = [event for event in _decode(b"[%b]" % waiting) if event.get("user_id") != user_id]
    return join_events(_encode(event) for event in kept), len(kept)


def event_time(at: Millis) -> str:
    """As bodies have it."""
    return rfc3339(at)
