"""Limits hold: pushes a device, SMS a conversation, what is left of a budget; nothing is lost by them."""

from dataclasses import replace
from typing import Any

from dispatcher.domain.outcome import NotConnected
from dispatcher.domain.paths import Path
from dispatcher.ports.shared_facts import PathHealth
from tests.integration.pipeline.conftest import APP, World
from tests.integration.strategies_live.conftest import Publish

COALESCING = """
strategy: default
limits: {sms: {per_user: 9/1d, budget: 40 segments/1d, coalesce: collapse_key/10m}, push: {per_device: 2/1m}}
rules:
  - name: everyone
    ladder: [{path: push, wait: 5s}, {path: sms, wait: 1m, if: budget.sms_left > 30}]
"""


async def reasons(world: World, message_id: str) -> list[tuple[Any, Any]]:
    timeline = await world.core.timeline(APP, message_id, "li")
    assert timeline is not None
    return [(event["path"], event["detail"]["reason"]) for event in timeline["events"] if event["kind"] == "skipped"]


async def test_a_device_gets_so_many_pushes_and_the_rest_goes_on(world: World, publish: Publish) -> None:
    await world.app()
    await publish(COALESCING)
    await world.user("li", "d1", phone=False)
    world.now += 500
    for number in range(3):
        await world.dispatch(f"m{number}", "li")
    await world.work()
    assert world.paths().count("apns") == 2
    (over,) = [number for number in range(3) if not world.paths(f"m{number}")]
    assert ("apns", "cap_device") in await reasons(world, f"m{over}")
    assert (
        await world.receipt(f"m{over}", "li", "d1")
    ).accepted == 1  # it waits in the inbox, and is proven from there
    world.now += 60_000
    await world.dispatch("later", "li")
    await world.work()
    assert world.paths("later") == ["apns"]


async def test_one_sms_says_how_many_wait_and_its_proof_is_theirs(world: World, publish: Publish) -> None:
    await world.app()
    await publish(COALESCING)
    await world.user("li")
    world.now += 500
    for number in range(3):
        await world.dispatch(f"m{number}", "li", collapse_key="c42")
    await world.dispatch("elsewhere", "li", collapse_key="c43")
    await world.work()
    texts = {sent.attempt.message.message_id: sent.attempt.text for sent in world.sent}
    (first,) = [name for name in texts if name != "elsewhere"]
    assert texts == {first: "3 new messages from Wang", "elsewhere": "Wang: Are you there?"}
    await world.dispatch("later", "li", collapse_key="c42", ttl_ms=600_000)
    await world.work()
    assert world.paths("later") == []
    assert await reasons(world, "later") == [("push", "no_device"), ("sms", "coalesced")]
    (attempt,) = [sent.attempt.attempt_id for sent in world.sent if sent.attempt.message.message_id == first]
    for sharer in await world.stores.parts.sms_guard.sharers(APP, attempt):
        await world.core.receiver.carrier_status(
            sharer.attempt_id, "delivered", proof=True, failed=False, now=world.now
        )
    joined = [f"m{number}" for number in range(3) if f"m{number}" != first]
    for name in joined:
        state = await world.state(name)
        assert (state["state"], state["deliveries"][0]["confirmed_by"]) == ("confirmed", "sms")
    assert (await world.state("later"))["state"] == "open"
    await world.advance(600_000)
    assert (await world.state("later"))["state"] == "expired"


async def test_a_rule_sees_what_is_left_of_the_budget(world: World, publish: Publish) -> None:
    await world.app()
    await publish(COALESCING)
    users = [f"u{number}" for number in range(12)]
    for user in users:
        await world.user(user)
    for number, user in enumerate(users):
        world.now += 2_000
        await world.dispatch(f"m{number}", user)
        await world.work()
    assert world.paths().count("sms") == 10  # 40 segments, and one by one down to 30 left


async def test_a_path_whose_circuit_is_open_costs_no_wait(world: World, publish: Publish) -> None:
    await world.app()
    await publish(COALESCING)
    await world.user("li", "d1", phone=False)
    world.now += 500
    facts = world.stores.parts.facts
    await facts.paths.tell(APP, Path.APNS, PathHealth(healthy=False), lasts_ms=60_000)
    await world.dispatch("m", "li")
    await world.work()
    assert world.paths() == []
    assert ("apns", "circuit_open") in await reasons(world, "m")


async def test_paths_at_once_go_both_and_one_that_fails_does_not_hurry_the_other(world: World) -> None:
    await world.app("{paths: [longconn, push], wait: 10s}", "{path: poll, wait: 1h}")
    await world.user("li", "d1")
    await world.connect("li", "d1")
    await world.dispatch("both", "li")
    await world.work()
    assert world.paths("both") == ["longconn", "apns"]
    world.providers[Path.LONGCONN].answer = lambda attempt: NotConnected()
    await world.dispatch("push only", "li")
    await world.work()
    assert world.paths("push only") == ["longconn", "apns"]
    assert (await world.state("push only"))["deliveries"][0]["tracks"][0]["state"] == "waiting"
    world.providers[Path.LONGCONN].answer = lambda attempt: _over()
    await world.stores.directory.kill_token(
        APP, "d1", Path.APNS, "token-d1", "production", since=world.now + 1, reason="Unregistered"
    )
    profiles = await world.stores.directory.profiles(APP, ["li"])
    await world.stores.parts.profiles.put(list(profiles.values()))
    await world.dispatch("line only", "li")
    await world.work()
    assert world.paths("line only") == ["longconn"]
    await world.advance(9_000)
    assert world.paths("line only") == ["longconn"]  # the wait for the line's proof is not cut short
    await world.advance(2_000)
    assert world.paths("line only") == ["longconn", "poll"]


def _over() -> Any:
    from dispatcher.domain.outcome import HandedOver

    return HandedOver("again")


ANYWAY = ("{path: push, wait: 5s}", "{path: poll, wait: 1m}")


async def test_an_iphone_gets_as_many_pushes_that_show_nothing_as_apple_delivers(world: World) -> None:
    await world.app(*ANYWAY)
    await world.user("li", "d1", "d2", phone=False)
    for number in range(4):
        await world.dispatch(f"m{number}", "li", notification=None, data={"n": number})
        await world.work()
    assert [world.paths(f"m{number}").count("apns") for number in range(4)] == [2, 2, 2, 0]  # each device its own
    assert world.paths("m3") == ["poll", "poll"]
    assert await reasons(world, "m3") == [("apns", "cap_device")] * 2
    await world.dispatch("seen", "li")  # what shows an alert is not counted
    await world.work()
    assert world.paths("seen") == ["apns", "apns"]
    world.now += 20 * 60_000
    await world.dispatch("later", "li", notification=None, data={"n": 5})
    await world.work()
    assert world.paths("later") == ["apns", "apns"]


async def test_the_cap_on_pushes_that_show_nothing_can_be_lifted(world: World) -> None:
    parts = world.stores.parts
    world.stores = replace(world.stores, parts=replace(parts, rules=replace(parts.rules, background_pushes_per_hour=0)))
    world.drains = world.worker(world.stores)
    await world.app(*ANYWAY)
    await world.user("li", "d1", phone=False)
    for number in range(5):
        await world.dispatch(f"m{number}", "li", notification=None, data={"n": number})
    await world.work()
    assert world.paths() == ["apns"] * 5
