from dispatcher.domain.delivery import Proof
from dispatcher.domain.journal import Entry, Kind, events_of, proven, read_entry, receipt_entry, write_entry
from dispatcher.domain.paths import Path

NOW = 1_800_000_000_000


def test_an_entry_tells_each_member_only_its_own_column() -> None:
    entry = Entry(
        kind=Kind.OUTCOME,
        at=NOW,
        members=[(0, 0), (7, 1)],
        path=Path.APNS,
        step=8,
        attempt=1,
        shared={"wave": 4},
        columns={"outcome": ["handed_over", "token_dead"], "reason": [None, "Unregistered"]},
    )
    (first,) = events_of([read_entry(write_entry(entry))], 0)
    (second,) = events_of([entry], 7)
    assert (first.track, first.path, first.step, first.attempt) == (0, Path.APNS, 8, 1)
    assert first.detail == {"wave": 4, "outcome": "handed_over"}
    assert second.detail == {"wave": 4, "outcome": "token_dead", "reason": "Unregistered"}
    assert events_of([entry], 3) == []


def test_events_of_one_moment_stand_in_the_order_of_their_stages() -> None:
    """The ledger hands entries out by their hash: whatever order they come in, an outcome follows its attempt."""
    kinds = [Kind.PLANNED, Kind.ATTEMPTED, Kind.OUTCOME, Kind.ESCALATED]
    entries = [Entry(kind=kind, at=NOW, members=[(0, 0)]) for kind in kinds]
    later = Entry(kind=Kind.PLANNED, at=NOW + 1, members=[(0, 1)])
    shuffled = [later, entries[2], entries[0], entries[3], entries[1]]
    assert [event.kind for event in events_of(shuffled, 0)] == [*kinds, Kind.PLANNED]


def test_what_confirmed_a_delivery_can_be_read_back() -> None:
    rows = [
        (0, 0, Proof.DELIVERED, Path.LONGCONN, False, True),
        (1, 0, Proof.DISPLAYED, None, True, False),
        (2, 1, Proof.OPENED, None, False, True),
    ]
    data = write_entry(receipt_entry(NOW, rows))
    assert proven(data) == {0: (Proof.DELIVERED, Path.LONGCONN, NOW), 2: (Proof.OPENED, None, NOW)}
    assert proven(write_entry(Entry(kind=Kind.ATTEMPTED, at=NOW, members=[(0, 0)]))) == {}
