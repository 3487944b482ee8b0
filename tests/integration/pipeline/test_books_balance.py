"""Invariant 7: accepted = settled + open, per class, from two stores that do not know of each other."""

import asyncio
from typing import Any

from dispatcher.domain.clock import HOUR, MINUTE, SECOND
from dispatcher.domain.paths import Path

LADDER = ("{path: push, wait: 10s}", "{path: sms, wait: 1m}")


async def test_every_way_a_delivery_can_end_is_in_the_books(world: Any) -> None:
    await world.app(*LADDER)
    for number in range(4):
        await world.user(f"u{number}", f"d{number}")
    everybody = [f"u{number}" for number in range(4)]
    await world.dispatch("chat", *everybody)
    await world.dispatch("short", *everybody, ttl_ms=5 * SECOND, klass="alert")
    await world.dispatch("later", *everybody, not_before=world.now + HOUR)
    await world.dispatch("gone", *everybody, not_before=world.now + HOUR)
    await world.dispatch("devices", device_ids=("d0", "nobody's"), klass="alert")
    await world.dispatch("taken back", *everybody)
    await world.marked()
    assert await rows(world) == {"chat": (16, 0, 16), "alert": (6, 0, 6)}
    await world.work()
    await world.receipt("chat", "u0", "d0")
    await world.core.recall("im", "taken back")
    await world.core.recall("im", "gone")
    assert await rows(world) == {"chat": (16, 9, 7), "alert": (6, 1, 5)}
    await world.archive()
    assert await rows(world) == {"chat": (16, 9, 7), "alert": (6, 1, 5)}
    await world.advance(10 * MINUTE)
    await world.archive()
    assert await rows(world) == {"chat": (16, 12, 4), "alert": (6, 6, 0)}
    world.now += HOUR
    await world.reconcile()
    await world.advance(24 * HOUR)
    await world.archive()
    assert await rows(world) == {"chat": (16, 16, 0), "alert": (6, 6, 0)}
    assert "gone" not in {sent.attempt.message.message_id for sent in world.sent}


async def rows(world: Any) -> dict[str, tuple[int, int, int]]:
    """(accepted, settled, open) by class, with nothing missing."""
    books = await world.books()
    assert books["balanced"], books
    assert all(row["missing"] == 0 for row in books["classes"].values())
    return {klass: (row["accepted"], row["settled"], row["open"]) for klass, row in books["classes"].items()}


async def test_another_apps_messages_are_not_in_them(world: Any) -> None:
    await world.app()
    await world.app(app="other")
    await world.dispatch("cm1", "li")
    await world.dispatch("cm1", "li", "wang", app="other")
    assert await rows(world) == {"chat": (1, 0, 1)}


async def test_they_balance_while_messages_come_in_and_settle_and_are_archived(world: Any) -> None:
    await world.app("{path: push, wait: 10s}")
    await world.user("li", "d1")
    stop = asyncio.Event()

    async def traffic() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await world.dispatch(f"cm{number}", "li")
            await world.work()
            await world.receipt(f"cm{number}", "li", "d1")

    async def archiving() -> None:
        while not stop.is_set():
            await world.archive()

    running = [asyncio.create_task(traffic()), asyncio.create_task(archiving())]
    for _ in range(40):
        await rows(world)
    stop.set()
    await asyncio.gather(*running)


async def test_what_is_truly_missing_is_told(world: Any) -> None:
    await world.app(*LADDER)
    await world.dispatch("cm1", "li", "wang")
    await world.marked()
    await world.stores.hot.client.flushdb()
    books = await world.books()
    assert (books["balanced"], books["classes"]["chat"]["missing"]) == (False, 2)


async def test_late_proof_lifts_what_had_ended_in_either_store(world: Any) -> None:
    await world.app("{path: push, wait: 10s}")
    await world.user("li", "d1")
    for name in ("hot", "archived"):
        await world.dispatch(name, "li")
        await world.advance(MINUTE)
        assert (await world.state(name))["state"] == "exhausted"
        if name == "archived":
            await world.archive()
            assert await world.hot_state(name) is None
        counts = await world.receipt(name, "li", "d1", via=Path.APNS)
        assert counts.accepted == 1
        assert (await world.receipt(name, "li", "d1", via=Path.APNS)).duplicate == 1
        state = (await world.state(name))["deliveries"][0]
        assert (state["state"], state["confirmed_by"]) == ("confirmed", "apns")
    await world.archive()
    assert await rows(world) == {"chat": (2, 2, 0)}
    assert (await world.state("hot"))["state"] == "confirmed"
