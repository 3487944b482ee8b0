"""A draft held against recorded traffic: the same engine over the facts the journal kept, old against new.

Streaming and bounded: one delivery at a time, counts and sketches only, the few cases that change most kept aside.
Where a strategy would have used a path that was never tried on that track, the record holds no evidence: such a
delivery is counted apart instead of being guessed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from strategies import learn
from strategies.catalogue import PATHS
from strategies.compile import Strategy
from strategies.engine import Decision, decide, plan
from strategies.explain import explain, ladder_view
from strategies.facts import row_from
from strategies.replay import RecordedTrack, Replay, replay

PROGRESS_EVERY = 1_000
MAX_CONVERSATIONS = 200_000
"""Conversations whose last SMS is remembered, so that the next one in the window is not paid again."""
MAX_ROUTES = 10_000
"""Different sequences of paths counted apart before they are added up."""


class RecordedDelivery(msgspec.Struct, frozen=True):
    """One delivery of the journal. sms_segments: what its SMS costs or would cost; proof ends at `ttl_ms`.

    conversation: of one user, as their collapse key tells them apart; empty without one. planned_ms: since the epoch.
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
    """What one strategy makes of a delivery."""

    decisions: tuple[Decision, ...]
    attempts: tuple[str, ...]
    segments: int
    proven_ms: int | None
    evident: bool
    sms_ms: int | None = None


class Side:
    """The figures of one strategy, gathered."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.rules: dict[str, int] = {rule.name: 0 for rule in strategy.rules}
        self.paths: dict[str, int] = dict.fromkeys(PATHS, 0)
        self.segments = self.confirmed = self.no_evidence = 0
        self.times: dict[int, float] = {}
        self._routes: dict[tuple[str, ...], int] = {}
        limits = strategy.document.sms
        self._coalesce_ms = limits.coalesce_ms if limits is not None else None
        self._conversations: dict[str, int] = {}

    def coalesced(self, delivery: RecordedDelivery, course: Course) -> Course:
        """The same course, without an SMS of its own where one of its conversation went within the window."""
        if course.sms_ms is None or not self._coalesce_ms or not delivery.conversation:
            return course
        at = delivery.planned_ms + course.sms_ms
        last = self._conversations.get(delivery.conversation)
        if last is not None and abs(at - last) < self._coalesce_ms:
            attempts = tuple([path for path in course.attempts if path != "sms"])
            return Course(course.decisions, attempts, 0, course.proven_ms, course.evident)
        if len(self._conversations) >= MAX_CONVERSATIONS:
            oldest = sorted(self._conversations.values())[MAX_CONVERSATIONS // 2]
            self._conversations = {name: when for name, when in self._conversations.items() if when > oldest}
        self._conversations[delivery.conversation] = at
        return course

    def course(self, delivery: RecordedDelivery, like: Course | None = None) -> Course:
        """Plan every track and climb its ladder; the SMS is the delivery's.

        Where another strategy planned the same steps (`like`), its course is taken over.
        """
        tracks = delivery.tracks
        if len(tracks) == 1:  # most people have one phone
            made = decide(tracks[0].facts, self.strategy)
            decisions: tuple[Decision, ...] = (made,)
            same = like is not None and _same_steps(made, like.decisions[0])
        else:
            decisions = tuple([decide(track.facts, self.strategy) for track in tracks])
            same = like is not None and all(map(_same_steps, decisions, like.decisions))
        if like is not None and same:
            return Course(decisions, like.attempts, like.segments, like.proven_ms, like.evident, like.sms_ms)
        replays = [
            replay(ladder, skipped, track)
            for (_, ladder, skipped), track in zip(decisions, delivery.tracks, strict=True)
        ]
        return _course(delivery, decisions, replays)

    def count(self, course: Course) -> None:
        """Add a delivery's course to the figures."""
        for _, ladder, _ in course.decisions:
            self.rules[ladder.rule] += 1
        route, routes = course.attempts, self._routes
        if route in routes:
            routes[route] += 1
        else:
            if len(routes) >= MAX_ROUTES:
                self._add_routes()
            routes[route] = 1
        self.segments += course.segments
        if course.proven_ms is not None:
            self.confirmed += 1
            place = learn.bucket_of(course.proven_ms / 1000)
            self.times[place] = self.times.get(place, 0.0) + 1.0
        elif not course.evident:
            self.no_evidence += 1

    def path_counts(self) -> dict[str, int]:
        """Attempts by path."""
        self._add_routes()
        return self.paths

    def _add_routes(self) -> None:
        for route, count in self._routes.items():
            for path in route:
                self.paths[path] = self.paths.get(path, 0) + count
        self._routes.clear()

    def time_to_proof(self, share: float) -> float | None:
        """A quantile (seconds) of the expected time to proof."""
        return learn.bucket_quantile(sorted(self.times.items()), share)


