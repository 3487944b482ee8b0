"""A vendor's wish to wait binds every worker of that app and path, a device's wish that device, and nobody else."""

import json
from typing import Any

from dispatcher.domain.ids import parse_attempt_id
from dispatcher.domain.message import Lane
from dispatcher.domain.paths import Path
from dispatcher.ports.homes import Queue

SECOND = 1_000
FCM = Queue("fcm", Lane.INTERACTIVE)


async def test_fcms_quota_stops_every_worker_for_fcm_and_slows_apns_not_at_all(vendors: Any) -> None:
    world = vendors.world
    await vendors.app("{path: push, wait: 5m}", "{path: poll, wait: 5m}")
    for user, path in (("first", Path.FCM), ("second", Path.FCM), ("third", Path.FCM), ("iphone", Path.APNS)):
        await vendors.phone(user, f"d-{user}", path, f"{user}-token" if path is Path.FCM else "ab" * 32)
    await vendors.script("fcm", errors=[{"status": 429, "reason": "QUOTA_EXCEEDED", "times": 1, "retry_after": 60}])
    await world.dispatch("m1", "first")
    await world.work()
    await world.dispatch("m2", "second", "third", "iphone")
    other = await vendors.worker()
    await other.drain(Queue("plan", Lane.INTERACTIVE))
    await other.drain(FCM)
    await world.work()
    await world.advance(59 * SECOND)
    assert await vendors.targets("fcm") == ["first-token"]
    assert await vendors.targets("apns") == ["ab" * 32]
    await world.advance(5 * SECOND)
    assert sorted(await vendors.targets("fcm")) == ["first-token", "first-token", "second-token", "third-token"]
    by_token = {entry["target"]: _attempt(entry) for entry in await vendors.requests("fcm")}
    assert by_token == {"first-token": 1, "second-token": 0, "third-token": 0}  # who only waited tried nothing


async def test_what_a_brake_does_not_leave_time_for_moves_on(vendors: Any) -> None:
    world = vendors.world
    await vendors.app("{path: push, wait: 10s}", "{path: poll, wait: 5m}")
    for user in ("first", "second"):
        await vendors.phone(user, f"d-{user}", Path.FCM, f"{user}-token")
    await vendors.script("fcm", errors=[{"status": 429, "reason": "QUOTA_EXCEEDED", "retry_after": 60}])
    await world.dispatch("m1", "first")
    await world.work()
    await world.dispatch("m2", "second")
    await world.work()
    assert await vendors.targets("fcm") == ["first-token"]
    events = (await world.core.timeline("im", "m2", None))["events"]
    escalated = [event["detail"] for event in events if event["kind"] == "escalated"]
    assert [detail["reason"] for detail in escalated] == ["braked"]
    assert [event["path"] for event in events if event["kind"] == "attempted"] == ["poll"]


async def test_another_apps_fcm_is_not_slowed(vendors: Any) -> None:
    world = vendors.world
    for app in ("im", "game"):
        await vendors.app("{path: push, wait: 5m}", app=app)
        await vendors.phone("li", "d1", Path.FCM, f"{app}-token", app=app)
    await vendors.script(
        "fcm", errors=[{"match": "im-*", "status": 429, "reason": "QUOTA_EXCEEDED", "retry_after": 60}]
    )
    await world.dispatch("m1", "li")
    await world.work()
    await world.dispatch("m1", "li", app="game")
    await world.work()
    assert await vendors.targets("fcm") == ["im-token", "game-token"]


async def test_apples_too_many_requests_slows_that_device_only(vendors: Any) -> None:
    world = vendors.world
    await vendors.app("{path: push, wait: 2m}")
    busy, idle = "aa" * 32, "bb" * 32
    await vendors.phone("li", "d1", Path.APNS, busy)
    await vendors.phone("wang", "d2", Path.APNS, idle)
    await vendors.script(
        "apns", errors=[{"match": busy, "status": 429, "reason": "TooManyRequests", "times": 1, "retry_after": 30}]
    )
    await world.dispatch("m1", "li")
    await world.work()
    await world.dispatch("m2", "li", "wang")
    await world.advance(29 * SECOND)
    assert await vendors.targets("apns") == [busy, idle]
    await world.advance(5 * SECOND)
    assert await vendors.targets("apns") == [busy, idle, busy, busy]


async def test_nothing_is_lost_when_a_brake_meets_a_crowd(vendors: Any) -> None:
    world = vendors.world
    await vendors.app("{path: push, wait: 10m}")
    users = [f"u{number}" for number in range(60)]
    for user in users:
        await vendors.phone(user, f"d-{user}", Path.FCM, f"{user}-token")
    await vendors.script("fcm", errors=[{"status": 429, "reason": "QUOTA_EXCEEDED", "times": 20, "retry_after": 30}])
    for number in range(0, 60, 20):
        await world.dispatch(f"m{number}", *users[number : number + 20])
        await world.work()
    await world.advance(100 * SECOND)
    delivered = [entry["target"] for entry in await vendors.requests("fcm") if entry["answer"]["status"] == 200]
    assert sorted(delivered) == sorted(f"{user}-token" for user in users)
    assert len(await vendors.requests("fcm")) == 80


def _attempt(entry: dict[str, Any]) -> int:
    ours = json.loads(json.loads(entry["body"])["message"]["data"]["pushpath"])
    found = parse_attempt_id(ours["attempt_id"])
    assert found is not None
    return found.attempt
