"""Time as an argument.

Inside the core a moment is an ``int``: milliseconds since 1970-01-01 UTC (``Millis``). At the doors it is an
RFC 3339 text or an aware ``datetime``.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

Millis = int
Clock = Callable[[], Millis]

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def system_clock() -> Millis:
    """The machine's wall clock."""
    return time.time_ns() // 1_000_000


def to_datetime(at: Millis) -> datetime:
    """An aware UTC datetime, exact to the millisecond."""
    return _EPOCH + timedelta(milliseconds=at)


def from_datetime(moment: datetime) -> Millis:
    """Milliseconds of an aware datetime; naive ones are a programming error."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a zone is ambiguous")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


@lru_cache(maxsize=256)  # a batch's moments are the same few
def rfc3339(at: Millis) -> str:
    """RFC 3339 with milliseconds, in UTC."""
    return to_datetime(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def day_of(at: Millis) -> int:
    """Days since 1970-01-01 UTC: the ledger's partitions are cut along it."""
    return at // DAY


def round_up_due(due: Millis, now: Millis) -> Millis:
    """A deadline rounded up so that the leftovers of many waves merge into one (architecture.md).

    250 ms under 10 s of wait, 1 s under a minute, 5 s beyond.
    """
    wait = due - now
    grain = 250 if wait < 10 * SECOND else SECOND if wait < MINUTE else 5 * SECOND
    return -(-due // grain) * grain
