"""A provider that answers in parts: what it answered is settled, what it did not keeps neither others nor itself."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from dispatcher.domain.delivery import Phase
from dispatcher.domain.message import Lane
from dispatcher.domain.outcome import HandedOver, Outcome, RetryLater, Unknown
from dispatcher.domain.paths import Path
from dispatcher.pipeline import flight
from dispatcher.ports.homes import Queue
from dispatcher.ports.provider import Attempt, Limits, Part
from tests.integration.pipeline.conftest import Sent
from workers import drains as module

SECOND = 1_000
APNS, PLAN, SWEEP = (Queue(name, Lane.INTERACTIVE) for name in ("apns", "plan", "sweep"))


class Hesitant:
    """Answers at once, but to *silent* users only when a test lets it. *patience* is asked to be none."""

    limits = Limits(batch=500, payload_bytes=4096, concurrent=1_000, deadline_ms=10_000)

    def __init__(self, world: Any, *silent: str) -> None:
        self.world = world
        self.silent = set(silent)
        self.answer: Outcome = HandedOver()
        self.answered = asyncio.Event()
        self.given_up: list[str] = []

    async def send(self, attempts: Sequence[Attempt], now: int) -> list[Outcome]:
        raise AssertionError("asked for everything at once")

    async def send_in_parts(
        self, attempts: Sequence[Attempt], now: int, patience_s: float | None
    ) -> AsyncGenerator[Part, None]:
        assert patience_s == flight.PATIENCE_S
        self.world.sent += [Sent(self.world.now, Path.APNS, attempt) for attempt in attempts]
        left = {place: one.user_id for place, one in enumerate(attempts) if one.user_id in self.silent}
        yield [(place, self.answer) for place in range(len(attempts)) if place not in left]
        try:
            while left:
                yield []
                await self.answered.wait()
                told = next(iter(left))  # one after the other, as real ones come
                del left[told]
                yield [(told, self.answer)]
        finally:
            self.given_up += left.values()

    async def close(self) -> None:
        """Nothing to end."""


@pytest.fixture
async def hesitant(world: Any) -> Hesitant:
    provider = Hesitant(world, "wang")
    world.providers[Path.APNS] = provider
    await world.app("{path: push, wait: 1m}")
    for user in ("li", "wang", "zhao"):
        await world.user(user, f"d-{user}")
    return provider


async def phases(world: Any, message_id: str, count: int) -> list[Phase]:
    """Of one moment: all of a message's first places in one read."""
    first = await world.ref(message_id)
    states = await world.stores.parts.homes.states(first.home, range(first.place, first.place + count))
    return [states[place].tracks[0].cursor.phase for place in sorted(states)]


async def until(world: Any, message_id: str, *wanted: Phase) -> None:
    async with asyncio.timeout(10):
        while await phases(world, message_id, len(wanted)) != list(wanted):  # noqa: ASYNC110 - the state is in a store
            await asyncio.sleep(0.01)


async def test_who_is_silent_keeps_no_other_waiting(world: Any, hesitant: Hesitant) -> None:
    await world.dispatch("m1", "li", "wang", "zhao")
    await world.plan()
    draining = asyncio.create_task(world.drains.drain(APNS))
    await until(world, "m1", Phase.WAITING, Phase.SENDING, Phase.WAITING)
    await world.dispatch("m2", "zhao")
    await world.plan()
    await asyncio.create_task(_drained(world, "m2"))
    assert not draining.done()
    hesitant.answered.set()
    await draining
    await until(world, "m1", *[Phase.WAITING] * 3)
    assert world.paths("m1") == ["apns"] * 3
    events = (await world.core.timeline("im", "m1", "wang"))["events"]
    assert [event["kind"] for event in events] == ["accepted", "planned", "attempted", "outcome"]
    assert world.drains._hanging[APNS] == {}


async def _drained(world: Any, message_id: str) -> None:
    await world.drains.drain(APNS)
    assert await phases(world, message_id, 1) == [Phase.WAITING]


