"""Durations and caps are read as people write them, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.limits import (
    Auto,
    Rate,
    format_duration,
    parse_coalesce,
    parse_duration,
    parse_rate,
    parse_wait,
    round_wait,
)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("200ms", 200), ("3s", 3_000), ("10m", 600_000), ("2h", 7_200_000), ("7d", 604_800_000), ("0s", 0)],
)
def test_a_duration_is_a_whole_number_and_a_unit(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    "text", ["", "3", "3 s", "1.5s", "-3s", "3S", "3sec", "٣s", "s", "3s ", "9" * 30 + "d", "367d"]
)
def test_nothing_else_is_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=366 * 86_400_000))
def test_a_duration_reads_back_as_it_was_written(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds)) == milliseconds


def test_caps_and_windows() -> None:
    assert parse_rate("3/1d") == Rate(3, 86_400_000)
    assert parse_rate("20000 segments/1d", unit="segments") == Rate(20_000, 86_400_000)
    assert parse_coalesce("collapse_key/10m") == 600_000
    assert parse_wait("auto(2s..15s)") == Auto(2_000, 15_000)
    assert str(parse_rate("30/60s")) == "30/1m"
    assert str(Auto(2_000, 90_000)) == "auto(2s..90s)"


@pytest.mark.parametrize("text", ["3", "3/", "/1d", "3/1", "3 segments/1d", "0/1d", "3/0s", "3/32d"])
def test_nothing_else_is_a_cap(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("wait_ms", "rounded_ms"), [(1, 250), (250, 250), (9_999, 10_000), (10_001, 11_000), (60_001, 65_000)]
)
def test_waits_are_rounded_up_so_that_they_merge(wait_ms: int, rounded_ms: int) -> None:
    assert round_wait(wait_ms) == rounded_ms
