"""Kill -9 of every process at a bad moment: all accepted messages settle, no screen shows one twice, no second SMS."""

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
import redis

pytestmark = pytest.mark.xdist_group("killed")
Connect = Callable[[str, str], Awaitable[Any]]


@pytest.fixture
def name() -> str:
    """A prefix that no other test uses."""
    return f"t{uuid4().hex[:8]}"


async def crowd(up: Any, name: str, size: int, *, tokens: bool) -> list[str]:
    """People, half of them with a number, each with an iPhone that gets pushes if *tokens*."""
    users = [f"{name}-u{number}" for number in range(size)]
    for number, user in enumerate(users):
        await up.person(user, number=number % 2 == 0)
        if tokens:
            await up.push_token(user, f"{user}-d")
    return users


def pushes(up: Any, name: str) -> list[dict[str, Any]]:
    found = [json.loads(request["body"])["pushpath"] for request in up.requests("apns") if request["answer"]]
    return [one for one in found if one["message_id"].startswith(name)]


async def acknowledge(up: Any, found: list[dict[str, Any]], users: dict[str, str]) -> None:
    receipts = [
        {
            "delivery_id": one["delivery_id"],
            "attempt_id": one["attempt_id"],
            "user_id": users[one["delivery_id"]],
            "event": "delivered",
        }
        for one in found
    ]
    if receipts:
        (await up.call("POST", "/v1/receipts", json={"receipts": receipts})).raise_for_status()


async def owners(up: Any, *message_ids: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for message_id in message_ids:
        response = await up.call("GET", f"/v1/messages/{message_id}")
        found |= {one["delivery_id"]: one["user_id"] for one in response.json()["deliveries"]}
    return found


async def test_a_worker_killed_in_the_middle_of_a_wave(up: Any, name: str) -> None:
    """Pushes that left are proven by their phones; those that were claimed only come back after the lease."""
    users = await crowd(up, name, 24, tokens=True)
    up.script("apns", latency="700ms")
    await up.dispatch(f"{name}-1", *users, ttl="40s")
    await up.until(lambda: up.requests("apns"), 10)
    old = up.kill("worker")
    up.unscript("apns")
    await up.back("worker", old)
    whose = await owners(up, f"{name}-1")
    for _ in range(45):
        await acknowledge(up, await asyncio.to_thread(pushes, up, name), whose)
        if await asyncio.to_thread(up.settled, f"{name}-1"):
            break
        await asyncio.sleep(1)
    states = up.states(f"{name}-1")
    assert set(states.values()) <= {"confirmed"}, states
    by_delivery: dict[str, set[str]] = {}
    for one in pushes(up, name):
        by_delivery.setdefault(one["delivery_id"], set()).add(one["attempt_id"])
    assert all(len(attempts) == 1 for attempts in by_delivery.values()), "a resend has another id"
    assert all(count == 1 for count in up.texts().values())
    await up.until(up.balanced, 10)


async def test_an_api_killed_right_after_its_answer(up: Any, name: str, connect: Connect) -> None:
    user = f"{name}-u"
    await up.person(user)
    phone = await connect(user, f"{name}-d")
    ids = [f"{name}-{number}" for number in range(12)]
    for message_id in ids[:6]:
        await up.dispatch(message_id, user)
    old = up.kill("api")
    await asyncio.gather(*(up.dispatch(message_id, user) for message_id in ids))
    await up.back("api", old)
    await up.until(lambda: up.settled(*ids), 15)
    assert phone.shown == dict.fromkeys(ids, 1)
    assert set(up.states(*ids).values()) == {"confirmed"}
    assert not [text for text in up.texts() if name in text]


async def test_a_gateway_killed_with_phones_connected(up: Any, name: str, connect: Connect) -> None:
    """They come back, drain their inbox, and nobody pays for an SMS because of it."""
    users = await crowd(up, name, 6, tokens=False)
    phones = [await connect(user, f"{user}-d") for user in users]
    first = [f"{name}-a{number}" for number in range(3)]
    await asyncio.gather(*(up.dispatch(message_id, *users) for message_id in first))
    old = up.kill("gateway")
    second = [f"{name}-b{number}" for number in range(3)]
    await asyncio.gather(*(up.dispatch(message_id, *users) for message_id in second))
    await up.back("gateway", old)
    await up.until(lambda: up.settled(*first, *second), 25)
    for phone in phones:
        assert phone.shown == dict.fromkeys([*first, *second], 1)
    assert not [text for text in up.texts() if name in text]


def hot_store(up: Any) -> str:
    for line in (up.data / "pushpath.toml").read_text().splitlines():
        key, _, value = line.partition(" = ")
        if key == "hot_store_url":
            return str(json.loads(value))
    raise AssertionError("no hot store")


@pytest.mark.parametrize("keeps", [True, False], ids=["with its data", "without its data"])
async def test_a_hot_store_killed(up: Any, name: str, connect: Connect, keeps: bool) -> None:
    users = await crowd(up, name, 4, tokens=False)
    phones = [await connect(user, f"{user}-d") for user in users]
    absent = f"{name}-absent"
    await up.person(absent)
    before, during, after = f"{name}-before", f"{name}-during", f"{name}-after"
    await up.dispatch(before, *users, absent)
    await up.until(lambda: list(up.states(before).values()).count("confirmed") >= 4, 10)
    if not keeps:
        with redis.Redis.from_url(hot_store(up)) as client:
            client.flushall()
    old = up.kill("hot_store")
    await up.dispatch(during, *users)
    await up.back("hot_store", old, 30)
    await up.dispatch(after, *users)
    await up.until(lambda: up.settled(before, during, after), 45)
    for phone in phones:
        await up.until(lambda phone=phone: len(phone.shown) == 3, 20)
        assert phone.shown == dict.fromkeys([before, during, after], 1)
    assert not [text for text in up.texts() if during in text or after in text]
    assert [count for text, count in up.texts().items() if before in text] == [1]  # the one without any device
    await up.until(up.balanced, 10)


async def test_a_ledger_killed(up: Any, name: str, connect: Connect) -> None:
    user = f"{name}-u"
    await up.person(user)
    phone = await connect(user, f"{name}-d")
    await up.dispatch(f"{name}-before", user)
    old = up.kill("ledger")
    await up.dispatch(f"{name}-during", user)
    await up.back("ledger", old, 30)
    await up.dispatch(f"{name}-after", user)
    ids = [f"{name}-{when}" for when in ("before", "during", "after")]
    await up.until(lambda: up.settled(*ids), 25)
    assert phone.shown == dict.fromkeys(ids, 1)
    await up.until(up.balanced, 10)


async def test_a_worker_told_to_stop_ends_within_ten_seconds_and_loses_nothing(up: Any, name: str) -> None:
    users = await crowd(up, name, 10, tokens=True)
    up.script("apns", latency="500ms")
    await up.dispatch(f"{name}-1", *users)
    begun = time.monotonic()
    old = up.kill("worker", signal.SIGTERM)
    await up.until(lambda: up.document["pids"].get("worker") != old, 10)
    assert time.monotonic() - begun < 10
    up.unscript("apns")
    await up.back("worker", old)
    whose = await owners(up, f"{name}-1")
    for _ in range(35):
        await acknowledge(up, await asyncio.to_thread(pushes, up, name), whose)
        if await asyncio.to_thread(up.settled, f"{name}-1"):
            break
        await asyncio.sleep(1)
    assert set(up.states(f"{name}-1").values()) == {"confirmed"}
    assert all(count == 1 for count in up.texts().values())
