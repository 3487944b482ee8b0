"""Durations and rates as people write them: "200ms", "3s", "3/1d", "20000 segments/1d", "collapse_key/10m".

The duration form is the one of the whole API (`200ms`, `3s`, `10m`, `2h`, `7d`). Every parser here raises
`ValueError` with a sentence that says what to write.
"""

from __future__ import annotations

import re

import msgspec

UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_DURATION = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)", re.ASCII)
_RATE = re.compile(r"([0-9]{1,12})(?: (segments))?/([0-9]{1,12}(?:ms|s|m|h|d))", re.ASCII)
_AUTO = re.compile(r"auto\(\s*([0-9a-z]+)\s*\.\.\s*([0-9a-z]+)\s*\)", re.ASCII)

LONGEST_MS = 366 * UNIT_MS["d"]
"""Nothing in the product lasts longer than a year; a longer duration is a slip of the keyboard."""


class Rate(msgspec.Struct, frozen=True, array_like=True):
    """At most `count` in any `window_ms` milliseconds."""

    count: int
    window_ms: int

    def __str__(self) -> str:
        return f"{self.count}/{format_duration(self.window_ms)}"


class Auto(msgspec.Struct, frozen=True, array_like=True):
    """A wait taken from what was learned, inside these bounds (milliseconds)."""

    least_ms: int
    most_ms: int

    def __str__(self) -> str:
        return f"auto({format_duration(self.least_ms)}..{format_duration(self.most_ms)})"


def parse_duration(text: str, *, least_ms: int = 0, most_ms: int = LONGEST_MS) -> int:
    """Milliseconds of a duration such as `200ms`, `3s`, `10m`, `2h` or `7d`, refused outside the bounds."""
    found = _DURATION.fullmatch(text)
    if found is None:
        if text.isascii() and text.isdigit():
            raise ValueError(f"{text!r} has no unit: write {text}s for seconds (units: ms, s, m, h, d)")
        raise ValueError(
            f"{text[:40]!r} is not a duration: write a whole number and a unit, such as 200ms, 3s, 10m, 2h or 7d"
        )
    value = int(found[1]) * UNIT_MS[found[2]]
    if not least_ms <= value <= most_ms:
        raise ValueError(f"{text} is out of bounds: write {format_duration(least_ms)} to {format_duration(most_ms)}")
    return value


def format_duration(milliseconds: int) -> str:
    """The shortest way to write it: 90000 is `90s`, 120000 is `2m`."""
    for unit in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % UNIT_MS[unit] == 0:
            return f"{milliseconds // UNIT_MS[unit]}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def parse_rate(text: str, *, unit: str | None = None) -> Rate:
    """A cap such as `3/1d`; with unit="segments" a budget such as `20000 segments/1d`."""
    sample = "20000 segments/1d" if unit else "3/1d"
    found = _RATE.fullmatch(text)
    if found is None or found[2] != unit:
        raise ValueError(f"{text[:40]!r} is not a limit: write a number, a slash and a duration, such as {sample}")
    if int(found[1]) < 1:
        raise ValueError(f"{text} allows nothing: write at least 1, or leave the path out of the ladders")
    return Rate(int(found[1]), parse_duration(found[3], least_ms=1_000, most_ms=31 * UNIT_MS["d"]))


def parse_coalesce(text: str) -> int:
    """The window (milliseconds) of `collapse_key/10m`: unread messages of one conversation share one SMS."""
    head, slash, tail = text.partition("/")
    if head != "collapse_key" or not slash:
        raise ValueError(f"{text[:40]!r} is not known: write collapse_key/10m (one SMS per conversation and window)")
    return parse_duration(tail, least_ms=1_000, most_ms=7 * UNIT_MS["d"])


def parse_wait(text: str, *, least_ms: int = 1_000, most_ms: int = 7 * UNIT_MS["d"]) -> int | Auto:
    """A step's wait: a duration of 1s to 7d, or `auto(2s..15s)`."""
    if not text.startswith("auto"):
        return parse_duration(text, least_ms=least_ms, most_ms=most_ms)
    found = _AUTO.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a wait: write auto(2s..15s), the least and the most it may take")
    bounds = Auto(
        parse_duration(found[1], least_ms=least_ms, most_ms=most_ms),
        parse_duration(found[2], least_ms=least_ms, most_ms=most_ms),
    )
    if bounds.least_ms > bounds.most_ms:
        raise ValueError(f"{text} runs backwards: write the smaller bound first, auto({found[2]}..{found[1]})")
    return bounds


def round_wait(milliseconds: int) -> int:
    """Rounded up so that what is due together merges: 250 ms under 10 s, 1 s under a minute, 5 s beyond."""
    grain = 250 if milliseconds < 10_000 else 1_000 if milliseconds < 60_000 else 5_000
    return -(-milliseconds // grain) * grain
