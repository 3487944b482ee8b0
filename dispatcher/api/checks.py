"""What types cannot say about a field: phone numbers, zones, locales, durations, times."""

from functools import cache
from typing import Annotated
from zoneinfo import available_timezones

from msgspec import Meta

from dispatcher.domain.clock import DAY, Millis
from dispatcher.domain.ids import is_id
from dispatcher.domain.requests import parse_duration, parse_time, write_duration
from dispatcher.errors import Problem

#: The longest window of time that can be asked about.
MAX_WINDOW: Millis = 400 * DAY

#: ``(?!\n)`` because Python's ``$`` also stands before a last line break; other engines read past it.
Id = Annotated[
    str,
    Meta(
        pattern=r"^[!-~]{1,128}$(?!\n)",
        min_length=1,
        max_length=128,
        description="opaque: 1 to 128 visible ASCII characters",
    ),
]
ClassName = Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,32}$(?!\n)", min_length=1, max_length=32)]
DurationText = Annotated[
    str, Meta(pattern=r"^[0-9]{1,10}(ms|s|m|h|d)$(?!\n)", examples=["200ms", "3s", "10m", "2h", "7d"])
]
TimeText = Annotated[str, Meta(max_length=64, extra_json_schema={"format": "date-time"})]
E164 = Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{6,14}$(?!\n)", description="E.164, such as +8613800138000")]
Locale = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8}){0,7}$(?!\n)", max_length=64, description="BCP 47: zh-CN"),
]
ClockText = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)", description="HH:MM")]
ZoneName = Annotated[str, Meta(min_length=1, max_length=64, description="IANA time zone: Asia/Shanghai")]

#: What to write where one of these patterns does not match.
SPELLINGS = {
    r"^[!-~]{1,128}$(?!\n)": "1 to 128 visible ASCII characters",
    r"^[a-z0-9_]{1,32}$(?!\n)": "1 to 32 of a-z, 0-9 and _",
    r"^[0-9]{1,10}(ms|s|m|h|d)$(?!\n)": "a duration such as 200ms, 3s, 10m, 2h or 7d",
    r"^\+[1-9][0-9]{6,14}$(?!\n)": "a number as +8613800138000 (E.164)",
    r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8}){0,7}$(?!\n)": "a locale such as zh-CN (BCP 47)",
    r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)": "a time of day such as 22:00",
    r"^[0-9a-f]{20}$(?!\n)": "what stood in next",
}

#: Assigned two-digit country codes; besides them stand 1 and 7, and three digits for all others.
_TWO_DIGIT_CODES = frozenset(
    str(code)
    for codes in ((20, 27, 36, 81, 82, 84, 86, 98), range(30, 35), range(39, 42), range(43, 50), range(51, 59))
    for code in codes
) | frozenset(str(code) for codes in (range(60, 67), range(90, 96)) for code in codes)


def calling_code(number: str) -> str:
    """The country calling code of an E.164 number, without ``+`` (ITU-T E.164, list of assigned codes)."""
    digits = number[1:]
    if digits[0] in "17":
        return digits[0]
    return digits[:2] if digits[:2] in _TWO_DIGIT_CODES else digits[:3]


def masked_number(number: str) -> str:
    """Calling code and the last two digits: enough to recognise, too little to call."""
    code = calling_code(number)
    return f"+{code}{'*' * (len(number) - len(code) - 3)}{number[-2:]}"


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def check_zone(field: str, name: str | None) -> None:
    """422 where *name* is no IANA zone."""
    if name is not None and name not in _zones():
        raise Problem.invalid(field, "no IANA time zone such as Asia/Shanghai")


def read_duration(field: str, text: str, *, least: Millis, most: Millis) -> Millis:
    """422 where *text* is no duration or out of bounds."""
    try:
        duration = parse_duration(text)
    except ValueError as error:
        raise Problem.invalid(field, str(error)) from None
    if not least <= duration <= most:
        raise Problem.invalid(field, f"write {write_duration(least)} to {write_duration(most)}")
    return duration


def read_time(field: str, text: str) -> Millis:
    """422 where *text* is no RFC 3339 time."""
    try:
        return parse_time(text)
    except ValueError as error:
        raise Problem.invalid(field, str(error)) from None


def check_window(since: Millis, until: Millis) -> None:
    """422 for a window that is empty, longer than any retention, or before all time."""
    if since >= until:
        raise Problem.invalid("since", "must lie before until")
    if since < 0 or until - since > MAX_WINDOW:
        raise Problem.invalid("since", f"write a window of at most {write_duration(MAX_WINDOW)}")


def check_id(field: str, text: str) -> str:
    """*text* where it may be an id at all, else 422."""
    if not is_id(text):
        raise Problem.invalid(field, "write 1 to 128 visible ASCII characters")
    return text
