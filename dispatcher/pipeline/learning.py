"""Learning: what settled deliveries teach about their devices' paths, and what planning is told of it.

An attempt teaches once its wait is over: one that timed out, or whose delivery ended without proof, was in vain; one
whose own receipt names it was proven. What was still waiting when another path's proof settled the delivery teaches
nothing: nobody knows what would have become of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from dispatcher.domain.clock import SECOND
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.device import Device, Profile
from dispatcher.domain.paths import Path
from dispatcher.domain.plan import rung_of
from dispatcher.pipeline.recorded import Happened
from dispatcher.ports.learning import LearningSettings, Lesson, SegmentRates
from strategies.facts import FactValue
from strategies.learn import Answer, Rates, answer, device_key, segment_key

_VAIN_ENDS = frozenset({End.EXPIRED, End.EXHAUSTED})
_UNKNOWN: Mapping[Path, Rates] = {}
_FACTS = {path: (f"device.ack_rate.{path}", f"device.p95_s.{path}") for path in Path}


#: How one attempt ended: None in vain, else seconds to its proof.
Ending = float | None


def endings(
    journal: Iterable[bytes], ended: Mapping[int, tuple[End, Mapping[int, Proof]]]
) -> dict[tuple[int, int], list[tuple[Path, Ending]]]:
    """What the attempts of some places of one home came to, by (place, track). *ended*: their ends and tracks' proofs.

    A track whose proof has no receipt in the journal yet teaches nothing.
    """
    happened = Happened(journal)
    found: dict[tuple[int, int], list[tuple[Path, Ending]]] = {}
    for (place, track), tries in happened.tries.items():
        end = ended.get(place)
        if end is None or (end[1].get(track, Proof.NONE) is not Proof.NONE and (place, track) not in happened.proofs):
            continue
        proven = happened.proven_after((place, track), named_only=True)
        endings_here: list[tuple[Path, Ending]] = []
        for step, (path, _) in tries.items():
            if step in proven:
                endings_here.append((path, proven[step] / SECOND))
            elif end[0] in _VAIN_ENDS or (place, track, rung_of(step)) in happened.timed_out:
                endings_here.append((path, None))
        found[place, track] = endings_here
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