class Simulation:
    """Holds `new` against `old`, fed one delivery at a time."""

    def __init__(self, old: Strategy, new: Strategy, *, segment_price: float = 0.0, keep_changes: int = 20) -> None:
        self._old = Side(old)
        self._new = Side(new)
        self._price = segment_price
        self._keep = keep_changes
        self._changes: list[tuple[float, int, RecordedDelivery]] = []
        self.decisions = 0
        self.deliveries = 0

    def feed(self, delivery: RecordedDelivery) -> None:
        """Take one recorded delivery into the figures."""
        old = self._old.course(delivery)
        new = self._new.course(delivery, old)
        if old.sms_ms is not None or new.sms_ms is not None:
            old, new = self._old.coalesced(delivery, old), self._new.coalesced(delivery, new)
        self._old.count(old)
        self._new.count(new)
        self.deliveries += 1
        self.decisions += len(delivery.tracks)
        weight = _weight(old, new)
        if weight and self._keep:
            entry = (weight, -self.deliveries, delivery)
            if len(self._changes) < self._keep:
                heapq.heappush(self._changes, entry)
            elif entry > self._changes[0]:
                heapq.heapreplace(self._changes, entry)

    def result(self) -> dict[str, Any]:
        """The answer of `POST /v1/strategies/simulate` for recorded traffic (api.md), as plain values."""
        old, new = self._old, self._new
        return {
            "deliveries": self.deliveries,
            "decisions": self.decisions,
            "rules": _beside("name", old.rules, new.rules),
            "paths": _beside("path", old.path_counts(), new.path_counts()),
            "sms_segments": {"old": old.segments, "new": new.segments},
            "cost": {
                "old": round(old.segments * self._price, 4),
                "new": round(new.segments * self._price, 4),
                "segment_price": self._price,
            },
            "confirmed": {"old": old.confirmed, "new": new.confirmed},
            "no_evidence": {"old": old.no_evidence, "new": new.no_evidence},
            "time_to_proof_s": {
                name: {"p50": side.time_to_proof(0.5), "p95": side.time_to_proof(0.95)}
                for name, side in (("old", old), ("new", new))
            },
            "changes": [self._change(delivery) for _, _, delivery in sorted(self._changes, reverse=True)],
        }

    def _change(self, delivery: RecordedDelivery) -> dict[str, Any]:
        return {
            "delivery_id": delivery.delivery_id,
            "message_id": delivery.message_id,
            "user_id": delivery.user_id,
            "old": _shown(delivery, self._old),
            "new": _shown(delivery, self._new),
        }


