"""Learning: what settled deliveries teach about their devices' paths, and what planning is told of it.

An attempt teaches once its wait is over: one that timed out, or whose delivery ended without proof, was in vain; one
whose own receipt names it was proven. What was still waiting when another path's proof settled the delivery teaches
nothing: nobody knows what would have become of it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.device import Device, Profile
from dispatcher.domain.journal import Kind
from dispatcher.domain.paths import Path
from dispatcher.domain.plan import rung_of
from dispatcher.ports.learning import LearningSettings, Lesson, SegmentRates
from strategies.facts import FactValue
from strategies.learn import Answer, Rates, answer, device_key, segment_key

_VAIN_ENDS = frozenset({End.EXPIRED, End.EXHAUSTED})
_UNKNOWN: Mapping[Path, Rates] = {}
_FACTS = {path: (f"device.ack_rate.{path}", f"device.p95_s.{path}") for path in Path}


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    """A journal entry whose columns stay unread until they are asked for: planned rows are large."""

    kind: Kind
    at: Millis
    members: list[tuple[int, int]]
    path: Path | None = None
    step: int = 0
    attempt: int = 0
    shared: dict[str, Any] = {}
    columns: dict[str, msgspec.Raw] = {}


_read = msgspec.msgpack.Decoder(_Entry).decode
_column = msgspec.msgpack.Decoder(list[Any]).decode

#: How one attempt ended: None in vain, else seconds to its proof.
Ending = float | None


def endings(
    journal: Iterable[bytes], ended: Mapping[int, tuple[End, Mapping[int, Proof]]]
) -> dict[tuple[int, int], list[tuple[Path, Ending]]]:
    """What the attempts of some places of one home came to, by (place, track). *ended*: their ends and tracks' proofs.

    A track whose proof has no receipt in the journal yet teaches nothing.
    """
    attempts: dict[tuple[int, int], dict[int, tuple[Path, Millis]]] = defaultdict(dict)
    proofs: dict[tuple[int, int], list[tuple[Path | None, Millis, bool]]] = defaultdict(list)
    timed_out: set[tuple[int, int, int]] = set()
    for entry in sorted(map(_read, journal), key=lambda one: (one.at, one.kind is not Kind.ATTEMPTED)):
        if entry.kind is Kind.ATTEMPTED and entry.path is not None:
            for member in entry.members:
                attempts[member].setdefault(entry.step, (entry.path, entry.at))
        elif entry.kind is Kind.OUTCOME:
            _forget_refused(entry, attempts)
        elif entry.kind is Kind.RECEIPT:
            inferred, paths = _column(entry.columns["inferred"]), _column(entry.columns["path"])
            for member, path, guessed in zip(entry.members, paths, inferred, strict=True):
                proofs[member].append((Path(path) if path else None, entry.at, bool(guessed)))
        elif entry.kind is Kind.ESCALATED:
            at, reasons = _column(entry.columns["step"]), _column(entry.columns["reason"])
            for (place, track), step, reason in zip(entry.members, at, reasons, strict=True):
                if reason == "timeout":
                    timed_out.add((place, track, rung_of(step)))
    found: dict[tuple[int, int], list[tuple[Path, Ending]]] = {}
    for (place, track), steps in attempts.items():
        end = ended.get(place)
        if end is None or (end[1].get(track, Proof.NONE) is not Proof.NONE and (place, track) not in proofs):
            continue
        vain = {step for step in steps if end[0] in _VAIN_ENDS or (place, track, rung_of(step)) in timed_out}
        found[place, track] = _endings(steps, proofs.get((place, track), ()), vain)
    return found


def _forget_refused(entry: _Entry, attempts: dict[tuple[int, int], dict[int, tuple[Path, Millis]]]) -> None:
    """Only what was handed over can be proven; a refused attempt says nothing about the device's receipts."""
    column = entry.columns.get("outcome")
    outcomes = _column(column) if column is not None else [entry.shared.get("outcome")] * len(entry.members)
    for member, outcome in zip(entry.members, outcomes, strict=True):
        if outcome not in {"handed_over", "unknown"}:
            attempts[member].pop(entry.step, None)


def _endings(
    steps: Mapping[int, tuple[Path, Millis]], proofs: Sequence[tuple[Path | None, Millis, bool]], vain: set[int]
) -> list[tuple[Path, Ending]]:
    proven: dict[int, Ending] = {}
    for path, at, guessed in proofs:
        candidates = [step for step, (tried, since) in steps.items() if tried is path and since <= at]
        if not guessed and candidates:
            step = max(candidates, key=lambda one: steps[one][1])
            proven.setdefault(step, (at - steps[step][1]) / SECOND)
    found: list[tuple[Path, Ending]] = []
    for step, (path, _) in steps.items():
        if step in proven:
            found.append((path, proven[step]))
        elif step in vain:
            found.append((path, None))
    return found


def lesson(user_id: str, device_id: str, path: Path, profile: Profile | None, results: Sequence[Ending]) -> Lesson:
    """What some attempts on one path of one device came to."""
    device = profile.device(device_id) if profile is not None else None
    return Lesson(
        user_id=user_id,
        device_id=device_id,
        path=path,
        segment=segments_of(profile, device)[path] if profile is not None and device is not None else None,
        attempts=len(results),
        proven_s=tuple(one for one in results if one is not None),
    )


def segments_of(profile: Profile, device: Device) -> Mapping[Path, str]:
    """By path, the segment of devices alike: platform, manufacturer, app version, country."""
    return _segments(
        device.platform.value, device.manufacturer or "", device.app_version or "", profile.phone_country or ""
    )


@lru_cache(maxsize=8_192)
def _segments(platform: str, manufacturer: str, app_version: str, country: str) -> Mapping[Path, str]:
    return {
        path: segment_key(path, platform=platform, manufacturer=manufacturer, app_version=app_version, country=country)
        for path in Path
    }


def told(
    profile: Profile,
    device: Device,
    rates: Mapping[Path, Rates] | None,
    segments: SegmentRates,
    settings: LearningSettings,
) -> dict[Path, Answer]:
    """What the engine is told of each path of a device, and from where; paths nothing is known of are left out."""
    own = rates if rates is not None and settings.enabled else _UNKNOWN
    if not (own or settings.pins or (segments and settings.enabled)):
        return {}
    found = {}
    for path, segment in segments_of(profile, device).items():
        pin = None
        if settings.pins:
            pin = settings.pins.get(device_key(device.device_id, path)) or settings.pins.get(segment)
        known = answer(own.get(path), segments.get(segment) if settings.enabled else None, pin)
        if known.ack_rate is not None or known.p95_s is not None:
            found[path] = known
    return found


def facts_told(answers: Mapping[Path, Answer]) -> dict[str, FactValue]:
    """The same as facts by name."""
    values: dict[str, FactValue] = {}
    for path, known in answers.items():
        rate, p95 = _FACTS[path]
        if known.ack_rate is not None:
            values[rate] = known.ack_rate
        if known.p95_s is not None:
            values[p95] = known.p95_s
    return values
