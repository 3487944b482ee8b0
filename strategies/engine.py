"""The engine: facts in, plan out. No clock, no I/O, no dice; the same facts give the same plan.

`plan` is asked once a delivery and device. The ladder it answers with then carries the fallbacks: `next_step` takes it
from there, with the facts of that moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

from strategies.availability import budget_gone, own_path, past_grace, unavailable
from strategies.catalogue import INDEX
from strategies.compile import MAX_SHAPES, LearnedWait, Rule, Shape, Strategy
from strategies.document import StepDocument
from strategies.facts import Row
from strategies.ladder import Ladder, Plan, Reason, Skip, Step, Turn, Unknown, WaitBasis
from strategies.limits import Auto, round_wait
from strategies.predicates import answers

K = TypeVar("K")
V = TypeVar("V")

Decision: TypeAlias = tuple[int, Ladder, tuple[Skip, ...]]
Waits: TypeAlias = tuple[int | None, ...]
"""Milliseconds of each learned wait of a rule, None where nothing was learned yet."""
NO_WAITS: Waits = ()

_CLASS = INDEX["message.class"]
_PRESENCE = INDEX["device.presence"]
_RECONNECTING = INDEX["device.reconnecting_s"]
_QUIET = INDEX["user.in_quiet_hours"]
_SMS_LEFT = INDEX["budget.sms_left"]

_IMPATIENT = frozenset({"call", "otp"})
"""Classes that do not wait out the grace of a reconnecting device."""
_HELD = frozenset({"apns", "fcm", "push", "sms"})
"""Paths that quiet hours hold; longconn and poll go on."""

_PROBE = 256
"""After so many cases of a batch, sharing is given up where fewer than a fifth could share."""


def plan(facts: Row, strategy: Strategy) -> Plan:
    """The plan for one device (a user without one has platform `none`). Facts come from `strategies.facts`."""
    index, ladder, skipped = decide(facts, strategy)
    rule = strategy.rules[index]
    values = rule.pick_decides(facts)
    unknown = _unknown(strategy, index, facts) if index and None in values else ()
    return Plan(index, ladder, skipped, rule.decides, values, unknown, rule.condition)


def decide(facts: Row, strategy: Strategy) -> Decision:
    """The bare decision of `plan`, without what explains it: place of the rule, ladder, what cannot be taken now."""
    index, shape, waits = shape_for(facts, strategy)
    return index, shape.ladder if waits is NO_WAITS else _with_waits(shape, strategy.rules[index], waits), shape.skipped


def shape_for(facts: Row, strategy: Strategy) -> tuple[int, Shape, Waits]:
    """The decision in parts: place of the rule, its ladder for what can be taken now, the waits learned for it."""
    index = strategy.first_match(facts)
    rule = strategy.rules[index]
    lost = facts[_PRESENCE] == "reconnecting" and past_grace(facts, strategy.document.grace_ms)
    gone = rule.has_sms and facts[_SMS_LEFT] is not None and budget_gone(facts)
    shapes = rule.shapes[(1 if lost else 0) + (2 if gone else 0)]
    key = rule.pick_shape(facts)
    shape = shapes.get(key)
    if shape is None:
        shape = _remember(shapes, key, _shape(strategy, rule, facts))
    return index, shape, _waits(rule.learned, facts) if rule.learned else NO_WAITS


def plan_batch(cases: Sequence[Row], strategy: Strategy) -> list[Plan]:
    """Plans in the order of `cases`. Where the facts that the strategy looks at are equal, devices share one Plan
    object, so an explanation is made and stored once.
    """
    plans: list[Plan] = []
    seen: dict[Row, Plan] = {}
    pick = strategy.pick_shared
    for count, facts in enumerate(cases):
        if count == _PROBE and len(seen) > _PROBE * 0.8:
            plans += [plan(row, strategy) for row in cases[count:]]
            break
        key = pick(facts)
        known = seen.get(key)
        if known is None:
            known = seen[key] = plan(facts, strategy)
        plans.append(known)
    return plans


def step_allowed(ladder: Ladder, index: int, facts: Row) -> tuple[bool, Reason | None]:
    """Whether a step's `if` lets it go now; one that cannot be judged (a fact is missing) does not."""
    text = ladder.steps[index].condition
    if text is None:
        return True, None
    holds, fails = answers(text)
    if holds(facts) == 0:
        return True, None
    return False, Reason.CONDITION if fails(facts) else Reason.CONDITION_UNKNOWN


def next_step(ladder: Ladder, after: int, facts: Row) -> Turn:
    """The first step behind `after` (-1: from the start) that can be taken with these facts, and what was skipped.

    Take the turn of a held step again with `after` one less than its index.
    """
    skipped: list[Skip] = []
    for index in range(after + 1, len(ladder.steps)):
        step = ladder.steps[index]
        allowed, reason = step_allowed(ladder, index, facts)
        if not allowed and reason is not None:
            skipped += [Skip(index, path, reason) for path in step.paths]
            continue
        usable, refused = _usable(index, step.paths, facts, ladder.grace_ms)
        skipped += refused
        if usable:
            return _turn(ladder, index, usable, tuple(skipped), facts)
    return Turn(index=None, skipped=tuple(skipped))


