"""How figures, durations and times are written for people, in the viewer's zone."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dispatcher.console.api import read_time
from dispatcher.console.markup import Markup, el

PATHS = ("longconn", "apns", "fcm", "poll", "sms")
PATH_NAMES = {
    "longconn": "Long connection",
    "push": "Push (own vendor)",
    "apns": "APNs",
    "fcm": "FCM",
    "poll": "Poll",
    "sms": "SMS",
}


def zone_of(name: str | None) -> ZoneInfo:
    """The zone a browser named; UTC where it is none."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def path_name(path: str | None) -> str:
    """A path in words."""
    return PATH_NAMES.get(path or "", path or "")


def number(value: float | None) -> str:
    """With thousands apart; a dash where nothing is known."""
    if value is None:
        return "–"
    if not float(value).is_integer():
        return f"{value:,.2f}"
    return f"{int(value):,}"


def compact(value: float | None) -> str:
    """Short enough for a tile: 9,812; 12.4k; 3.1M."""
    if value is None:
        return "–"
    for least, unit in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= least:
            return f"{value / (1e3 if unit == 'k' else least):.1f}{unit}"
    return number(value)


def percent(part: float | None, whole: float | None) -> str:
    """A share; never 100 % where something is missing."""
    if part is None or not whole:
        return "–"
    share = 100 * part / whole
    if share in {0.0, 100.0}:
        return f"{share:.0f} %"
    return f"{min(max(share, 0.1), 99.9):.1f} %"


def seconds(value: float | None) -> str:
    """A length of time: 240 ms, 3.4 s, 2 min 5 s, 3 h 10 min, 4 d 2 h."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s".replace(".0 s", " s")
    for unit, name, small, small_name in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if value >= unit:
            whole, rest = divmod(int(value), unit)
            return f"{whole} {name} {rest // small} {small_name}" if rest // small else f"{whole} {name}"
    return f"{value:.0f} s"


def clock(text: str | None, zone: ZoneInfo, *, parts: str = "second", now: datetime | None = None) -> str:
    """A moment in the viewer's zone; the date is left out today. *parts*: second, milli or minute."""
    if not text:
        return "–"
    at = read_time(text).astimezone(zone)
    today = (now or datetime.now(UTC)).astimezone(zone).date()
    date = "" if at.date() == today else f"{at:%Y-%m-%d} " if at.year != today.year else f"{at:%b} {at.day} "
    if parts == "milli":
        return f"{date}{at:%H:%M:%S}.{at.microsecond // 1000:03d}"
    return f"{date}{at:%H:%M:%S}" if parts == "second" else f"{date}{at:%H:%M}"


def time_tag(text: str | None, zone: ZoneInfo, *, parts: str = "second") -> Markup:
    """A ``time`` element: short to read, the whole moment with its zone on hover."""
    if not text:
        return el("span", "–", class_="muted")
    at = read_time(text).astimezone(zone)
    return el("time", clock(text, zone, parts=parts), datetime=text, title=f"{at:%Y-%m-%d %H:%M:%S.%f %Z}")


_LENGTHS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def read_length(text: str) -> timedelta | None:
    """A duration as the API writes it (``10m``, ``1d``); None where it is none."""
    found = re.fullmatch(r"(\d{1,9})(ms|[smhd])", text)
    return None if found is None else timedelta(seconds=int(found[1]) * _LENGTHS[found[2]])


def ago(text: str | None, now: datetime | None = None) -> str:
    """How long ago: 12 s ago."""
    if not text:
        return "never"
    past = (now or datetime.now(UTC)) - read_time(text)
    return "just now" if past < timedelta(seconds=2) else f"{seconds(float(round(past.total_seconds())))} ago"


def plain(value: Any) -> str:
    """A value of a document, as YAML would write it."""
    if value is True or value is False:
        return str(value).lower()
    return "none" if value is None else str(value)
