"""A path is held against its own past: thin, slow or silent ones are found, and found well again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.histogram import bucket_of
from strategies.watch import (
    NO_ANSWERS,
    SECOND_CHANCE,
    SLOW_RECEIPTS,
    THIN_RECEIPTS,
    USUAL_HALF_LIFE,
    Counts,
    Tally,
    Watch,
    taken,
    watched,
)

SLOT = 30_000
FIRST = 50_000_000


def slot(proven: int = 0, vain: int = 0, after_ms: int = 2_000, unanswered: int = 0) -> Tally:
    buckets = {bucket_of(after_ms): proven} if proven else {}
    return Tally(vain, buckets, proven + vain, unanswered)


def after(watch: Watch, *tallies: Tally) -> Watch:
    first = watch.slot + 1 if watch.slot else FIRST
    return watched(watch, [(first + at, tally) for at, tally in enumerate(tallies)], SLOT)


@pytest.fixture
def usual() -> Watch:
    """An hour of 40 receipts in 50 attempts a slot, two seconds each."""
    return after(Watch(), *[slot(40, 10)] * 120)


def test_what_goes_as_usual_is_well(usual: Watch) -> None:
    assert usual.reason is None
    assert usual.usual.rate == pytest.approx(0.8)
    assert usual.usual.p95_s == pytest.approx(2.0, rel=0.2)


@pytest.mark.parametrize(
    ("lately", "reason"),
    [
        (slot(5, 45), THIN_RECEIPTS),
        (slot(0, 50), THIN_RECEIPTS),
        (slot(30, 20), None),  # fewer, but not by half
        (slot(0, 3), None),  # too few to say
        (slot(40, 10, after_ms=9_000), SLOW_RECEIPTS),
        (slot(40, 10, after_ms=3_500), None),
        (slot(40, 10, unanswered=400), NO_ANSWERS),
        (slot(40, 10, unanswered=20), None),
    ],
)
def test_what_is_unlike_its_past_is_found_within_two_minutes(usual: Watch, lately: Tally, reason: str | None) -> None:
    assert after(usual, *[lately] * 4).reason == reason


def test_a_path_that_is_never_proven_tells_nothing_by_silence() -> None:
    assert after(Watch(), *[slot(1, 99)] * 100, *[slot(0, 100)] * 10).reason is None


def test_a_new_path_has_no_usual_but_a_silent_provider_is_found_all_the_same() -> None:
    assert after(Watch(), slot(40), slot(0, 40)).reason is None
    assert after(Watch(), slot(unanswered=40)).reason == NO_ANSWERS


def test_a_burst_of_traffic_changes_nothing(usual: Watch) -> None:
    assert after(usual, slot(4_000, 1_000), slot(4_000, 1_000)).reason is None


@pytest.mark.parametrize("bad", [slot(2, 48), slot(40, 10, after_ms=20_000), slot(unanswered=60)])
def test_a_few_good_probes_make_it_well(usual: Watch, bad: Tally) -> None:
    fallen = after(usual, bad, bad, bad)
    assert fallen.reason is not None
    still = after(fallen, slot(0, 1) if fallen.reason == THIN_RECEIPTS else slot(), slot())
    assert still.reason == fallen.reason
    assert still.since == fallen.since
    assert after(still, slot(3), slot(3)).reason is None


def test_what_was_under_way_when_it_fell_does_not_keep_it_down(usual: Watch) -> None:
    fallen = after(usual, *[slot(0, 50)] * 3)
    assert after(fallen, slot(0, 50), slot(0, 30), slot(6, 1)).reason is None


def test_without_probes_it_gets_a_second_chance_after_an_hour(usual: Watch) -> None:
    fallen = after(usual, *[slot(0, 50)] * 3)
    passed = (fallen.slot + 1) * SLOT - fallen.since
    nearly = after(fallen, *[slot()] * ((SECOND_CHANCE - passed) // SLOT - 1))
    assert nearly.reason == THIN_RECEIPTS
    assert after(nearly, slot()).reason is None


def test_what_is_bad_does_not_become_the_usual(usual: Watch) -> None:
    fallen = after(usual, *[slot(0, 50)] * 20)
    assert fallen.usual.rate > 0.6


def test_a_slot_counts_once(usual: Watch) -> None:
    assert watched(usual, [(usual.slot, slot(0, 50)), (usual.slot - 1, slot(0, 50))], SLOT) == usual


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 10**7), st.integers(0, 60)), max_size=60)
)
def test_any_history_gives_counts_that_make_sense(rows: list[tuple[int, int, int, int]]) -> None:
    found = after(Watch(), *[slot(proven, vain, ms, silent) for proven, vain, ms, silent in rows])
    for counts in (found.usual, found.recent):
        assert 0 <= counts.rate <= 1
        assert 0 <= counts.silence <= 1
        assert counts.receipts >= 0
    assert (found.reason is None) == (found.since == 0)


def test_a_half_life_halves() -> None:
    counts = taken(Counts(1), slot(8, 8), 1, None)
    later = taken(counts, slot(), 1 + USUAL_HALF_LIFE, USUAL_HALF_LIFE)
    assert (later.receipts, later.vain) == (4, 4)
