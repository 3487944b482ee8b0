"""Quiet hours hold until the window ends on the user's own clock, also on days of 23, 23.5, 24.5 and 25 hours."""

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.quiet import held_until, in_quiet_hours, local_hour, zone_for, zone_named

NEW_YORK, LORD_HOWE, SHANGHAI = "America/New_York", "Australia/Lord_Howe", "Asia/Shanghai"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def clock(window: str) -> tuple[time, time]:
    start, _, end = window.partition("-")
    return time.fromisoformat(start), time.fromisoformat(end)


@pytest.mark.parametrize(
    ("zone", "now", "window", "until"),
    [
        # Shanghai has no DST: the plain cases
        (SHANGHAI, "2026-03-08T13:59:59", "22:00-07:00", None),  # a second before quiet hours
        (SHANGHAI, "2026-03-08T14:00:00", "22:00-07:00", "2026-03-08T23:00:00"),  # the start is inside
        (SHANGHAI, "2026-03-08T22:59:59", "22:00-07:00", "2026-03-08T23:00:00"),
        (SHANGHAI, "2026-03-08T23:00:00", "22:00-07:00", None),  # the end is outside
        (SHANGHAI, "2026-03-08T05:00:00", "12:30-14:00", "2026-03-08T06:00:00"),  # within one day
        (SHANGHAI, "2026-03-08T05:00:00", "13:00-13:00", None),  # an empty window holds never
        # New York, 2026-03-08: 02:00 EST becomes 03:00 EDT
        (NEW_YORK, "2026-03-08T03:30:00", "22:00-07:00", "2026-03-08T11:00:00"),  # a night of 8 hours
        (NEW_YORK, "2026-03-08T06:59:59", "22:00-02:30", "2026-03-08T07:00:00"),  # the end is skipped: at the jump
        (NEW_YORK, "2026-03-08T07:00:00", "22:00-02:30", None),
        (NEW_YORK, "2026-03-08T06:30:00", "02:15-06:00", None),
        (NEW_YORK, "2026-03-08T07:00:00", "02:15-06:00", "2026-03-08T10:00:00"),  # the start was skipped
        # New York, 2026-11-01: 02:00 EDT becomes 01:00 EST
        (NEW_YORK, "2026-11-01T02:30:00", "22:00-07:00", "2026-11-01T12:00:00"),  # a night of 10 hours
        (NEW_YORK, "2026-11-01T05:10:00", "22:00-01:30", "2026-11-01T05:30:00"),  # the first 01:30 ends it
        (NEW_YORK, "2026-11-01T05:40:00", "22:00-01:30", None),
        (NEW_YORK, "2026-11-01T06:10:00", "22:00-01:30", None),  # 01:10 comes again: not held a second time
        (NEW_YORK, "2026-11-01T06:10:00", "01:00-03:00", "2026-11-01T08:00:00"),
        # Lord Howe moves by half an hour: 2026-04-05 02:00 +11 becomes 01:30 +10:30; 2026-10-04 02:00 becomes 02:30
        (LORD_HOWE, "2026-04-04T14:00:00", "22:00-07:00", "2026-04-04T20:30:00"),
        (LORD_HOWE, "2026-10-03T14:00:00", "22:00-07:00", "2026-10-03T20:00:00"),
        (LORD_HOWE, "2026-10-03T14:00:00", "22:00-02:15", "2026-10-03T15:30:00"),
        (LORD_HOWE, "2026-10-03T15:30:00", "22:00-02:15", None),
    ],
)
def test_quiet_hours_hold_until_morning_in_the_users_zone(zone: str, now: str, window: str, until: str | None) -> None:
    assert held_until(utc(now), zone, *clock(window)) == (utc(until) if until else None)


def test_a_zone_changed_while_held_is_asked_again() -> None:
    now, window = utc("2026-03-08T14:30:00"), clock("22:00-07:00")

    assert held_until(now, SHANGHAI, *window) == utc("2026-03-08T23:00:00")
    assert held_until(now, NEW_YORK, *window) is None


@settings(max_examples=300, deadline=None)
@given(
    now=st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - zone given
    zone=st.sampled_from([NEW_YORK, LORD_HOWE, SHANGHAI, "Europe/Berlin", "Pacific/Apia", "Africa/Casablanca"]),
    start=st.times().map(lambda moment: moment.replace(second=0, microsecond=0)),
    end=st.times().map(lambda moment: moment.replace(second=0, microsecond=0)),
)
def test_a_hold_ends_soon_and_for_good(now: datetime, zone: str, start: time, end: time) -> None:
    until = held_until(now, zone, start, end)

    if until is not None:
        assert now < until <= now + timedelta(hours=25)
        assert held_until(until, zone, start, end) is None


def test_the_zone_is_the_users_else_the_latest_devices_else_the_apps() -> None:
    assert zone_for("Asia/Tokyo", ["Europe/Berlin"], SHANGHAI) == "Asia/Tokyo"
    assert zone_for(None, [None, "Mars/Olympus", "Europe/Berlin"], SHANGHAI) == "Europe/Berlin"
    assert zone_for(None, [], SHANGHAI) == SHANGHAI
    assert zone_for("", [""], "../../etc/passwd") == "UTC"


def test_local_time_is_the_users() -> None:
    assert local_hour(utc("2026-03-08T13:59:00"), SHANGHAI) == 21
    assert in_quiet_hours(utc("2026-03-08T14:00:00"), SHANGHAI, *clock("22:00-07:00"))
    with pytest.raises(ValueError, match="IANA"):
        zone_named("Somewhere/Else")
