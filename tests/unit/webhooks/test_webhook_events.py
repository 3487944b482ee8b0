"""What receivers are told of a journal entry, under ids that never change."""

from dispatcher.domain.clock import DAY, MINUTE, SECOND
from dispatcher.domain.delivery import Proof
from dispatcher.domain.journal import Entry, Kind, carrier_entry, proven, receipt_entry, write_entry
from dispatcher.domain.paths import Path
from dispatcher.domain.webhook import Happened, StatusEvent, event_id, happened, join_events, post_body, without_user
from dispatcher.pipeline.webhooks import BACKOFF, GIVE_UP, judge
from dispatcher.ports.webhooks import Endpoint, Reply

NOW = 1_900_000_000_000


def told(entry: Entry) -> list[Happened]:
    return list(happened(entry, write_entry(entry)))


def outcome(*outcomes: str, path: Path = Path.APNS) -> Entry:
    return Entry(
        kind=Kind.OUTCOME,
        at=NOW,
        members=[(place, 0) for place in range(len(outcomes))],
        path=path,
        step=8,
        attempt=1,
        columns={"outcome": list(outcomes), "reason": ["why"] * len(outcomes)},
    )


def test_only_what_was_handed_over_or_kills_a_token_is_told_of_outcomes() -> None:
    events = told(outcome("handed_over", "retry_later", "token_dead", "not_connected"))
    assert [(event.event, event.place, event.attempt) for event in events] == [
        (StatusEvent.HANDED_OVER, 0, 1),
        (StatusEvent.TOKEN_DEAD, 2, 1),
    ]
    assert events[1].detail == {"reason": "why"}


def test_a_receipt_that_settles_tells_both() -> None:
    entry = receipt_entry(
        NOW, [(3, 1, Proof.DISPLAYED, Path.FCM, False, True), (4, 0, Proof.OPENED, None, True, False)]
    )
    assert [(event.event, event.place, event.detail) for event in told(entry)] == [
        (StatusEvent.DISPLAYED, 3, {}),
        (StatusEvent.SETTLED, 3, {"state": "confirmed", "confirmed_by": Path.FCM}),
        (StatusEvent.OPENED, 4, {"inferred": True}),
    ]


def test_a_carriers_word_is_told_and_proves_nothing_by_itself() -> None:
    entry = carrier_entry(NOW, 2, 0, "undelivered")
    (event,) = told(entry)
    assert (event.event, event.path, event.detail) == (StatusEvent.SMS_STATUS, Path.SMS, {"status": "undelivered"})
    assert proven(write_entry(entry)) == {}
    (failed,) = told(carrier_entry(NOW, 2, 0, "undelivered", "30003"))
    assert failed.detail == {"status": "undelivered", "error": "30003"}


def test_the_same_happening_keeps_its_id_and_another_has_its_own() -> None:
    first, again = told(outcome("handed_over", "handed_over")), told(outcome("handed_over", "handed_over"))
    assert [event_id(one.key) for one in first] == [event_id(one.key) for one in again]
    assert len({event_id(one.key) for one in first}) == 2


def test_an_erased_users_events_leave_what_waits() -> None:
    waiting = join_events([b'{"id":"1","user_id":"li"}', b'{"id":"2","user_id":"mo"}'])
    left, count = without_user(waiting, "li")
    assert (post_body(left), count) == (b'{"events":[{"id":"2","user_id":"mo"}]}', 1)


def endpoint(*, tries: int = 0, failing_since: int | None = None) -> Endpoint:
    return Endpoint(webhook_id="w", app="im", url="u", secret=b"", tries=tries, failing_since=failing_since)


def test_waits_grow_and_retry_after_is_heeded() -> None:
    waits = [judge(endpoint(tries=tries), Reply(status=500), NOW, 0.5).next_at - NOW for tries in range(12)]
    assert waits == [*BACKOFF, *[BACKOFF[-1]] * 3]
    assert judge(endpoint(), Reply(status=429, retry_after=10 * MINUTE), NOW, 0.5).next_at == NOW + 10 * MINUTE


def test_retries_last_a_day_then_the_endpoint_is_paused() -> None:
    failing = endpoint(tries=9, failing_since=NOW - DAY + SECOND)
    assert judge(failing, Reply(status=0, error="timeout"), NOW, 0.5).pause is None
    paused = judge(failing, Reply(status=0, error="timeout"), NOW + SECOND, 0.5).pause
    assert paused == "failing for a day: timeout"
    assert sum(BACKOFF) < GIVE_UP
    assert judge(endpoint(), Reply(status=410), NOW, 0.5).pause is not None
