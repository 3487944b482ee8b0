"""What is put off untried gives its lease back; an app that is left alone keeps no other waiting."""

from typing import Any

from dispatcher.domain.message import Lane
from dispatcher.domain.outcome import HandedOver, Outcome
from dispatcher.domain.paths import Path
from dispatcher.ports.homes import Queue
from dispatcher.ports.provider import Attempt

SECOND = 1_000
APNS, PLAN, SWEEP = (Queue(name, Lane.INTERACTIVE) for name in ("apns", "plan", "sweep"))


async def test_the_lease_of_what_was_put_off_does_not_end_under_its_next_claim(world: Any) -> None:
    await world.app("{path: push, wait: 1m}")
    await world.user("li", "d1")
    await world.stores.parts.throttle.brake("im:apns", world.now + 19_900, world.now)
    await world.dispatch("m1", "li")
    await world.work()
    assert world.paths() == []

    async def slowly(attempt: Attempt) -> Outcome:
        world.now += SECOND  # past the first claim's lease
        await world.drains.sweep_once(SWEEP, range(world.stores.hot.shards))
        return HandedOver()

    world.providers[Path.APNS].answer = slowly
    await world.advance(19_900)
    await world.advance(30 * SECOND)
    assert world.paths() == ["apns"]
    events = (await world.core.timeline("im", "m1", None))["events"]
    assert [event["detail"]["outcome"] for event in events if event["kind"] == "outcome"] == ["handed_over"]


async def test_an_app_left_alone_keeps_its_work_for_the_next_claim(world: Any) -> None:
    for app in ("im", "game"):
        await world.app("{path: push, wait: 1m}", app=app)
        await world.user("li", "d1", app=app)
        await world.dispatch("m1", "li", app=app)
    await world.drains.drain(PLAN)
    homes = world.stores.parts.homes
    claims = await homes.claim(APNS, world.now, limit=500, lease_ms=20 * SECOND, without=["im"])
    assert [claim.app for claim in claims] == ["game"]
    assert await homes.claim(APNS, world.now + 100, limit=500, lease_ms=20 * SECOND) == []
    claims = await homes.claim(APNS, world.now + 250, limit=500, lease_ms=20 * SECOND)
    assert [claim.app for claim in claims] == ["im"]
