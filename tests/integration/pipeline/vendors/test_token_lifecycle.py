"""What becomes of push tokens: dead, stale, rotated under way, registered again, moved, shared; judged by the logs."""

import asyncio
from typing import Any

import pytest

from dispatcher.domain.clock import DAY, SECOND
from dispatcher.domain.paths import Path
from dispatcher.phone_desk import PhoneDesk
from workers.chores import stale_turn

OLD, NEW = "aa" * 32, "bb" * 32
PUSH = ("{path: push, wait: 1m}", "{path: poll, wait: 10m}")


@pytest.mark.parametrize(
    ("told_after_registration", "state"), [(-1, "active"), (0, "dead"), (1, "dead")], ids=["before", "same", "after"]
)
async def test_a_410_means_only_what_was_registered_by_then(
    vendors: Any, told_after_registration: int, state: str
) -> None:
    world = vendors.world
    await vendors.app(*PUSH)
    await vendors.phone("li", "d1", Path.APNS, OLD)
    at = world.now + told_after_registration
    await vendors.script("apns", errors=[{"status": 410, "reason": "Unregistered", "timestamp_ms": at}])
    world.now += 5 * SECOND
    await world.dispatch("m1", "li")
    await world.work()
    assert await vendors.states("li") == {OLD: state}
    kinds = await world.kinds("m1")
    assert "escalated" in kinds  # either way this attempt is over
    await world.dispatch("m2", "li")
    await world.work()
    assert len(await vendors.requests("apns")) == (2 if state == "active" else 1)


async def test_a_token_rotated_under_way_is_not_touched_by_the_old_ones_verdict(vendors: Any) -> None:
    world = vendors.world
    await vendors.app(*PUSH)
    await vendors.phone("li", "d1", Path.APNS, OLD)
    await vendors.script("apns", errors=[{"match": OLD, "status": 400, "reason": "BadDeviceToken", "latency": "700ms"}])
    await world.dispatch("m1", "li")
    working = asyncio.ensure_future(world.work())
    await vendors.under_way("apns")
    await vendors.phone("li", "d1", Path.APNS, NEW)
    await working
    assert await vendors.states("li") == {OLD: "stale", NEW: "active"}
    await world.dispatch("m2", "li")
    await world.work()
    assert (await vendors.targets("apns"))[-1] == NEW


async def test_the_same_token_registered_again_under_way_lives(vendors: Any) -> None:
    world = vendors.world
    await vendors.app(*PUSH)
    await vendors.phone("li", "d1", Path.APNS, OLD)
    await vendors.script("apns", errors=[{"status": 400, "reason": "BadDeviceToken", "latency": "700ms"}])
    await world.dispatch("m1", "li")
    working = asyncio.ensure_future(world.work())
    await vendors.under_way("apns")
    world.now += 1
    await vendors.phone("li", "d1", Path.APNS, OLD)
    await working
    assert await vendors.states("li") == {OLD: "active"}


async def test_a_bad_token_is_dead_in_its_own_environment_only(vendors: Any) -> None:
    world = vendors.world
    await vendors.app(*PUSH)
    await vendors.phone("li", "d1", Path.APNS, OLD)
    killed = await world.stores.directory.kill_token(
        "im", "d1", Path.APNS, OLD, "sandbox", since=world.now + 1, reason="BadDeviceToken"
    )
    assert killed is None
    assert await vendors.states("li") == {OLD: "active"}


async def test_a_device_that_moves_gets_nothing_more_for_its_old_user(vendors: Any) -> None:
    world = vendors.world
    await vendors.app("{path: longconn, wait: 5s}", "{path: push, wait: 30s, retries: 3}")
    await vendors.phone("li", "d1", Path.APNS, OLD)
    await vendors.script("apns", errors=[{"status": 503, "reason": "ServiceUnavailable"}])
    await world.dispatch("m1", "li")
    await world.work()
    assert len(await vendors.requests("apns")) == 1
    await vendors.script("apns")
    await vendors.phone("wang", "d1", Path.APNS, NEW)
    await world.advance(60 * SECOND)
    assert len(await vendors.requests("apns")) == 1  # the retry died with the binding
    assert await vendors.states("li") == {}
    assert await vendors.states("wang") == {OLD: "stale", NEW: "active"}
    await world.dispatch("m2", "li", "wang")
    await world.work()
    assert await vendors.targets("apns") == [OLD, NEW]


async def test_one_token_on_two_devices_belongs_to_the_later_one(vendors: Any) -> None:
    world = vendors.world
    await vendors.app(*PUSH)
    await vendors.phone("li", "d1", Path.APNS, OLD)
    await vendors.phone("wang", "d2", Path.APNS, OLD)
    await world.dispatch("m1", "li", "wang")
    await world.work()
    assert await vendors.targets("apns") == [OLD]
    assert await vendors.states("li") == {OLD: "stale"}
    assert await vendors.states("wang") == {OLD: "active"}