def simulate(
    old: Strategy,
    new: Strategy,
    recorded: Iterable[RecordedDelivery],
    *,
    segment_price: float = 0.0,
    keep_changes: int = 20,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Hold `new` against `old` over recorded deliveries; `progress` is told how many are done, each thousand."""
    simulation = Simulation(old, new, segment_price=segment_price, keep_changes=keep_changes)
    for delivery in recorded:
        simulation.feed(delivery)
        if progress is not None and simulation.deliveries % PROGRESS_EVERY == 0:
            progress(simulation.deliveries)
    if progress is not None:
        progress(simulation.deliveries)
    return simulation.result()


def simulate_facts(strategy: Strategy, facts: dict[str, object]) -> dict[str, Any]:
    """The rule, ladder and explanation for given facts. Raises FactsInvalid for facts the catalogue does not know."""
    made = plan(row_from(facts), strategy)
    explanation = explain(made)
    return {
        "rule": made.rule,
        "ladder": ladder_view(made.ladder),
        "explanation": msgspec.to_builtins(explanation),
        "words": str(explanation),
    }


def _same_steps(one: Decision, other: Decision) -> bool:
    return one[2] == other[2] and one[1].steps == other[1].steps


def _course(delivery: RecordedDelivery, decisions: tuple[Decision, ...], replays: list[Replay]) -> Course:
    proven: int | None = None
    evident = True
    for found in replays:
        if found.proven_ms is not None and (proven is None or found.proven_ms < proven):
            proven = found.proven_ms
        if found.unknown:
            evident = False
    attempts = [path for found in replays for path, at in found.attempts if proven is None or at <= proven]
    segments = 0
    due = _sms_due(replays)
    if due is not None and due < delivery.ttl_ms and (proven is None or proven > due):
        segments = delivery.sms_segments
        attempts.append("sms")
        carrier = next((seen for track in delivery.tracks if (seen := track.evidence.get("sms")) is not None), None)
        if carrier is None:
            evident = False
        elif carrier.proven_after_ms is not None:
            by_sms = due + carrier.proven_after_ms
            proven = by_sms if proven is None else min(proven, by_sms)
    if proven is not None and proven > delivery.ttl_ms:
        proven = None
    return Course(decisions, tuple(attempts), segments, proven, evident, due if segments else None)


def _sms_due(replays: list[Replay]) -> int | None:
    """When the last track that made a real attempt reaches its sms step or ends (architecture.md, invariant 5)."""
    for found in replays:
        if found.sms_due_ms is not None:
            break
    else:
        return None
    counted = [found for found in replays if found.real] or replays
    due = 0
    some = False
    for found in counted:
        moment = found.sms_due_ms if found.sms_due_ms is not None else found.ended_ms
        if moment is None:
            return None
        some = some or found.sms_due_ms is not None
        due = max(due, moment)
    return due if some else None


def _weight(old: Course, new: Course) -> float:
    """How much a delivery changes: a lost or won proof first, then money, then the rule, then time."""
    weight = 0.0
    if (old.proven_ms is None) is not (new.proven_ms is None):
        weight += 1_000.0
    elif old.proven_ms != new.proven_ms and old.proven_ms is not None and new.proven_ms is not None:
        weight += min(abs(old.proven_ms - new.proven_ms) / 60_000, 99.0)
    if old.segments != new.segments:
        weight += 100.0 * abs(old.segments - new.segments)
    for one, other in zip(old.decisions, new.decisions, strict=True):
        if one[1].rule != other[1].rule:
            return weight + 1.0
    return weight


def _beside(key: str, old: dict[str, int], new: dict[str, int]) -> list[dict[str, Any]]:
    names = dict.fromkeys((*new, *old))
    return [{key: name, "old": old.get(name, 0), "new": new.get(name, 0)} for name in names]


def _shown(delivery: RecordedDelivery, side: Side) -> dict[str, Any]:
    course = side.course(delivery)
    plans = [plan(track.facts, side.strategy) for track in delivery.tracks]
    return {
        "tracks": [
            {"rule": made.rule, "ladder": ladder_view(made.ladder), "explanation": str(explain(made))} for made in plans
        ],
        "paths": list(course.attempts),
        "sms_segments": course.segments,
        "time_to_proof_s": None if course.proven_ms is None else course.proven_ms / 1000,
        "evidence": course.evident,
    }
