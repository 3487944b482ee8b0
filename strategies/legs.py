"""Ladders prepared for replaying: the fast way of `course.course_of`, which a property test holds it against.

What a device could not take is left out once for all devices alike; learned waits are read beside the ladder instead
of being built into one of its own for each device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

from strategies.catalogue import INDEX
from strategies.compile import Shape, Strategy
from strategies.course import Course, RecordedDelivery, settle
from strategies.engine import Waits, patience_ms, shape_for
from strategies.facts import Row
from strategies.ladder import Ladder, Skip
from strategies.predicates import answers
from strategies.replay import AGES, RecordedTrack, refusals

_PRESENCE = INDEX["device.presence"]
_AGE = INDEX[AGES]

Leg: TypeAlias = tuple[tuple[str, ...], bool, Callable[[Row], int] | None, bool, int | None, int, int]
"""A step that can be taken: its paths but sms; whether sms is among them; its `if`; whether that asks for the age;
its wait (None: until the ttl); where its learned wait stands (-1: it has none); the grace it lasts for (0: none).
"""
Legs: TypeAlias = tuple[Leg, ...]

Pick: TypeAlias = tuple[int, Legs, Waits]
"""A decision for replaying: the rule's place, its legs, the learned waits. Equal ones give equal courses."""

_Climbed: TypeAlias = tuple[list[tuple[str, int]], int | None, int | None, int | None, bool]
"""Attempts with their moments; when it was proven, when its sms was due, when it ended; whether all paths were seen."""


def pick(facts: Row, strategy: Strategy) -> Pick:
    """`engine.decide`, with the ladder as legs."""
    index, shape, waits = shape_for(facts, strategy)
    legs = shape.legs
    if legs is None:
        legs = shape.legs = _prepared(shape, strategy, index)
    return index, legs, waits


def course_along(delivery: RecordedDelivery, picks: Sequence[Pick]) -> Course:
    """The same as `course_of`."""
    if len(picks) == 1:
        return course_of_one(delivery, picks[0], delivery.tracks[0])
    climbed = [_climb(one, track) for one, track in zip(picks, delivery.tracks, strict=True)]
    proven: int | None = None
    evident = True
    for _, own, _, _, seen_all in climbed:
        if own is not None and (proven is None or own < proven):
            proven = own
        evident = evident and seen_all
    attempts = [path for tried, *_ in climbed for path, at in tried if proven is None or at <= proven]
    return settle(delivery, attempts, proven, evident, _sms_due(climbed))


def course_of_one(delivery: RecordedDelivery, picked: Pick, track: RecordedTrack) -> Course:
    """`course_along` of a delivery for one phone, as most are."""
    tried, proven, due, _, evident = _climb(picked, track)
    paths = tuple([path for path, _ in tried])
    if due is not None and (proven is None or proven > due):
        return settle(delivery, paths, proven, evident, due)
    if proven is not None and proven > delivery.ttl_ms:
        proven = None
    return Course(paths, 0, proven, evident)


def _climb(picked: Pick, track: RecordedTrack) -> _Climbed:
    _, legs, waits = picked
    facts, evidence = track.facts, track.evidence
    tried: list[tuple[str, int]] = []
    proven: int | None = None
    sms_due: int | None = None
    evident = True
    at: int | None = 0
    for on, sms, holds, ages, wait, learned, grace_ms in legs:
        if at is None or (proven is not None and proven <= at):
            break
        if holds is not None and holds((*facts[:_AGE], at / 1000, *facts[_AGE + 1 :]) if ages else facts):
            continue
        for path in on:
            tried.append((path, at))
            if path in evidence:
                after = evidence[path].proven_after_ms
                if after is not None and (proven is None or at + after < proven):
                    proven = at + after
            else:
                evident = False
        if sms and sms_due is None:
            sms_due = at
        if learned >= 0 and (known := waits[learned]) is not None:
            wait = known
        if wait is None:
            at = None
        elif grace_ms and facts[_PRESENCE] == "reconnecting":
            at += max(wait, patience_ms(grace_ms, facts))
        else:
            at += wait
    return tried, proven, sms_due, at, evident


def _sms_due(climbed: Sequence[_Climbed]) -> int | None:
    """As in `course`: when the last track that made a real attempt reaches its sms step or ends."""
    counted = [one for one in climbed if one[0]] or climbed
    due: int | None = None
    asked = False
    for _, _, own, ended, _ in counted:
        moment = ended if own is None else own
        if moment is None:
            return None
        asked = asked or own is not None
        due = moment if due is None or moment > due else due
    return due if asked else None


def _prepared(shape: Shape, strategy: Strategy, index: int) -> Legs:
    learned = {place: slot for slot, (place, *_) in enumerate(strategy.rules[index].learned)}
    return _alike(tuple(_legs(shape.ladder, shape.skipped, learned)))


def _legs(ladder: Ladder, skipped: tuple[Skip, ...], learned: Mapping[int, int]) -> list[Leg]:
    refused = refusals(ladder, skipped)
    found: list[Leg] = []
    for place, step in enumerate(ladder.steps):
        paths = [path for path in step.paths if (place, path) not in refused]
        if paths:
            text = step.condition
            found.append(
                (
                    tuple([path for path in paths if path != "sms"]),
                    "sms" in paths,
                    None if text is None else answers(text)[0],
                    text is not None and AGES in text,
                    step.wait_ms,
                    learned.get(place, -1),
                    ladder.grace_ms if "longconn" in paths else 0,
                )
            )
    return found


@lru_cache(maxsize=8_192)
def _alike(legs: Legs) -> Legs:
    """Equal legs as one object: two strategies that plan the same are seen to at a glance."""
    return legs
