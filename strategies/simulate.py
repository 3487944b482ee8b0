"""A draft held against recorded traffic: the same engine over the facts the journal kept, old against new.

Streaming and bounded: one delivery at a time, counts and sketches only, the few cases that change most kept aside.
Where a strategy would have used a path that was never tried on that track, the record holds no evidence: such a
delivery is counted apart instead of being guessed. SMS go as far as each strategy's own limits let them (`spending`).
Not modelled: the end of quiet hours (it is no fact of the record) and the retries inside a step's wait.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from strategies.compile import Strategy
from strategies.course import Course, RecordedDelivery
from strategies.engine import plan
from strategies.explain import explain, ladder_view
from strategies.facts import row_from
from strategies.sides import Made, Side
from strategies.spending import Whom

PROGRESS_EVERY = 1_000

Case: TypeAlias = tuple[RecordedDelivery, Made, Made]
"""A delivery with what old and new make of it."""


class Simulation:
    """Holds `new` against `old`, fed one delivery at a time."""

    def __init__(self, old: Strategy, new: Strategy, *, segment_price: float = 0.0, keep_changes: int = 20) -> None:
        self._old = Side(old)
        self._new = Side(new)
        self._renamed = [[name != other for other in self._new.names] for name in self._old.names]
        self._price = segment_price
        self._keep = keep_changes
        self._changes: list[tuple[float, int, Case]] = []
        self.decisions = 0
        self.deliveries = 0

    @property
    def asks_numbers(self) -> bool:
        """Whether a limit of either counts by phone number or prefix."""
        return self._old.spending.asks_numbers() or self._new.spending.asks_numbers()

    def feed(self, delivery: RecordedDelivery, whom: Whom | None = None) -> None:
        """Take one recorded delivery into the figures."""
        self.count(self.case(delivery), whom)

    def case(self, delivery: RecordedDelivery) -> Case:
        """What both make of a delivery, not yet counted; limits are not asked yet."""
        old = self._old.make(delivery)
        return delivery, old, self._new.make(delivery, old)

    def count(self, case: Case, whom: Whom | None = None) -> None:
        """Take a case into the figures. `whom`: whom its SMS would be for, where `wants_sms` says that it matters."""
        delivery, old, new = case
        if old.course.sms_ms is not None or new.course.sms_ms is not None:
            whom = whom or Whom(delivery.user_id)
            old, new = self._old.allowed(delivery, old, whom), self._new.allowed(delivery, new, whom)
        self._old.count(old)
        self._new.count(new)
        self.deliveries += 1
        self.decisions += len(old.picks)
        weight = 0.0 if old.course is new.course else _weight(old.course, new.course)
        for (mine, _, _), (theirs, _, _) in zip(old.picks, new.picks):  # noqa: B905 - as many as tracks, both
            if self._renamed[mine][theirs]:
                weight += 1.0
                break
        if weight and self._keep:
            self._keep_change(weight, (delivery, old, new))

    def _keep_change(self, weight: float, case: Case) -> None:
        if len(self._changes) < self._keep:
            heapq.heappush(self._changes, (weight, -self.deliveries, case))
        elif weight > self._changes[0][0]:  # of equal weight the earlier stays
            heapq.heapreplace(self._changes, (weight, -self.deliveries, case))

    def result(self) -> dict[str, Any]:
        """The answer of `POST /v1/strategies/simulate` for recorded traffic (api.md), as plain values."""
        old, new = self._old, self._new
        return {
            "deliveries": self.deliveries,
            "decisions": self.decisions,
            "rules": _beside("name", old.rules(), new.rules()),
            "paths": _beside("path", old.paths(), new.paths()),
            "sms_segments": {"old": old.segments, "new": new.segments},
            "sms_limited": {
                "old": sum(old.limited.values()),
                "new": sum(new.limited.values()),
                "by": _beside("limit", old.limited, new.limited),
            },
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
            "changes": [self._change(case) for _, _, case in sorted(self._changes, key=_by_weight, reverse=True)],
        }

    def _change(self, case: Case) -> dict[str, Any]:
        delivery, old, new = case
        return {
            "delivery_id": delivery.delivery_id,
            "message_id": delivery.message_id,
            "user_id": delivery.user_id,
            "old": _shown(delivery, old.course, self._old.strategy),
            "new": _shown(delivery, new.course, self._new.strategy),
        }


def wants_sms(case: Case) -> bool:
    """Whether either would send an SMS, so that it matters for whom."""
    return case[1].course.sms_ms is not None or case[2].course.sms_ms is not None


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


def _by_weight(entry: tuple[float, int, Case]) -> tuple[float, int]:
    return entry[:2]


def _weight(old: Course, new: Course) -> float:
    """How much a course changes: a lost or won proof first, then money, then time. (Another rule comes last.)"""
    weight = 0.0
    if (old.proven_ms is None) is not (new.proven_ms is None):
        weight += 1_000.0
    elif old.proven_ms is not None and new.proven_ms is not None:
        weight += min(abs(old.proven_ms - new.proven_ms) / 60_000, 99.0)
    if old.segments != new.segments:
        weight += 100.0 * abs(old.segments - new.segments)
    return weight


def _beside(key: str, old: dict[str, int], new: dict[str, int]) -> list[dict[str, Any]]:
    names = dict.fromkeys((*new, *old))
    return [{key: name, "old": old.get(name, 0), "new": new.get(name, 0)} for name in names]


def _shown(delivery: RecordedDelivery, course: Course, strategy: Strategy) -> dict[str, Any]:
    plans = [plan(track.facts, strategy) for track in delivery.tracks]
    return {
        "tracks": [
            {"rule": made.rule, "ladder": ladder_view(made.ladder), "explanation": str(explain(made))} for made in plans
        ],
        "paths": list(course.attempts),
        "sms_segments": course.segments,
        "sms_limited": course.limited,
        "time_to_proof_s": None if course.proven_ms is None else course.proven_ms / 1000,
        "evidence": course.evident,
    }
