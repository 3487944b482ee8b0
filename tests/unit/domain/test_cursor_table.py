"""The life of a track's cursor, walked through every phase with every event."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.delivery import (
    TRANSITIONS,
    Cursor,
    End,
    Event,
    IllegalTransition,
    Phase,
    Proof,
    TrackState,
    dominant,
    move,
    sms_due,
)

EVERY = [(phase, event) for phase in Phase for event in Event]


@pytest.mark.parametrize(("phase", "event"), EVERY, ids=lambda one: one.name)
def test_what_the_table_lacks_is_an_error(phase: Phase, event: Event) -> None:
    if (phase, event) in TRANSITIONS:
        assert move(phase, event) is TRANSITIONS[phase, event]
    else:
        with pytest.raises(IllegalTransition):
            move(phase, event)


@given(st.lists(st.sampled_from(list(Event)), max_size=60))
def test_no_walk_leaves_done_sends_twice_or_waits_without_an_attempt(events: list[Event]) -> None:
    """PLAN never comes back, DONE is the end, and only a claimed (or lost) attempt can wait for proof."""
    phase, walk = Phase.PLAN, [Phase.PLAN]
    for event in events:
        try:
            phase = move(phase, event)
        except IllegalTransition:
            continue
        walk.append(phase)
    assert Phase.PLAN not in walk[1:]
    assert Phase.DONE not in walk[:-1]
    for before, after in pairwise(walk):
        if after is Phase.WAITING:
            assert before in {Phase.SENDING, Phase.UNKNOWN}
        if after is Phase.SENDING:
            assert before is Phase.READY


def test_every_phase_but_done_can_end() -> None:
    reachable = {Phase.PLAN}
    while more := {TRANSITIONS[at] for at in TRANSITIONS if at[0] in reachable} - reachable:
        reachable |= more
    assert reachable == set(Phase)
    for phase in set(Phase) - {Phase.DONE}:
        seen = {phase}
        while more := {TRANSITIONS[at] for at in TRANSITIONS if at[0] in seen} - seen:
            seen |= more
        assert Phase.DONE in seen


@pytest.mark.parametrize(
    ("current", "new", "stands"),
    [
        (End.EXPIRED, End.CONFIRMED, End.CONFIRMED),
        (End.EXHAUSTED, End.CONFIRMED, End.CONFIRMED),
        (End.CONFIRMED, End.EXPIRED, End.CONFIRMED),
        (End.CONFIRMED, End.RECALLED, End.RECALLED),
        (End.RECALLED, End.CONFIRMED, End.RECALLED),
        (End.OPEN, End.SUPPRESSED, End.SUPPRESSED),
    ],
)
def test_ends_dominate_in_a_fixed_order(current: End, new: End, stands: End) -> None:
    assert dominant(current, new) is stands


@given(st.lists(st.sampled_from(list(End)), min_size=1), st.randoms())
def test_the_order_of_ends_does_not_matter(ends: list[End], dice: object) -> None:
    def fold(values: list[End]) -> End:
        stands = End.OPEN
        for value in values:
            stands = dominant(stands, value)
        return stands

    assert fold(ends) is fold(sorted(ends)) is fold(sorted(ends, reverse=True)) is max(ends)


def track(phase: Phase, *, tried: bool) -> TrackState:
    return TrackState(
        proof=Proof.NONE,
        cursor=Cursor(3, 0, phase),
        until=Proof.DELIVERED,
        tried=tried,
        path=None,
        device_hash=0,
        attempted_at=None,
    )


@pytest.mark.parametrize(
    ("tracks", "asks"),
    [
        ([(Phase.PARKED, True)], 0),
        ([(Phase.PARKED, False)], 0),  # every step was skipped, and all tracks are such
        ([(Phase.WAITING, True), (Phase.PARKED, True)], None),
        ([(Phase.DONE, True), (Phase.PARKED, True)], 1),
        ([(Phase.PARKED, False), (Phase.PARKED, True)], 1),  # the skipped one does not count
        ([(Phase.PARKED, False), (Phase.DONE, True)], None),
        ([(Phase.DONE, False), (Phase.PARKED, False)], 1),
        ([(Phase.PARKED, False), (Phase.READY, False)], None),
        ([(Phase.DONE, True)], None),
        ([], None),
    ],
)
def test_one_sms_is_due_once_every_track_stands_still(tracks: list[tuple[Phase, bool]], asks: int | None) -> None:
    assert sms_due(tuple(track(phase, tried=tried) for phase, tried in tracks)) == asks
