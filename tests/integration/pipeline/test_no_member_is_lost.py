"""Invariants 2 and 3: every open member stands in a wave, partial loss is repaired, a lost worker loses time only."""

import asyncio
from typing import Any

import pytest

from dispatcher.domain.clock import HOUR, MINUTE, SECOND
from dispatcher.domain.delivery import Phase
from dispatcher.domain.outcome import HandedOver
from dispatcher.domain.paths import Path
from dispatcher.pipeline.audit import audit

STEPS = ("{path: push, wait: 10s}", "{path: poll, wait: 1m}")


async def look_over(world: Any) -> int:
    await world.marked()
    return await audit(world.stores.parts, world.stores.hot.shards, world.now, apart_s=0)


async def lose_waves(world: Any) -> None:
    """All deadlines are gone; homes and inboxes are left."""
    client = world.stores.hot.client
    keys = [key async for key in client.scan_iter("pp:{s*}:w:*")] + [
        key async for key in client.scan_iter("pp:{s*}:due:*")
    ]
    if keys:
        await client.delete(*keys)


async def before_planning(world: Any) -> None:
    """Nothing happened yet."""


async def ready_to_send(world: Any) -> None:
    await world.plan()


async def waiting_for_proof(world: Any) -> None:
    await world.work()


@pytest.mark.parametrize("reach", [before_planning, ready_to_send, waiting_for_proof])
async def test_lost_deadlines_are_put_back(world: Any, reach: Any) -> None:
    await world.app(*STEPS)
    for number in range(3):
        await world.user(f"u{number}", f"d{number}")
    await world.dispatch("cm1", "u0", "u1", "u2")
    await reach(world)
    await lose_waves(world)
    world.now += MINUTE
    assert await look_over(world) == 3
    assert await look_over(world) == 0
    await world.advance(HOUR)
    assert (await world.state("cm1"))["state"] == "exhausted"
    assert world.paths() == ["apns"] * 3 + ["poll"] * 3


async def test_an_audit_that_finds_all_in_order_touches_nothing(world: Any) -> None:
    await world.app(*STEPS)
    await world.user("li", "d1", "d2")
    for number in range(4):
        await world.dispatch(f"cm{number}", "li")
        world.now += MINUTE
        await world.advance(5 * SECOND if number % 2 else 0)
        assert await look_over(world) == 0


async def test_a_lost_home_comes_back_from_the_ledger(world: Any) -> None:
    await world.app(*STEPS)
    await world.user("li", "d1")
    await world.dispatch("cm1", "li")
    client = world.stores.hot.client
    await client.delete(*[key async for key in client.scan_iter("pp:{s*}:*")])
    world.now += MINUTE
    assert await look_over(world) == 1
    await world.advance(HOUR)
    assert world.paths() == ["apns", "poll"]


async def test_a_home_archived_while_the_audit_looks_is_not_sent_again(world: Any, monkeypatch: Any) -> None:
    """The audit reads the ledger first and the hot store after: what vanished in between was settled, not lost."""
    await world.app(*STEPS)
    await world.user("li", "d1")
    await world.dispatch("cm1", "li")
    await world.work()
    world.now += MINUTE
    messages = world.stores.parts.messages
    read = messages.open_homes
    done: list[bool] = []

    async def then_archived(*args: Any, **more: Any) -> Any:
        homes = await read(*args, **more)
        if not done:
            done.append(True)
            await world.receipt("cm1", "li", "d1")
            await world.archive()
        return homes

    monkeypatch.setattr(messages, "open_homes", then_archived)
    assert await look_over(world) == 0
    await world.advance(HOUR)
    assert world.paths() == ["apns"]


async def test_a_home_whose_archiver_died_at_the_last_step_is_closed(world: Any, monkeypatch: Any) -> None:
    await world.app(*STEPS)
    await world.user("li", "d1")
    await world.dispatch("cm1", "li")
    await world.work()
    await world.receipt("cm1", "li", "d1")
    with monkeypatch.context() as patch:
        patch.setattr(type(world.stores.deliveries), "close_homes", died)
        with pytest.raises(OSError, match="died"):
            await world.archive()
    await world.marked()
    assert len(await world.stores.parts.messages.open_homes(0, 10)) == 1
    await look_over(world)
    assert await world.stores.parts.messages.open_homes(0, 10) == []


async def died(*_: Any) -> None:
    raise OSError("died")


async def test_a_worker_lost_in_the_middle_of_a_wave_costs_time_and_keeps_the_ids(world: Any) -> None:
    await world.app(*STEPS)
    for number in range(5):
        await world.user(f"u{number}", f"d{number}")
    await world.dispatch("cm1", *[f"u{number}" for number in range(5)])
    await world.plan()
    gone = asyncio.Event()

    async def dies(attempt: Any) -> Any:
        if attempt.user_id == "u3":
            gone.set()
            await asyncio.Event().wait()
        return HandedOver()

    world.providers[Path.APNS].answer = dies
    worker = asyncio.create_task(world.work())
    await asyncio.wait_for(gone.wait(), 10)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    world.providers[Path.APNS].answer = lambda attempt: HandedOver()
    await world.work()  # somebody else; nothing is to be had before the lease ends
    before = [sent.attempt.attempt_id for sent in world.sent]
    assert len(before) == 4
    await world.advance(30 * SECOND)
    again = [sent.attempt.attempt_id for sent in world.sent if sent.path is Path.APNS][len(before) :]
    assert set(before) < set(again)
    assert len(again) == 5
    assert {one["state"] for one in (await world.state("cm1"))["deliveries"]} == {"open"}
    await world.advance(HOUR)
    assert (await world.state("cm1"))["state"] == "exhausted"


async def test_a_lost_planner_costs_time_only(world: Any) -> None:
    await world.app(*STEPS)
    await world.user("li", "d1")
    await world.dispatch("cm1", "li")
    lost = await world.claim("plan")
    assert len(lost) == 1
    await world.work()
    assert world.paths() == []
    await world.advance(15 * SECOND)
    assert world.paths() == ["apns"]


async def test_a_worker_that_comes_back_late_changes_nothing(world: Any) -> None:
    """Its lease ran out, another finished its work: its settlement is lost member by member."""
    await world.app(*STEPS)
    await world.user("li", "d1")
    await world.dispatch("cm1", "li")
    await world.plan()
    slow, finish = asyncio.Event(), asyncio.Event()

    async def slowly(attempt: Any) -> Any:
        world.providers[Path.APNS].answer = lambda attempt: HandedOver()
        slow.set()
        await finish.wait()
        return HandedOver()

    world.providers[Path.APNS].answer = slowly
    late = asyncio.create_task(world.work())
    await asyncio.wait_for(slow.wait(), 10)
    await world.advance(40 * SECOND)
    assert world.paths() == ["apns", "apns", "poll"]
    state = await world.hot_state("cm1")
    finish.set()
    await late
    assert await world.hot_state("cm1") == state
    assert state is not None
    assert state.tracks[0].cursor.phase is Phase.WAITING


async def test_journals_written_twice_are_shown_once(world: Any) -> None:
    """An archiver that dies between the ledger's write and the trim writes again."""
    await world.app(*STEPS)
    await world.user("li", "d1")
    await world.dispatch("cm1", "li")
    await world.work()
    kinds = await world.kinds("cm1")
    assert kinds == ["accepted", "planned", "attempted", "outcome"]
    for shard in range(world.stores.hot.shards):
        entries = await world.stores.parts.homes.take_journal(shard, 100)
        await world.stores.parts.homes.append_journal(entries)
    await world.archive()
    assert await world.kinds("cm1") == kinds
