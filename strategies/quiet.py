"""Quiet hours: until when a step is held, right across daylight saving changes.

The window is a pair of wall-clock times in the user's zone. Its end is the first moment at which the wall clock there
has reached it, so a jump over the end (spring) releases at the jump, and an hour that comes twice (autumn) releases at
its first pass; neither holds a message a day too long.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

UTC_ZONE = "UTC"


def held_until(now: datetime, zone: str, window_from: time, window_to: time) -> datetime | None:
    """The end of the quiet hours that `now` (aware) lies in, in UTC; None outside them.

    The start is inside, the end outside; a window may span midnight; one that starts where it ends holds never.
    Raises ValueError for an unknown zone.
    """
    if now.tzinfo is None:
        raise ValueError("now must know its zone")
    place = zone_named(zone)
    local = now.astimezone(place)
    clock = local.time().replace(fold=0)
    if not _inside(clock, window_from, window_to):
        return None
    day = local.date() + timedelta(days=1 if window_to <= clock else 0)
    end = _first_moment(datetime.combine(day, window_to), place)
    # The wall clock may already have shown the end once (an hour that comes twice): then it is over.
    return end if end > now.astimezone(UTC) else None


def in_quiet_hours(now: datetime, zone: str, window_from: time, window_to: time) -> bool:
    """Whether `now` lies in the quiet hours of this zone."""
    return held_until(now, zone, window_from, window_to) is not None


def local_hour(now: datetime, zone: str) -> int:
    """The hour of the day (0 to 23) where the user is."""
    return now.astimezone(zone_named(zone)).hour


def zone_for(user: str | None, devices: Iterable[str | None], app: str) -> str:
    """The zone that counts: the user's, else that of the device seen last (devices come newest first), else the app's.

    Zones that this machine's database lacks are passed over.
    """
    for zone in (user, *devices, app):
        if zone and is_zone(zone):
            return zone
    return UTC_ZONE


def is_zone(zone: str) -> bool:
    """The zone is in this machine's IANA database."""
    try:
        zone_named(zone)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1024)
def zone_named(zone: str) -> ZoneInfo:
    """The zone of an IANA name such as Asia/Shanghai. Raises ValueError for any other text."""
    try:
        return ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{zone[:40]!r} is no time zone: write an IANA name such as Asia/Shanghai") from error


def _inside(clock: time, window_from: time, window_to: time) -> bool:
    if window_from <= window_to:
        return window_from <= clock < window_to
    return clock >= window_from or clock < window_to


def _first_moment(wall: datetime, place: ZoneInfo) -> datetime:
    """The first moment (UTC) at which the wall clock there shows `wall` or has just jumped over it."""
    first = wall.replace(tzinfo=place, fold=0).astimezone(UTC)
    if first.astimezone(place).replace(tzinfo=None) == wall:
        return first
    # The wall time does not exist. By the offset before the gap (fold=0) `first` lies behind the jump by as much as
    # `wall` lies behind the gap's start; the jump is where the offset changes between the two readings of `wall`.
    before = wall.replace(tzinfo=place, fold=1).astimezone(UTC)
    low, high = before, first
    offset = high.astimezone(place).utcoffset()
    while high - low > timedelta(milliseconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(place).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return (high + timedelta(milliseconds=500)).replace(microsecond=0)  # zones change on whole seconds
