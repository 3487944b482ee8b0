"""After the hot store was lost: everything unsettled goes on, what was proven stays proven, phones replay the rest."""

import json
from typing import Any

from dispatcher.domain.clock import HOUR, SECOND
from dispatcher.domain.requests import InboxQuery

LADDER = ("{path: push, wait: 10s}", "{path: sms, wait: 1m}")


async def lose(world: Any) -> None:
    await world.marked()
    await world.archive()  # as every second
    await world.lose_hot_store()


async def pull(world: Any, **query: Any) -> Any:
    answer = await world.core.puller.pull("im", "li", "l1", InboxQuery(**query), world.now)
    return json.loads(answer.body)


async def ids(world: Any, **query: Any) -> list[str]:
    return [each["message_id"] for each in (await pull(world, **query))["messages"]]


async def test_proven_members_stay_proven_and_the_others_go_on(world: Any) -> None:
    await world.app(*LADDER)
    await world.user("li", "l1")
    await world.user("wang", "w1")
    await world.dispatch("cm1", "li", "wang")
    await world.work()
    await world.receipt("cm1", "li", "l1")
    for shard in range(world.stores.hot.shards):  # the journal is there, the settled delivery not yet
        entries = await world.stores.parts.homes.take_journal(shard, 100)
        from dispatcher.pipeline.archive import hash_of

        rows = [(home, hash_of(home, entry), entry) for home, entry in entries]
        await world.stores.parts.deliveries.append_journal(rows)
    await world.marked()
    await world.lose_hot_store()
    assert await world.stores.parts.inboxes.epoch() == 0
    await world.reconcile()
    assert await world.stores.parts.inboxes.epoch() == 2
    begun = len(world.sent)
    await world.advance(HOUR)
    assert {sent.attempt.user_id for sent in world.sent[begun:]} == {"wang"}
    states = {one["user_id"]: one for one in (await world.state("cm1"))["deliveries"]}
    assert (states["li"]["state"], states["li"]["confirmed_by"]) == ("confirmed", "apns")
    assert states["wang"]["state"] == "exhausted"
    await world.archive()
    assert (await world.books())["balanced"]


async def test_a_phone_with_a_cursor_of_before_replays_only_what_is_unproven(world: Any) -> None:
    await world.app(*LADDER)
    await world.user("li", "l1")
    for number in range(6):
        await world.dispatch(f"cm{number}", "li")
        world.now += 1
    await world.work()
    cursor = (await pull(world, limit=1))["messages"][0]["cursor"]
    for number in (1, 4):
        await world.receipt(f"cm{number}", "li", "l1")
    await lose(world)
    await world.reconcile()
    unproven = ["cm0", "cm2", "cm3", "cm5"]
    assert await ids(world, after=cursor) == unproven
    assert (await pull(world))["unread"] >= len(unproven)


async def test_a_replay_in_pages_proves_no_message_the_phone_was_not_given(world: Any) -> None:
    await world.app("{path: poll, wait: 1h}")
    await world.user("li", "l1")
    for number in range(6):
        await world.dispatch(f"cm{number}", "li")
        world.now += 1
    await world.work()
    cursor = (await pull(world, limit=1))["messages"][0]["cursor"]
    await lose(world)
    await world.reconcile()
    seen: list[str] = []
    for _ in range(5):
        page = await pull(world, after=cursor, limit=2)
        confirmed = [f"cm{n}" for n in range(6) if (await world.state(f"cm{n}"))["state"] == "confirmed"]
        assert confirmed == seen
        seen += [each["message_id"] for each in page["messages"]]
        cursor = page["next"]
    assert seen == [f"cm{number}" for number in range(6)]


async def test_a_cursor_of_before_proves_nothing_of_the_new_life(world: Any) -> None:
    await world.app(*LADDER)
    await world.user("li", "l1")
    await world.dispatch("cm1", "li")
    await world.work()
    cursor = (await pull(world))["messages"][0]["cursor"]
    await lose(world)
    await world.reconcile()
    world.now += SECOND
    await pull(world, after=cursor)
    assert (await world.state("cm1"))["state"] == "open"


async def test_only_one_process_rebuilds_and_a_second_look_finds_nothing_to_do(world: Any) -> None:
    import asyncio

    await world.app("{path: push, wait: 10s}")
    await world.user("li", "l1")
    await world.dispatch("cm1", "li")
    await world.work()
    await lose(world)
    await asyncio.gather(*(world.reconcile() for _ in range(4)))
    assert await world.stores.parts.inboxes.epoch() == 2
    await world.advance(HOUR)
    assert world.paths() == ["apns", "apns"]
    assert {sent.attempt.attempt_id for sent in world.sent} == {world.sent[0].attempt.attempt_id}


async def test_recalled_and_settled_ones_do_not_come_back(world: Any) -> None:
    await world.app(*LADDER)
    await world.user("li", "l1")
    await world.dispatch("recalled", "li")
    await world.dispatch("settled", "li")
    await world.dispatch("open", "li")
    await world.work()
    await world.core.recall("im", "recalled")
    await world.receipt("settled", "li", "l1")
    begun = len(world.sent)
    await lose(world)
    await world.reconcile()
    await world.work()
    assert {sent.attempt.message.message_id for sent in world.sent[begun:]} == {"open"}


async def test_receipts_for_the_old_ids_still_count(world: Any) -> None:
    await world.app(*LADDER)
    await world.user("li", "l1")
    await world.dispatch("cm1", "li")
    await world.work()
    old = world.sent[0].attempt
    await lose(world)
    await world.reconcile()
    await world.work()
    counts = await world.receipt("", "li", "l1", delivery_id=old.delivery_id, attempt_id=old.attempt_id)
    assert counts.accepted == 1
    await world.advance(HOUR)
    assert "sms" not in world.paths()
