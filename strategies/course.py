"""What a strategy makes of one recorded delivery, step by step: the plain way, which `timeline` is held against."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from strategies.engine import Decision
from strategies.replay import RecordedTrack, Replay, replay


class RecordedDelivery(msgspec.Struct, frozen=True):
    """One delivery of the journal. sms_segments: what its SMS costs or would cost; proof ends at `ttl_ms`.

    conversation: of one user, as their collapse key tells them apart; empty without one. planned_ms: since the epoch.
    user_id: whom the limits count for; nobody where empty.
    """

    delivery_id: str
    message_id: str
    user_id: str
    tracks: tuple[RecordedTrack, ...]
    sms_segments: int = 1
    ttl_ms: int = 86_400_000
    conversation: str = ""
    planned_ms: int = 0


class Course(msgspec.Struct, frozen=True, gc=False):
    """How a delivery went. attempts: paths in order, `sms` last. proven_ms, sms_ms: since planning, None: never.

    evident: False where a path was used that the record never tried. unsent: proof and evidence had its SMS not gone.
    limited: the limit that held its SMS back.
    """

    attempts: tuple[str, ...]
    segments: int
    proven_ms: int | None
    evident: bool
    sms_ms: int | None = None
    unsent: tuple[int | None, bool] = (None, True)
    limited: str | None = None


def course_of(delivery: RecordedDelivery, decisions: Sequence[Decision]) -> Course:
    """Climbs every track's ladder; the SMS is the delivery's, once."""
    replays = [
        replay(ladder, skipped, track) for (_, ladder, skipped), track in zip(decisions, delivery.tracks, strict=True)
    ]
    proven = min((found.proven_ms for found in replays if found.proven_ms is not None), default=None)
    evident = not any(found.unknown for found in replays)
    attempts = [path for found in replays for path, at in found.attempts if proven is None or at <= proven]
    return settle(delivery, attempts, proven, evident, _sms_due(replays))


def settle(
    delivery: RecordedDelivery, attempts: Sequence[str], proven: int | None, evident: bool, due: int | None
) -> Course:
    """The course of a delivery whose SMS is due then (None: never): sent where nothing has proven it before."""
    ttl = delivery.ttl_ms
    in_time = None if proven is not None and proven > ttl else proven
    if due is None or due >= ttl or (proven is not None and proven <= due):
        return Course(tuple(attempts), 0, in_time, evident)
    unsent = (in_time, evident)
    carrier = next((seen for track in delivery.tracks if (seen := track.evidence.get("sms")) is not None), None)
    if carrier is None:
        evident = False
    elif carrier.proven_after_ms is not None:
        by_sms = due + carrier.proven_after_ms
        proven = by_sms if proven is None else min(proven, by_sms)
        in_time = None if proven > ttl else proven
    return Course((*attempts, "sms"), delivery.sms_segments, in_time, evident, due, unsent)


def without_sms(course: Course, limited: str | None = None) -> Course:
    """The same course had its SMS not gone, because that limit held it."""
    proven, evident = course.unsent
    return Course(course.attempts[:-1], 0, proven, evident, None, course.unsent, limited)


def joined(course: Course) -> Course:
    """The same course where another message's SMS stood for it: no SMS of its own, the same proof."""
    return Course(course.attempts[:-1], 0, course.proven_ms, course.evident)


def _sms_due(replays: Sequence[Replay]) -> int | None:
    """When the last track that made a real attempt reaches its sms step or ends (architecture.md, invariant 5)."""
    if all(found.sms_due_ms is None for found in replays):
        return None
    counted = [found for found in replays if found.real] or replays
    moments = [found.ended_ms if found.sms_due_ms is None else found.sms_due_ms for found in counted]
    known = [moment for moment in moments if moment is not None]
    if len(known) < len(moments) or all(found.sms_due_ms is None for found in counted):
        return None
    return max(known)
