"""What a ladder would have come to on one recorded track, by what each path was seen to do then."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from strategies.catalogue import INDEX
from strategies.facts import Row
from strategies.ladder import Ladder, Skip
from strategies.predicates import answers

_AGE = INDEX["message.age_s"]


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """What a path did when it was tried on this track: milliseconds from the attempt to its proof; None: no proof."""

    proven_after_ms: int | None


class RecordedTrack(msgspec.Struct, frozen=True):
    """One device's planning as the journal keeps it: the whole catalogue then, and what each tried path did.

    A path that is not in `evidence` was never tried there. For `sms` the carrier's status counts as its proof.
    """

    facts: Row
    evidence: Mapping[str, Evidence]


class Replay(msgspec.Struct, frozen=True, gc=False):
    """The course of one track without its SMS's effect on the others.

    attempts: (path, ms since planning). sms_due_ms: when its sms step came, None: never. ended_ms: when it ran out
    (None: a step lasts until the ttl). unknown: paths that were tried here but never in the record. real: at least
    one step could be taken.
    """

    attempts: tuple[tuple[str, int], ...]
    proven_ms: int | None
    sms_due_ms: int | None
    ended_ms: int | None
    unknown: tuple[str, ...]
    real: bool


def replay(ladder: Ladder, skipped: tuple[Skip, ...], track: RecordedTrack) -> Replay:
    """Climb the ladder with the facts of planning. SMS is noted, not sent: it is the delivery's, not the track's."""
    attempts: list[tuple[str, int]] = []
    unknown: list[str] = []
    proven: int | None = None
    sms_due: int | None = None
    refused = [(skip.step, skip.path) for skip in skipped]
    evidence = track.evidence
    at: int | None = 0
    for index, step in enumerate(ladder.steps):
        if at is None or (proven is not None and proven <= at):
            break
        paths = step.paths
        if refused:
            paths = tuple([path for path in paths if (index, path) not in refused])
            if not paths:
                continue
        if step.condition is not None and not _holds(step.condition, track.facts, at):
            continue
        for path in paths:
            if path == "sms":
                sms_due = at if sms_due is None else sms_due
                continue
            attempts.append((path, at))
            seen = evidence.get(path)
            if seen is None:
                unknown.append(path)
            elif seen.proven_after_ms is not None:
                moment = at + seen.proven_after_ms
                proven = moment if proven is None else min(proven, moment)
        at = None if step.wait_ms is None else at + step.wait_ms
    return Replay(tuple(attempts), proven, sms_due, at, tuple(unknown), bool(attempts))


def _holds(condition: str, facts: Row, at_ms: int) -> bool:
    if "message.age_s" in condition:
        facts = (*facts[:_AGE], at_ms / 1000, *facts[_AGE + 1 :])
    return answers(condition)[0](facts) == 0
