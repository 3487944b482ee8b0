"""Invariant 1: answered 202 means committed in the ledger, and settled in the end."""

import asyncio
from typing import Any

from redis.exceptions import ConnectionError as HotStoreAway

from dispatcher.core import AppCore
from dispatcher.domain.requests import Accepted
from dispatcher.errors import Problem


async def test_the_ledger_has_it_when_the_answer_comes(world: Any) -> None:
    await world.app()
    accepted = await world.dispatch("cm1", "li", "wang")
    assert (accepted.recipients, accepted.duplicate) == (2, False)
    stored = await world.stores.parts.messages.find("im", "cm1")
    assert tuple(stored.user_ids) == ("li", "wang")


async def test_fifty_identical_requests_to_two_processes_are_one_message(world: Any) -> None:
    await world.app("{path: push, wait: 5s}")
    await world.user("li", "d1")
    other = AppCore(await world.another_process())
    request = world.request("cm1", "li")
    answers = await asyncio.gather(
        *(core.accept("im", [request], world.now) for core in (world.core, other) for _ in range(25))
    )
    results = [answer for (answer,) in answers]
    assert sum(isinstance(one, Accepted) and not one.duplicate for one in results) == 1
    assert sum(isinstance(one, Accepted) and one.duplicate for one in results) == 49
    assert len({one.accepted_at for one in results}) == 1
    await world.advance(60_000)
    assert world.paths() == ["apns"]
    await other.close()


async def test_the_same_id_with_other_content_is_a_conflict_and_changes_nothing(world: Any) -> None:
    await world.app()
    await world.dispatch("cm1", "li")
    (answer,) = await world.core.accept("im", [world.request("cm1", "wang")], world.now)
    assert isinstance(answer, Problem)
    assert answer.status == 409
    assert [one["user_id"] for one in (await world.state("cm1"))["deliveries"]] == ["li"]


async def test_a_hot_store_that_was_away_gets_it_from_the_reconcile(world: Any, monkeypatch: Any) -> None:
    await world.app("{path: push, wait: 5s}")
    await world.user("li", "d1")
    homes = world.stores.parts.homes
    monkeypatch.setattr(type(homes), "admit", away)
    await world.dispatch("cm1", "li")
    monkeypatch.undo()
    await world.work()
    assert world.paths() == []
    assert (await world.state("cm1"))["state"] == "open"
    world.now += 3_000
    await world.reconcile()
    await world.advance(60_000)
    assert world.paths() == ["apns"]
    assert (await world.state("cm1"))["state"] == "exhausted"


async def away(*_: Any) -> None:
    raise HotStoreAway("no route")


async def test_a_process_that_died_between_commit_and_admission_loses_nothing(world: Any, monkeypatch: Any) -> None:
    """The ledger's commit is the promise; whoever is left keeps it, and the caller's second try is a duplicate."""
    await world.app("{path: push, wait: 5s}")
    await world.user("li", "d1")
    dying = AppCore(await world.another_process())
    committed = asyncio.Event()

    async def never(*_: Any) -> None:
        committed.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("dispatcher.pipeline.accept.admit_home", never)
    lost = asyncio.create_task(dying.accept("im", [world.request("cm1", "li")], world.now))
    await asyncio.wait_for(committed.wait(), 10)
    lost.cancel()
    for task in dying.acceptor._gatherers.values():
        for running in task._tasks:
            running.cancel()
    monkeypatch.undo()
    assert (await world.dispatch("cm1", "li")).duplicate
    world.now += 3_000
    await world.reconcile()
    await world.advance(60_000)
    assert world.paths() == ["apns"]
    await dying.close()


async def test_everything_settles_whatever_the_providers_say(world: Any) -> None:
    """A month of no proof: no delivery stays open beyond its ttl."""
    await world.app()
    for number in range(8):
        await world.user(f"u{number}", *[f"d{number}-{at}" for at in range(number % 3)], phone=number % 2 == 0)
    await world.dispatch("cm1", *[f"u{number}" for number in range(8)])
    await world.advance(25 * 3_600_000)
    ends = {one["state"] for one in (await world.state("cm1"))["deliveries"]}
    assert ends <= {"exhausted", "expired"}


async def test_one_spoilt_message_fails_alone(world: Any) -> None:
    await world.app()
    good, bad, other = (world.request(f"cm{number}", "li") for number in range(3))
    spoilt = world.request("cm\0", "li") if bad else good
    answers = await world.core.acceptor.accept("im", [good, spoilt, other], world.now)
    assert [isinstance(answer, Accepted) for answer in answers] == [True, False, True]
