"""Schedules, ttl in every phase, reach each, brakes, devices nobody knows."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.clock import HOUR, MINUTE, SECOND
from dispatcher.domain.delivery import Phase
from dispatcher.domain.message import Priority
from dispatcher.domain.outcome import HandedOver, RetryLater
from dispatcher.domain.paths import Path
from dispatcher.pipeline.reconcile import reconcile
from dispatcher.pipeline.release import offset

LADDER = ("{path: push, wait: 10s}", "{path: sms, wait: 1m}")


@pytest.mark.parametrize("ahead", [1 * SECOND, 30 * SECOND, HOUR])
async def test_a_scheduled_message_is_seen_by_nobody_before_its_time_and_goes_on_time(world: Any, ahead: int) -> None:
    await world.app("{path: push, wait: 10s}")
    await world.user("li", "d1")
    due = world.now + ahead
    await world.dispatch("now", "li")
    await world.dispatch("later", "li", not_before=due)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        world.now += round(seconds * 1000)

    while world.now < due + 4 * SECOND and "later" not in left(world):
        assert await inbox(world) <= ["now"]
        assert (await world.state("later"))["state"] == ("scheduled" if world.now < due else "open")
        world.now += max((due - world.now) // 2, 2 * SECOND)  # in ever smaller steps to the last seconds
        await reconcile(world.stores.parts, world.now, sleep=sleep)
        await world.work()
    assert sorted(left(world)) == ["later", "now"]
    (sent,) = [one for one in world.sent if one.attempt.message.message_id == "later"]
    assert due <= sent.at <= due + 4 * SECOND
    if ahead > 3 * SECOND:
        assert sent.at == due
    assert await inbox(world) == ["later", "now"]
    assert sent.attempt.expires_at == due + 24 * HOUR


async def test_a_crowded_minute_is_spread_and_everybody_finds_it_in_the_inbox_on_time(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.pipeline.release.AT_ONCE", 4)
    monkeypatch.setattr("dispatcher.pipeline.release.A_SECOND", 1)
    await world.app("{path: push, wait: 10s}")
    due = world.now // MINUTE * MINUTE + HOUR
    users = [f"u{number}" for number in range(8)]
    for user in users:
        await world.user(user, f"d-{user}")
        await world.dispatch(f"to-{user}", user, not_before=due)
    await world.dispatch("code", "u0", not_before=due, priority=Priority.HIGH, klass="otp")
    await world.dispatch("short", "u1", not_before=due, ttl_ms=4 * SECOND)
    world.now = due
    await world.reconcile()
    for user in users:
        entries = await world.stores.parts.inboxes.newest("im", user, before=None, limit=10)
        assert any(f'"to-{user}"'.encode() in entry.body for entry in entries)
    await world.advance(MINUTE)
    at = {sent.attempt.message.message_id: sent.at - due for sent in world.sent}
    assert at["code"] == 0
    assert at["short"] <= SECOND
    spread = sorted(at[f"to-{user}"] for user in users)
    assert spread[0] <= SECOND
    assert 6 * SECOND <= spread[-1] < MINUTE
    assert all(0 <= later - earlier <= 3 * SECOND for earlier, later in pairwise(spread))


@given(size=st.integers(1, 500_000), data=st.data())
def test_a_crowd_is_through_within_its_minute_and_no_slower_than_a_thousand_a_second(
    size: int, data: st.DataObject
) -> None:
    before = data.draw(st.integers(0, size - 1))
    waits = offset(before, size)
    assert 0 <= waits < MINUTE
    assert waits <= before
    assert waits <= offset(min(before + 1, size - 1), size)
    assert size > 2_000 or waits == 0


def left(world: Any) -> list[str]:
    return list(dict.fromkeys(sent.attempt.message.message_id for sent in world.sent))


async def inbox(world: Any) -> list[str]:
    entries = await world.stores.parts.inboxes.newest("im", "li", before=None, limit=10)
    return [entry.body.split(b'"')[3].decode() for entry in entries]


async def test_a_recalled_schedule_never_starts(world: Any) -> None:
    await world.app(*LADDER)
    await world.user("li", "d1")
    await world.dispatch("cm1", "li", not_before=world.now + HOUR)
    assert await world.core.recall("im", "cm1")
    assert (await world.state("cm1"))["state"] == "recalled"
    world.now += HOUR + SECOND
    await world.reconcile()
    await world.advance(HOUR)
    assert world.sent == []
    assert await inbox(world) == []


async def test_a_schedule_recalled_by_a_process_that_died_halfway_never_starts(world: Any) -> None:
    """The ledger has the recall, nothing else does."""
    await world.app(*LADDER)
    await world.user("li", "d1")
    await world.dispatch("cm1", "li", not_before=world.now + HOUR)
    await world.stores.parts.messages.recall("im", "cm1", world.now)
    world.now += HOUR + SECOND
    await world.reconcile()
    await world.advance(HOUR)
    await world.archive()
    assert world.sent == []
    assert (await world.state("cm1"))["state"] == "recalled"
    assert (await world.books())["classes"]["chat"]["open"] == 0


async def held(world: Any) -> None:
    await world.stores.parts.hold.hold(world.now + HOUR, "test")
    await world.user("li")
    await world.dispatch("cm1", "li", ttl_ms=30 * SECOND)
    await world.work()
    assert (await world.hot_state("cm1")).tracks[0].cursor.phase is Phase.HELD


async def waiting(world: Any) -> None:
    await world.user("li", "d1", phone=False)
    await world.dispatch("cm1", "li", ttl_ms=9 * SECOND)
    await world.work()
    assert (await world.hot_state("cm1")).tracks[0].cursor.phase is Phase.WAITING


async def unplanned(world: Any) -> None:
    await world.user("li", "d1")
    await world.dispatch("cm1", "li", ttl_ms=30 * SECOND)
    world.now += 30 * SECOND


async def retrying(world: Any) -> None:
    await world.user("li", "d1")
    world.providers[Path.APNS].answer = lambda attempt: RetryLater("busy", after_ms=8 * SECOND)
    await world.dispatch("cm1", "li", ttl_ms=9 * SECOND)
    await world.work()
    world.now += 9 * SECOND


@pytest.mark.parametrize("stands", [held, waiting, unplanned, retrying])
async def test_what_outlives_its_ttl_expires_wherever_it_stands(world: Any, stands: Any) -> None:
    await world.app(*LADDER)
    await stands(world)
    before = len(world.sent)
    await world.advance(HOUR)
    assert len(world.sent) == before
    assert (await world.state("cm1"))["state"] == "expired"


async def test_a_parked_track_expires_with_its_message(world: Any) -> None:
    """One device stands at its sms step and waits for the other, whose step outlasts the ttl."""
    await world.app("{path: push, wait: 1h}", "{path: sms, wait: 1m}")
    await world.user("li", "d1", "d2")
    from dispatcher.domain.outcome import Rejected

    world.providers[Path.APNS].answer = lambda attempt: (
        Rejected("broken") if attempt.device_id == "d1" else HandedOver()
    )
    await world.dispatch("cm1", "li", ttl_ms=5 * MINUTE)
    await world.advance(HOUR)
    assert "sms" not in world.paths()
    assert (await world.state("cm1"))["state"] == "expired"


async def test_a_brake_stops_every_worker_of_this_app_and_path_until_it_ends(world: Any) -> None:
    await world.app("{path: push, wait: 1m}")
    await world.app("{path: push, wait: 1m}", app="other")
    await world.user("li", "d1")
    await world.user("li", "o1", app="other")
    world.providers[Path.APNS].answer = lambda attempt: RetryLater("slow down", after_ms=20 * SECOND, brake=True)
    await world.dispatch("cm1", "li")
    await world.work()
    world.providers[Path.APNS].answer = lambda attempt: HandedOver()
    begun = world.now
    await world.advance(SECOND)
    await world.dispatch("cm2", "li")
    await world.dispatch("cm1", "li", app="other")
    await world.work()
    assert [sent.attempt.message.app for sent in world.sent] == ["im", "other"]
    await world.advance(MINUTE)
    assert sorted(left(world)) == ["cm1", "cm2"]
    assert all(sent.at >= begun + 20 * SECOND for sent in world.sent[2:])
    assert len(world.sent) == 4


async def test_a_brake_longer_than_the_step_goes_on_to_the_next(world: Any) -> None:
    await world.app("{path: push, wait: 10s}", "{path: poll, wait: 1m}")
    await world.user("li", "d1")
    await world.stores.parts.throttle.brake("im:apns", world.now + MINUTE, world.now)
    await world.dispatch("cm1", "li")
    await world.work()
    assert world.paths() == ["poll"]


async def test_unknown_devices_are_suppressed_and_known_ones_of_one_user_are_one_delivery(world: Any) -> None:
    await world.app("{path: push, wait: 10s}")
    await world.user("li", "d1", "d2", "d3")
    accepted = await world.dispatch("cm1", device_ids=("d1", "nobody's", "d3"))
    assert accepted.recipients == 2
    await world.work()
    assert sorted(sent.attempt.device_id for sent in world.sent) == ["d1", "d3"]
    states = {one["user_id"]: one["state"] for one in (await world.state("cm1"))["deliveries"]}
    assert states.pop("li") == "open"
    assert list(states.values()) == ["suppressed"]


async def test_naming_a_user_and_one_of_their_devices_is_one_delivery_to_all_of_them(world: Any) -> None:
    await world.app("{path: push, wait: 10s}")
    await world.user("li", "d1", "d2")
    accepted = await world.dispatch("cm1", "li", device_ids=("d1",))
    assert accepted.recipients == 1
    await world.work()
    assert sorted(sent.attempt.device_id for sent in world.sent) == ["d1", "d2"]


@pytest.mark.parametrize("order", [("d1", "d2"), ("d2", "d1")])
async def test_reach_each_goes_on_until_every_device_has_proof(world: Any, order: tuple[str, str]) -> None:
    await world.app("{path: push, wait: 10s}", "{path: poll, wait: 1m}", reach="each")
    await world.user("li", "d1", "d2", phone=False)
    await world.dispatch("cm1", "li")
    await world.work()
    await world.receipt("cm1", "li", order[0])
    assert (await world.state("cm1"))["state"] == "open"
    await world.advance(20 * SECOND)
    assert [sent.attempt.device_id for sent in world.sent if sent.path is Path.POLL] == [order[1]]
    await world.receipt("cm1", "li", order[1])
    assert (await world.state("cm1"))["state"] == "confirmed"


@pytest.mark.parametrize("until", ["ladder", "ttl"])
async def test_reach_each_is_confirmed_by_some_once_nothing_is_left_to_do(world: Any, until: str) -> None:
    steps = ("{path: push, wait: 10s}",) if until == "ladder" else ("{path: push}",)
    await world.app(*steps, reach="each")
    await world.user("li", "d1", "d2", phone=False)
    await world.dispatch("cm1", "li", ttl_ms=HOUR)
    await world.work()
    await world.receipt("cm1", "li", "d1")
    await world.advance(2 * HOUR)
    assert (await world.state("cm1"))["state"] == "confirmed"


async def test_reach_each_spends_no_sms_once_one_device_has_it(world: Any) -> None:
    await world.app(*LADDER, reach="each")
    await world.user("li", "d1", "d2")
    await world.dispatch("cm1", "li")
    await world.advance(5 * SECOND)
    await world.receipt("cm1", "li", "d1")
    await world.advance(HOUR)
    assert world.paths() == ["apns", "apns"]
    assert (await world.state("cm1"))["state"] == "confirmed"
