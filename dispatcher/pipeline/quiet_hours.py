"""Quiet hours of a profile: which zone counts, whether they are on, when they end. The rules are strategies.quiet's."""

from collections.abc import Iterator
from datetime import time
from functools import lru_cache

from dispatcher.domain.clock import MINUTE, Millis, from_datetime, to_datetime
from dispatcher.domain.device import Profile
from strategies import quiet


def zone_of(profile: Profile, default: str) -> str:
    """The user's zone, else the latest device's, else the app's."""
    return quiet.zone_for(profile.time_zone, _device_zones(profile), default)


def quiet_until(profile: Profile, default_zone: str, now: Millis) -> Millis | None:
    """When the user's quiet hours end that are on now; None outside them."""
    if profile.quiet_from is None or profile.quiet_to is None:
        return None
    window = _clock_face(profile.quiet_from), _clock_face(profile.quiet_to)
    end = quiet.held_until(to_datetime(now), zone_of(profile, default_zone), *window)
    return None if end is None else from_datetime(end)


def local_hour(zone: str, now: Millis) -> int:
    """The hour of the day in *zone*."""
    return _hour(zone, now // MINUTE)


def same_hours(one: Profile, other: Profile) -> bool:
    """Whether both profiles are quiet at the same times (wherever the app's default zone is)."""
    if (one.quiet_from, one.quiet_to) != (other.quiet_from, other.quiet_to):
        return False
    return one.quiet_from is None or zone_of(one, "") == zone_of(other, "")


def _device_zones(profile: Profile) -> Iterator[str | None]:
    """Newest first; nothing is sorted for users whose own zone is known."""
    for device in sorted(profile.devices, key=lambda one: -one.last_seen):
        yield device.time_zone


@lru_cache(maxsize=1_440)
def _clock_face(text: str) -> time:
    return time.fromisoformat(text)


@lru_cache(maxsize=1_024)
def _hour(zone: str, minute: int) -> int:
    return quiet.local_hour(to_datetime(minute * MINUTE), zone)
