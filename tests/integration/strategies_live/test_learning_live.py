"""Receipts teach: rates and waits follow them, operators see and overrule them, and they outlive the hot store."""

from typing import Any

from dispatcher.domain.paths import Path
from dispatcher.pipeline.archive import archive_shard
from dispatcher.pipeline.teach import Budget
from strategies.learn import Pin
from tests.integration.pipeline.conftest import APP, World
from tests.integration.strategies_live.conftest import Publish

LEARNING = """
strategy: default
rules:
  - name: everyone
    ladder: [{path: push, wait: auto(2s..60s)}, {path: poll, wait: 5s}]
"""


async def archive(world: World) -> None:
    for shard in range(world.stores.hot.shards):
        await archive_shard(shard, world.stores.parts, world.now, Budget())


async def deliver(world: World, name: str, after_ms: int | None, *, named: bool = True) -> None:
    """One push, proven *after_ms* later by a receipt that names its attempt, or never."""
    await world.dispatch(name, "li", ttl_ms=120_000)
    await world.work()
    attempt = world.sent[-1].attempt.attempt_id
    if after_ms is None:
        await world.advance(120_000)
        return
    await world.advance(after_ms)
    await world.receipt(name, "li", "d1", attempt_id=attempt if named else None)


async def ladder_wait(world: World) -> tuple[str, str]:
    answer = await world.core.dry_run(APP, world.request("try", "li"))
    step = answer["recipients"][0]["tracks"][0]["ladder"][0]
    return step["wait"], step["wait_from"]


async def rates(world: World) -> Any:
    return (await world.core.device_rates(APP, "li", "d1")).get("apns")


async def prepared(world: World, publish: Publish) -> None:
    await world.app()
    await publish(LEARNING)
    await world.user("li", "d1")
    world.now += 500


async def test_waits_follow_the_devices_own_receipts(world: World, publish: Publish) -> None:
    await prepared(world, publish)
    assert await ladder_wait(world) == ("1m", "no_history")
    for number in range(6):
        await deliver(world, f"m{number}", 4_000)
    await archive(world)
    learned = await rates(world)
    assert (learned["ack_rate"], learned["ack_rate_from"], learned["attempts"]) == (1.0, "device", 6.0)
    assert 3.7 < learned["p95_s"] < 4.4
    wait, source = await ladder_wait(world)
    assert (wait in {"4s", "4250ms", "4500ms", "3750ms"}, source) == (True, "learned")


async def test_what_ended_without_proof_lowers_the_rate(world: World, publish: Publish) -> None:
    await prepared(world, publish)
    for number in range(6):
        await deliver(world, f"m{number}", None if number % 2 else 1_000)
        await archive(world)
    learned = await rates(world)
    assert (learned["ack_rate"], learned["receipts"]) == (0.5, 3.0)


async def test_a_receipt_that_names_no_attempt_teaches_nothing(world: World, publish: Publish) -> None:
    await prepared(world, publish)
    for number in range(6):
        await deliver(world, f"m{number}", 1_000, named=False)
    await archive(world)
    assert await rates(world) is None


async def test_a_new_device_is_told_its_segments_numbers(world: World, publish: Publish) -> None:
    await prepared(world, publish)
    for number in range(6):
        await deliver(world, f"m{number}", 4_000)
    await archive(world)
    await world.user("wang", "d2")
    world.now += 6_000
    answer = await world.core.dry_run(APP, world.request("try", "wang"))
    assert answer["recipients"][0]["tracks"][0]["ladder"][0]["wait_from"] == "learned"
    assert (await world.core.device_rates(APP, "wang", "d2"))["apns"]["p95_from"] == "segment"


async def test_operators_pin_values_and_switch_learning_off(world: World, publish: Publish) -> None:
    await prepared(world, publish)
    for number in range(6):
        await deliver(world, f"m{number}", 4_000)
    await archive(world)
    store = world.stores.strategies
    await store.pin(APP, "d:apns:d1", Pin(p95_s=30.0), by="ops", now=world.now)
    world.now += 500
    assert await ladder_wait(world) == ("30s", "learned")
    await store.switch_learning(APP, False, by="ops", now=world.now)
    await store.pin(APP, "d:apns:d1", None, by="ops", now=world.now)
    world.now += 500
    assert await ladder_wait(world) == ("1m", "no_history")
    entries = await world.stores.audit.entries(APP, before=None, limit=3)
    assert [entry.action for _, entry in entries] == ["learning.unpin", "learning.switch", "learning.pin"]


async def test_histories_outlive_the_hot_store_and_go_with_their_user(world: World, publish: Publish) -> None:
    await prepared(world, publish)
    for number in range(6):
        await deliver(world, f"m{number}", 4_000)
    await archive(world)
    learning = world.stores.parts.learning
    assert await learning.archive(world.now) == 2  # a user and a segment
    assert await learning.archive(world.now) == 0
    await world.lose_hot_store()
    assert (await learning.of_users(APP, ["li"]))["li"]["d1"][Path.APNS].ack_rate == 1.0
    await world.core.erase_user(APP, "li", "ops", world.now)
    await world.lose_hot_store()
    assert await learning.of_users(APP, ["li"]) == {}