def _turn(ladder: Ladder, index: int, usable: tuple[str, ...], skipped: tuple[Skip, ...], facts: Row) -> Turn:
    quiet = ladder.quiet if facts[_QUIET] is True else None
    held = tuple(path for path in usable if path in _HELD) if quiet == "hold" else ()
    return Turn(
        index=index,
        paths=tuple(path for path in usable if path not in held),
        held=held,
        wait_ms=_wait_now(ladder, ladder.steps[index], usable, facts),
        silent=quiet == "silent",
        skipped=skipped,
    )


def _wait_now(ladder: Ladder, step: Step, usable: tuple[str, ...], facts: Row) -> int | None:
    if step.wait_ms is None or "longconn" not in usable:
        return step.wait_ms
    return max(step.wait_ms, patience_ms(ladder.grace_ms, facts))


def patience_ms(grace_ms: int, facts: Row) -> int:
    """While a device is reconnecting, its longconn step lasts at least the rest of the grace; otherwise 0."""
    if facts[_PRESENCE] != "reconnecting" or facts[_CLASS] in _IMPATIENT:
        return 0
    lost_s = facts[_RECONNECTING]
    return max(round_wait(grace_ms - int(float(lost_s or 0.0) * 1000)), 0)


def _waits(learned: tuple[LearnedWait, ...], facts: Row) -> Waits:
    """Each learned wait: the slowest p95 of the step's paths, inside its bounds. None where nothing is known."""
    waits: list[int | None] = []
    for _, places, least_ms, most_ms in learned:
        slowest_s: Any = None
        for place in places:
            value: Any = facts[place]
            if value is not None and (slowest_s is None or value > slowest_s):
                slowest_s = value
        if slowest_s is None:
            waits.append(None)
        elif (slowest_ms := slowest_s * 1000) >= most_ms:
            waits.append(most_ms)
        else:
            wait_ms = round_wait(least_ms if slowest_ms <= least_ms else int(slowest_ms))
            waits.append(min(most_ms, wait_ms))
    return tuple(waits)


def _with_waits(shape: Shape, rule: Rule, waits: Waits) -> Ladder:
    """The ladder with its learned waits filled in."""
    ladder = shape.ladders.get(waits)
    if ladder is None:
        steps = list(shape.ladder.steps)
        for (place, *_), wait_ms in zip(rule.learned, waits, strict=True):
            if wait_ms is not None:
                steps[place] = _learned_step(steps[place], wait_ms)
        base = shape.ladder
        ladder = Ladder(
            base.strategy,
            base.version,
            base.rule,
            tuple(steps),
            base.reach,
            base.grace_ms,
            base.quiet,
            base.sms,
            base.push,
        )
        _remember(shape.ladders, waits, ladder)
    return ladder


def _learned_step(step: Step, wait_ms: int) -> Step:
    return Step(step.paths, wait_ms, step.until, step.condition, step.retries, step.priority, WaitBasis.LEARNED)


def _remember(memory: dict[K, V], key: K, value: V) -> V:
    if len(memory) >= MAX_SHAPES:
        memory.clear()
    memory[key] = value
    return value


def _shape(strategy: Strategy, rule: Rule, facts: Row) -> Shape:
    document = strategy.document
    steps = tuple(_step(written, facts) for written in rule.document.ladder)
    paths = {path for step in steps for path in step.paths}
    quiet = document.quiet_hours
    ladder = Ladder(
        strategy=strategy.name,
        version=strategy.version,
        rule=rule.name,
        steps=steps,
        reach=document.reach,
        grace_ms=document.grace_ms,
        quiet=quiet.action if quiet and quiet.action != "ignore" and facts[_CLASS] in quiet.classes else None,
        sms=document.sms if "sms" in paths else None,
        push=document.push if paths & {"apns", "fcm", "push"} else None,
    )
    skipped: list[Skip] = []
    for index, step in enumerate(steps):
        skipped += _usable(index, step.paths, facts, document.grace_ms)[1]
    return Shape(ladder, tuple(skipped))


def _step(written: StepDocument, facts: Row) -> Step:
    wait_ms: int | None
    match written.wait:
        case Auto(most_ms=most_ms):
            wait_ms, basis = most_ms, WaitBasis.NO_HISTORY
        case None:
            wait_ms, basis = None, WaitBasis.TTL
        case fixed:
            wait_ms, basis = fixed, WaitBasis.FIXED
    return Step(
        paths=tuple(dict.fromkeys(own_path(path, facts) for path in written.paths)),
        wait_ms=wait_ms,
        until=written.until,
        condition=written.condition.text if written.condition else None,
        retries=written.retries,
        priority=written.priority,
        basis=basis,
    )


def _usable(index: int, paths: tuple[str, ...], facts: Row, grace_ms: int) -> tuple[tuple[str, ...], list[Skip]]:
    usable: list[str] = []
    skipped: list[Skip] = []
    for path in dict.fromkeys(own_path(path, facts) for path in paths):
        reason = unavailable(path, facts, grace_ms)
        if reason is None:
            usable.append(path)
        else:
            skipped.append(Skip(index, path, reason))
    return tuple(usable), skipped


def _unknown(strategy: Strategy, before: int, facts: Row) -> tuple[Unknown, ...]:
    """The rules asked in vain because a fact is missing: counted, and part of the explanation."""
    found: list[Unknown] = []
    for rule, surely_false in zip(strategy.rules[:before], strategy.surely_false, strict=False):
        if rule.when is None or surely_false is None:
            continue
        missing = tuple(name for name in rule.when.names if facts[INDEX[name]] is None)
        if missing and not surely_false(facts):
            found.append(Unknown(rule.name, missing))
    return tuple(found)
