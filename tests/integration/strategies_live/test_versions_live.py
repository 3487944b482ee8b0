"""A version that is published is planned with at once, by whom it is for, and never by a delivery under way."""

import asyncio
from time import perf_counter
from typing import Any

import pytest

from dispatcher.domain.clock import system_clock
from dispatcher.errors import Problem
from strategies.rollout import gets_new
from tests.integration.pipeline.conftest import APP, World
from tests.integration.strategies_live.conftest import Publish

POLL_ONLY = "strategy: {name}\n{applies}rules:\n  - {{name: {rule}, ladder: [{{path: poll, wait: 1h}}]}}\n"


def document(rule: str, name: str = "default", applies: str = "") -> str:
    return POLL_ONLY.format(name=name, rule=rule, applies=f"applies_to: [{applies}]\n" if applies else "")


async def planned(world: World, message_id: str, user: str = "li") -> dict[str, Any]:
    timeline = await world.core.timeline(APP, message_id, user)
    assert timeline is not None
    detail: dict[str, Any] = next(event["detail"] for event in timeline["events"] if event["kind"] == "planned")
    return detail


async def test_running_workers_plan_with_a_new_version_and_what_runs_keeps_its_own(
    world: World, publish: Publish
) -> None:
    await world.app()
    await world.user("li", "d1")
    await world.dispatch("before", "li")
    await world.work()
    await publish(document("slow and cheap"))
    world.now += 500
    await world.dispatch("after", "li")
    await world.advance(10_000)
    assert [(await planned(world, name))["version"] for name in ("before", "after")] == [1, 2]
    assert world.paths("after") == ["poll"]
    assert world.paths("before") == ["apns", "sms"]  # the ladder it was planned with, to its end


async def test_a_publish_reaches_another_process_within_a_second(world: World, publish: Publish) -> None:
    """By the real clock: a running process asks for the revision twice a second."""
    await world.app()
    other = await world.another_process()
    world.now = system_clock()
    before = await other.parts.book.shelf(APP)
    await publish(document("new"))
    begun = perf_counter()
    while True:
        world.now = system_clock()
        shelf = await other.parts.book.shelf(APP)
        if shelf is not before and shelf.pick("chat", None, "li").version == 2:
            break
        await asyncio.sleep(0.01)
    assert perf_counter() - begun < 1
    await other.close()


async def test_a_share_of_the_users_gets_the_new_version_always_the_same_ones(world: World, publish: Publish) -> None:
    await world.app()
    await publish(document("trial"), percent=30)
    world.now += 500
    users = [f"u{number}" for number in range(20)]
    await world.dispatch("m", *users)
    await world.work()
    for user in users:
        expected = 2 if gets_new(APP, "default", user, 30) else 1
        assert (await planned(world, "m", user))["version"] == expected
    rolled = await world.core.rollback_strategy(APP, "default", 1, "ops", world.now)
    world.now += 500
    await world.dispatch("n", *users)
    await world.work()
    assert {(await planned(world, "n", user))["version"] for user in users} == {rolled.version}


async def test_a_strategy_may_go_while_deliveries_run_on_it(world: World, publish: Publish) -> None:
    await world.app()
    await world.user("li", "d1")
    await publish(document("own", "news", "news"), "news")
    await world.dispatch("running", "li", klass="news")
    await world.work()
    await world.stores.strategies.delete(APP, "news", by="ops", now=world.now)
    world.now += 500
    await world.dispatch("next", "li", klass="news")
    await world.dispatch("by name", "li", strategy="news")
    await world.advance(3_610_000)
    assert (await planned(world, "running"))["strategy"] == "news"
    assert (await world.state("running"))["state"] == "exhausted"
    assert [(await planned(world, name))["strategy"] for name in ("next", "by name")] == ["default", "default"]


async def test_a_class_nobody_names_and_a_name_nobody_knows_fall_to_default(world: World) -> None:
    await world.app()
    await world.dispatch("m", "li", klass="never_heard_of", strategy="nor_of_this")
    await world.work()
    assert (await planned(world, "m"))["strategy"] == "default"


async def test_two_strategies_never_come_to_own_one_class(world: World) -> None:
    await world.app()
    store = world.stores.strategies
    for name in ("one", "two"):
        await store.put_draft(APP, name, document("r", name, "news"), if_match=None, by="ops", now=world.now)
    results = await asyncio.gather(
        *(world.core.publish_strategy(APP, name, 100, "ops", world.now) for name in ("one", "two")),
        return_exceptions=True,
    )
    refused = [one for one in results if isinstance(one, Problem)]
    assert len(refused) == 1
    assert "belongs to the published strategy" in refused[0].detail
    assert len([one for one in await store.published(APP) if one.name != "default"]) == 1


async def test_a_rollback_is_judged_like_a_publish(world: World, publish: Publish) -> None:
    await world.app()
    await publish(document("r", "one", "news"), "one")
    await publish(document("r", "one", "other"), "one")
    await publish(document("r", "two", "news"), "two")
    with pytest.raises(Problem, match="belongs to the published strategy"):
        await world.core.rollback_strategy(APP, "one", 1, "ops", world.now)


async def test_versions_are_compared_by_what_they_came_to(world: World, publish: Publish) -> None:
    await world.app("{path: sms, wait: 1m}")
    await world.user("li")
    await world.dispatch("old", "li")
    await world.work()
    await world.receipt("old", "li")
    await publish(document("r"))
    world.now += 500
    await world.dispatch("new", "li", ttl_ms=60_000)
    await world.advance(120_000)
    await world.archive()
    figures = await world.core.version_figures(APP, "default", world.now - 3_600_000, world.now + 1)
    assert {version: one["states"] for version, one in figures.items()} == {1: {"confirmed": 1}, 2: {"expired": 1}}
    assert figures[1]["sms"] == {"messages": 1, "segments": 1}
    assert figures[1]["time_to_proof_s"] == {"p50": 0.0, "p95": 0.0}
