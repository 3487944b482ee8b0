"""What a ladder would have come to on one recorded track, by what each path was seen to do then."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from strategies.catalogue import INDEX
from strategies.engine import patience_ms
from strategies.facts import Row
from strategies.ladder import Ladder, Reason, Skip
from strategies.predicates import answers

_AGE = INDEX["message.age_s"]
AGES = "message.age_s"


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
    refused = refusals(ladder, skipped)
    at: int | None = 0
    for index, step in enumerate(ladder.steps):
        if at is None or (proven is not None and proven <= at):
            break
        paths = [path for path in step.paths if (index, path) not in refused]
        if not paths or (step.condition is not None and not holds(step.condition, track.facts, at)):
            continue
        for path in paths:
            if path == "sms":
                sms_due = at if sms_due is None else sms_due
                continue
            attempts.append((path, at))
            seen = track.evidence.get(path)
            if seen is None:
                unknown.append(path)
            elif seen.proven_after_ms is not None:
                moment = at + seen.proven_after_ms
                proven = moment if proven is None else min(proven, moment)
        if step.wait_ms is None:
            at = None
        else:
            at += max(step.wait_ms, patience_ms(ladder.grace_ms, track.facts) if "longconn" in paths else 0)
    return Replay(tuple(attempts), proven, sms_due, at, tuple(unknown), bool(attempts))


def refusals(ladder: Ladder, skipped: tuple[Skip, ...]) -> frozenset[tuple[int, str]]:
    """(step, path) of what could not be taken then. That a budget was gone counts only for who has none of their own:
    a simulation keeps the budget of the strategy it tries.
    """
    own_budget = ladder.sms is not None and ladder.sms.budget is not None
    return frozenset(
        (skip.step, skip.path) for skip in skipped if not (own_budget and skip.reason is Reason.BUDGET_EXHAUSTED)
    )


def holds(condition: str, facts: Row, at_ms: int) -> bool:
    """Whether a step's `if` lets it go, so long after planning."""
    if AGES in condition:
        facts = (*facts[:_AGE], at_ms / 1000, *facts[_AGE + 1 :])
    return answers(condition)[0](facts) == 0