async def test_silent_ones_are_settled_each_with_its_own_answer(world: Any, hesitant: Hesitant) -> None:
    hesitant.silent = {"wang", "zhao"}
    await world.dispatch("m1", "li", "wang", "zhao")
    await world.plan()
    draining = asyncio.create_task(world.drains.drain(APNS))
    await until(world, "m1", Phase.WAITING, Phase.SENDING, Phase.SENDING)
    hesitant.answer = Unknown("transport_deadline")
    hesitant.answered.set()
    await draining
    assert await phases(world, "m1", 3) == [Phase.WAITING, Phase.READY, Phase.READY]
    hesitant.silent, hesitant.answer = set(), HandedOver()
    await world.advance(5 * SECOND)
    assert await phases(world, "m1", 3) == [Phase.WAITING] * 3
    assert [sent.attempt.user_id for sent in world.sent] == ["li", "wang", "zhao", "wang", "zhao"]


async def test_proof_that_overtakes_a_silent_answer_stands(world: Any, hesitant: Hesitant) -> None:
    await world.dispatch("m1", "li", "wang")
    await world.plan()
    draining = asyncio.create_task(world.drains.drain(APNS))
    await until(world, "m1", Phase.WAITING, Phase.SENDING)
    await world.receipt("m1", "wang", "d-wang")
    hesitant.answer = Unknown("transport_deadline")
    hesitant.answered.set()
    await draining
    await world.advance(30 * SECOND)
    assert len(world.sent) == 2
    deliveries = {found["user_id"]: found["state"] for found in (await world.state("m1"))["deliveries"]}
    assert deliveries["wang"] == "confirmed"


async def test_a_brake_is_set_before_the_silent_ones_answer(world: Any, hesitant: Hesitant) -> None:
    hesitant.answer = RetryLater("quota", after_ms=20 * SECOND, brake=True)
    await world.dispatch("m1", "li", "wang")
    await world.plan()
    draining = asyncio.create_task(world.drains.drain(APNS))
    await until(world, "m1", Phase.READY, Phase.SENDING)
    assert (await world.stores.parts.throttle.brakes("im:apns", world.now)).until == world.now + 20 * SECOND
    hesitant.answered.set()
    await draining


async def test_a_stalled_app_gets_nothing_more_and_others_their_own(
    world: Any, hesitant: Hesitant, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "HANGING_OF_ONE", {"apns": 2, "fcm": 2, "sms": 2})
    await world.app("{path: push, wait: 1m}", app="game")
    await world.user("gamer", "d-gamer", app="game")
    hesitant.silent = {"li", "wang", "zhao"}
    await world.dispatch("m1", "li", "wang")
    await world.plan()
    first = asyncio.create_task(world.drains.drain(APNS))
    async with asyncio.timeout(10):
        while world.drains._stalled(APNS) != ["im"]:  # noqa: ASYNC110 - a drain tells nobody
            await asyncio.sleep(0.01)
    await world.dispatch("m2", "zhao")
    await world.dispatch("m3", "gamer", app="game")
    await world.plan()
    await asyncio.gather(*(world.drains.drain(APNS) for _ in range(2)))
    assert [sent.attempt.user_id for sent in world.sent] == ["li", "wang", "gamer"]
    hesitant.answered.set()
    await first
    world.now += 250  # how long a claim leaves a stalled app alone
    await world.work()
    assert [sent.attempt.user_id for sent in world.sent][3:] == ["zhao"]


async def test_stopping_lets_silent_ones_go_and_their_lease_brings_them_back(world: Any, hesitant: Hesitant) -> None:
    await world.dispatch("m1", "li", "wang")
    await world.plan()
    draining = asyncio.create_task(world.drains.drain(APNS))
    await until(world, "m1", Phase.WAITING, Phase.SENDING)
    await world.drains.stop(0.05)
    await asyncio.gather(draining, return_exceptions=True)
    assert hesitant.given_up == ["wang"]
    assert world.drains._tasks == set()
    hesitant.silent = set()
    world.drains = world.worker(world.stores)
    await world.advance(40 * SECOND)
    assert [sent.attempt.user_id for sent in world.sent] == ["li", "wang", "wang"]
    outcomes = [
        event["detail"]["outcome"]
        for event in (await world.core.timeline("im", "m1", "wang"))["events"]
        if event["kind"] == "outcome"
    ]
    assert outcomes == ["unknown", "handed_over"]


async def test_a_home_that_is_gone_by_then_takes_no_answer(world: Any, hesitant: Hesitant) -> None:
    await world.dispatch("m1", "li", "wang")
    await world.plan()
    draining = asyncio.create_task(world.drains.drain(APNS))
    await until(world, "m1", Phase.WAITING, Phase.SENDING)
    await world.lose_hot_store()
    hesitant.answered.set()
    await draining
    assert len(world.sent) == 2