async def test_tokens_of_devices_that_nobody_heard_of_rest_until_they_register_again(vendors: Any) -> None:
    world = vendors.world
    await vendors.app(*PUSH)
    await vendors.phone("li", "android", Path.FCM, "li-token")
    await vendors.phone("wang", "iphone", Path.APNS, OLD)
    await vendors.phone("zhao", "chatty", Path.FCM, "zhao-token")
    await vendors.phone("chen", "greeter", Path.FCM, "chen-token")
    world.now += 29 * DAY
    await world.dispatch("m0", "zhao")
    await world.receipt("m0", "zhao", "chatty")
    gateway = PhoneDesk(world.core.parts)
    gateway.greeted("im", "greeter", world.now)
    await gateway.close()
    await world.core.receiver.sightings.write()
    world.now += 2 * DAY
    assert await stale_turn(world.stores) == 1
    assert await vendors.states("li") == {"li-token": "stale"}
    assert await vendors.states("wang") == {OLD: "active"}
    assert await vendors.states("zhao") == {"zhao-token": "active"}
    assert await vendors.states("chen") == {"chen-token": "active"}
    await world.dispatch("m1", "li")
    await world.work()
    assert await vendors.requests("fcm") == []
    await vendors.phone("li", "android", Path.FCM, "li-token")
    await world.dispatch("m2", "li")
    await world.work()
    assert await vendors.targets("fcm") == ["li-token"]
    world.now += 271 * DAY
    await stale_turn(world.stores)
    assert await vendors.states("li") == {"li-token": "dead"}
    assert await vendors.states("wang") == {OLD: "stale"}
    assert await stale_turn(world.stores) == 0


async def test_a_call_rings_on_the_token_that_rings_and_nothing_else_does(vendors: Any) -> None:
    world = vendors.world
    await vendors.app(*PUSH)
    await vendors.phone("li", "d1", Path.APNS, OLD, ringing=NEW)
    await world.dispatch("m1", "li")
    await world.dispatch("c1", "li", klass="call", data={"room": "7"})
    await world.work()
    sent = {
        entry["target"]: [entry["headers"][f"apns-{name}"] for name in ("push-type", "topic", "priority")]
        for entry in await vendors.requests("apns")
    }
    assert sent == {
        OLD: ["alert", "com.example.im", "10"],
        NEW: ["voip", "com.example.im.voip", "10"],
    }


async def test_a_dead_token_that_rings_leaves_the_phone_its_usual_one(vendors: Any) -> None:
    world = vendors.world
    await vendors.app(*PUSH)
    await vendors.phone("li", "d1", Path.APNS, OLD, ringing=NEW)
    await vendors.script("apns", errors=[{"match": NEW, "status": 410, "reason": "Unregistered"}])
    await world.dispatch("c1", "li", klass="call")
    await world.work()
    await world.advance(SECOND)
    assert await vendors.states("li") == {OLD: "active", NEW: "dead"}
    assert await vendors.targets("apns") == [NEW, OLD]
    assert [entry["headers"]["apns-push-type"] for entry in await vendors.requests("apns")] == ["voip", "alert"]


async def test_history_says_since_when_and_why(vendors: Any) -> None:
    world = vendors.world
    await vendors.app(*PUSH)
    await vendors.phone("li", "d1", Path.APNS, OLD)
    world.now += SECOND
    await vendors.phone("li", "d1", Path.APNS, NEW)
    _, device = await world.stores.directory.device("im", "d1")
    history = {token.value: (str(token.state), token.reason, token.ended_at) for token in device.tokens}
    assert history == {OLD: ("stale", "replaced", world.now), NEW: ("active", None, None)}


async def test_a_storm_of_403_over_a_thousand_devices_deactivates_none(vendors: Any) -> None:
    world = vendors.world
    await vendors.app(*PUSH)
    users = [f"u{number}" for number in range(40)]

    async def phones(number: int, user: str) -> None:
        for at in range(25):
            await vendors.phone(user, f"d-{number}-{at}", Path.APNS, f"{number * 25 + at:064x}")

    await asyncio.gather(*(phones(number, user) for number, user in enumerate(users)))
    await vendors.script("apns", errors=[{"status": 403, "reason": "InvalidProviderToken"}])
    await world.dispatch("m1", *users)
    await world.advance(5 * SECOND)
    states = [state for user in users for state in (await vendors.states(user)).values()]
    assert len(states) == 1_000
    assert set(states) == {"active"}
    assert 0 < len(await vendors.requests("apns")) <= 1_000
