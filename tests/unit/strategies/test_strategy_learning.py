"""Rates and times are learned per device and segment, forget the past, stay small, and can be pinned."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import learn
from strategies.learn import EMPTY, HALF_LIFE_S, Learned, Pin

DAY = 86_400.0
START = 1_780_000_000.0


def history(times_s: list[float], unproven: int = 0, at_s: float = START) -> Learned:
    learned = EMPTY
    for after_s in times_s:
        learned = learn.proven(learn.attempted(learned, at_s), at_s, after_s)
    return learn.attempted(learned, at_s, unproven) if unproven else learned


def test_a_rate_is_receipts_over_attempts() -> None:
    assert learn.ack_rate(history([1.0] * 9, unproven=3)) == pytest.approx(0.75)


def test_too_little_history_is_no_history() -> None:
    assert learn.ack_rate(history([1.0] * 4)) is None
    assert learn.quantile_s(history([1.0] * 4)) is None


def test_last_week_weighs_more_than_last_month() -> None:
    bad_past = history([], unproven=20)
    learned = bad_past
    for _ in range(20):
        learned = learn.proven(learn.attempted(learned, START + 4 * HALF_LIFE_S), START + 4 * HALF_LIFE_S, 1.0)

    rate = learn.ack_rate(learned)

    assert rate is not None
    assert rate > 0.9


def test_all_is_forgotten_in_the_end_and_a_clock_that_runs_back_changes_nothing() -> None:
    learned = history([1.0] * 50)

    assert learn.quantile_s(learn.decay(learned, START + 365 * DAY)) is None
    assert learn.decay(learned, START + 365 * DAY).buckets == ()
    assert learn.decay(learned, START - DAY) == learned


@given(st.lists(st.floats(min_value=0.02, max_value=600_000), min_size=20, max_size=200), st.sampled_from([0.5, 0.95]))
def test_a_quantile_is_within_eight_percent(times_s: list[float], share: float) -> None:
    estimate = learn.quantile_s(history(times_s), share)

    exact = sorted(times_s)[math.ceil(len(times_s) * share - 1e-6) - 1]
    assert estimate is not None
    assert abs(estimate / exact - 1) < 0.081


@given(st.lists(st.floats(min_value=0, max_value=1e12), max_size=300))
def test_a_record_stays_small_and_reads_back(times_s: list[float]) -> None:
    learned = history(times_s)

    packed = learn.pack(learned)

    assert len(packed) <= 657
    assert learn.unpack(packed).buckets == learned.buckets
    assert learn.pack(learn.unpack(packed)) == packed


@pytest.mark.parametrize("packed", [b"", b"\x02" + b"\0" * 16, b"\x01" + b"\0" * 17, b"\x01" + b"\xff" * 16])
def test_a_foreign_record_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="learning record"):
        learn.unpack(packed)


@given(st.lists(st.lists(st.sampled_from([0.5, 2.0, 30.0]), max_size=10), min_size=1, max_size=4))
def test_what_several_saw_apart_merges_to_what_one_saw(parts: list[list[float]]) -> None:
    merged = learn.merge([history(part) for part in parts])

    whole = history([after_s for part in parts for after_s in part])
    assert merged.buckets == whole.buckets
    assert merged.attempts == pytest.approx(whole.attempts)


def test_a_device_without_history_gets_its_segments_and_a_pin_wins() -> None:
    device, segment = learn.rates(history([2.0] * 10)), learn.rates(history([20.0] * 10, unproven=10))

    assert learn.answer(device, segment).p95_from == "device"
    answer = learn.answer(None, segment)
    assert (answer.ack_rate, answer.ack_rate_from, answer.p95_from) == (0.5, "segment", "segment")
    assert learn.answer(learn.rates(EMPTY), None) == learn.Answer(None, "none", None, "none")
    pinned = learn.answer(device, segment, Pin(p95_s=7.0))
    assert (pinned.p95_s, pinned.p95_from, pinned.ack_rate_from) == (7.0, "pinned", "device")


@given(st.lists(st.floats(min_value=0, max_value=1e5), max_size=30), st.integers(0, 9))
def test_lessons_taken_at_once_teach_what_each_alone_would(times_s: list[float], unproven: int) -> None:
    alone = history(times_s, unproven)

    at_once = learn.taught(EMPTY, START, len(times_s) + unproven, times_s)

    assert (at_once.attempts, at_once.receipts, at_once.buckets) == (alone.attempts, alone.receipts, alone.buckets)


def test_segments_stay_few() -> None:
    key = learn.segment_key("fcm", platform="android", manufacturer="Xiaomi!", app_version="8.1.77-beta", country="CN")

    assert key == "s:fcm:android:xiaomi:8.1:cn"
    assert learn.device_key("d:1", "fcm") == "d:fcm:d:1"
