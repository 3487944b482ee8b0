from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.clock import MINUTE, SECOND, day_of, from_datetime, rfc3339, round_up_due, to_datetime

NOW = 1_800_000_000_000
MOMENTS = st.integers(0, 4_000_000_000_000)


@given(MOMENTS, st.integers(0, 30 * 24 * 3600 * 1000))
def test_a_deadline_is_rounded_up_never_down_and_by_less_than_a_grain(now: int, wait: int) -> None:
    due = now + wait
    grain = 250 if wait < 10 * SECOND else SECOND if wait < MINUTE else 5 * SECOND
    rounded = round_up_due(due, now)
    assert due <= rounded < due + grain
    assert rounded % grain == 0


def test_leftovers_of_many_waves_fall_together() -> None:
    assert len({round_up_due(NOW + 2_000 + late, NOW + late) for late in range(1, 250)}) == 1


@given(MOMENTS)
def test_moments_survive_datetimes(at: int) -> None:
    assert from_datetime(to_datetime(at)) == at
    assert datetime.fromisoformat(rfc3339(at)) == to_datetime(at)


def test_zones_are_minded_and_naive_moments_refused() -> None:
    shanghai = timezone(timedelta(hours=8))
    assert from_datetime(datetime(2026, 3, 1, 8, tzinfo=shanghai)) == from_datetime(datetime(2026, 3, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="zone"):
        from_datetime(datetime(2026, 3, 1))  # noqa: DTZ001 - the fault under test


def test_a_day_turns_at_midnight_utc() -> None:
    midnight = from_datetime(datetime(2026, 3, 1, tzinfo=UTC))
    assert day_of(midnight) == day_of(midnight - 1) + 1
