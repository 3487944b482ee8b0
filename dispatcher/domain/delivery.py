"""The state of a delivery: three facts a track, and the tables that rule them.

``proof`` is a maximum, so receipts commute. ``end`` is one for the delivery, by fixed dominance. ``cursor`` is
(step, attempt, phase), moved only by whoever holds the lease, by compare-and-set.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum

from msgspec import Struct

from dispatcher.domain.clock import Millis
from dispatcher.domain.paths import Path


class Proof(IntEnum):
    """What a device's own receipts have shown so far; only ever raised."""

    NONE = 0
    DELIVERED = 1
    DISPLAYED = 2
    OPENED = 3


class End(IntEnum):
    """Why nothing is left to do, in order of dominance; OPEN while there is."""

    OPEN = 0
    SUPPRESSED = 1
    EXPIRED = 2
    EXHAUSTED = 3
    CONFIRMED = 4
    RECALLED = 5


class Phase(IntEnum):
    """Where a track stands inside its step."""

    PLAN = 0  #: not planned yet
    READY = 1  #: in a ready wave of the step's path
    SENDING = 2  #: claimed under a lease
    WAITING = 3  #: handed over, waiting for proof
    PARKED = 4  #: at its sms step, waiting for the user's other tracks
    HELD = 5  #: deferred: quiet hours, or receipts not trusted now (invariant 9)
    UNKNOWN = 6  #: the provider's answer was lost
    DONE = 7  #: no step left


class Event(StrEnum):
    """What can happen to a track's cursor."""

    PLANNED = "planned"
    CLAIMED = "claimed"
    HANDED_OVER = "handed_over"
    RETRY = "retry"
    FAILED = "failed"
    LEASE_LOST = "lease_lost"
    TIMED_OUT = "timed_out"
    ARRIVED_AT_SMS = "arrived_at_sms"
    SMS_DUE = "sms_due"
    HELD = "held"
    RELEASED = "released"
    RAN_OUT = "ran_out"


#: The life of a track's cursor. What the table lacks is an error.
TRANSITIONS: Mapping[tuple[Phase, Event], Phase] = {
    (Phase.PLAN, Event.PLANNED): Phase.READY,
    (Phase.PLAN, Event.ARRIVED_AT_SMS): Phase.PARKED,
    (Phase.PLAN, Event.HELD): Phase.HELD,
    (Phase.PLAN, Event.RAN_OUT): Phase.DONE,
    (Phase.READY, Event.CLAIMED): Phase.SENDING,
    (Phase.SENDING, Event.HANDED_OVER): Phase.WAITING,
    (Phase.SENDING, Event.RETRY): Phase.READY,
    (Phase.SENDING, Event.FAILED): Phase.READY,
    (Phase.SENDING, Event.ARRIVED_AT_SMS): Phase.PARKED,
    (Phase.SENDING, Event.HELD): Phase.HELD,
    (Phase.SENDING, Event.LEASE_LOST): Phase.UNKNOWN,
    (Phase.SENDING, Event.RAN_OUT): Phase.DONE,
    (Phase.UNKNOWN, Event.RETRY): Phase.READY,
    (Phase.UNKNOWN, Event.HANDED_OVER): Phase.WAITING,
    (Phase.UNKNOWN, Event.FAILED): Phase.READY,
    (Phase.UNKNOWN, Event.ARRIVED_AT_SMS): Phase.PARKED,
    (Phase.UNKNOWN, Event.RAN_OUT): Phase.DONE,
    (Phase.WAITING, Event.TIMED_OUT): Phase.READY,
    (Phase.WAITING, Event.FAILED): Phase.READY,
    (Phase.WAITING, Event.ARRIVED_AT_SMS): Phase.PARKED,
    (Phase.WAITING, Event.HELD): Phase.HELD,
    (Phase.WAITING, Event.RAN_OUT): Phase.DONE,
    (Phase.PARKED, Event.SMS_DUE): Phase.READY,
    (Phase.PARKED, Event.FAILED): Phase.READY,
    (Phase.PARKED, Event.RAN_OUT): Phase.DONE,
    (Phase.HELD, Event.RELEASED): Phase.READY,
    (Phase.HELD, Event.HELD): Phase.HELD,
    (Phase.UNKNOWN, Event.HELD): Phase.HELD,
    (Phase.HELD, Event.ARRIVED_AT_SMS): Phase.PARKED,
    (Phase.HELD, Event.RAN_OUT): Phase.DONE,
}


class IllegalTransition(ValueError):
    """A cursor was asked to do what the table lacks."""


def move(phase: Phase, event: Event) -> Phase:
    """The phase after *event*; raises :class:`IllegalTransition` for what the table lacks."""
    try:
        return TRANSITIONS[phase, event]
    except KeyError:
        raise IllegalTransition(f"{phase.name} knows no {event.name}") from None


class Cursor(Struct, frozen=True, gc=False):
    """Position of a track on its ladder."""

    step: int
    attempt: int
    phase: Phase


class TrackState(Struct, frozen=True, kw_only=True, gc=False):
    """One device's way through its ladder."""

    proof: Proof
    cursor: Cursor
    until: Proof  #: what the current step takes for proof
    tried: bool  #: whether any attempt really left for a provider
    path: Path | None  #: of the latest attempt
    device_hash: int
    attempted_at: Millis | None

    @property
    def is_proven(self) -> bool:
        """Whether it has the proof that its step asks for."""
        return self.proof is not Proof.NONE and self.proof >= self.until

    @property
    def stands_still(self) -> bool:
        return self.is_proven or self.cursor.phase in {Phase.PARKED, Phase.DONE}


class DeliveryState(Struct, frozen=True, kw_only=True, gc=False):
    """One message for one user."""

    end: End
    proof: Proof
    confirmed_by: Path | None
    confirmed_at: Millis | None
    expires_at: Millis
    planned: bool
    each: bool  #: proof wanted from every device that was tried
    archived: bool
    tracks: tuple[TrackState, ...]


def dominant(current: End, new: End) -> End:
    """Of two ends the one that stands; late proof lifts expired and exhausted to confirmed."""
    return max(current, new)


def sms_due(tracks: tuple[TrackState, ...]) -> int | None:
    """The track that may ask for the user's SMS now, or None (invariant 5 of ARCHITECTURE.md).

    Due once every track stands still (at its sms step, or ended). Tracks where every step was skipped count only if
    all are such. Proof on any of them (in reach "each") forbids it: the message has arrived.
    """
    if any(track.is_proven for track in tracks) or not all(track.stands_still for track in tracks):
        return None
    tried_any = any(track.tried for track in tracks)
    for index, track in enumerate(tracks):
        if track.cursor.phase is Phase.PARKED and (track.tried or not tried_any):
            return index
    return None
