"""Invariant 5: at most one SMS per message and user, whatever is repeated, lost or late."""

import asyncio
from typing import Any

import pytest

from dispatcher.domain.clock import HOUR, MINUTE, SECOND
from dispatcher.domain.outcome import HandedOver, Rejected, RetryLater, Unknown
from dispatcher.domain.paths import Path

LADDER = ("{path: push, wait: 10s}", "{path: sms, wait: 5m}")


def texts(world: Any) -> list[str]:
    return [sent.attempt.attempt_id for sent in world.sent if sent.path is Path.SMS]


async def test_two_devices_of_one_user_are_one_sms_when_the_last_of_them_gave_up(world: Any) -> None:
    await world.app(*LADDER)
    await world.user("li", "l1", "l2")
    world.providers[Path.APNS].answer = lambda attempt: (
        Rejected("broken") if attempt.device_id == "l1" else HandedOver()
    )
    await world.dispatch("cm1", "li")
    await world.advance(9 * SECOND)
    assert texts(world) == []
    await world.advance(HOUR)
    assert len(texts(world)) == 1
    assert (await world.state("cm1"))["state"] == "exhausted"


async def test_proof_on_one_device_keeps_the_others_sms_back(world: Any) -> None:
    await world.app(*LADDER)
    await world.user("li", "l1", "l2")
    world.providers[Path.APNS].answer = lambda attempt: (
        Rejected("broken") if attempt.device_id == "l1" else HandedOver()
    )
    await world.dispatch("cm1", "li")
    await world.advance(5 * SECOND)
    await world.receipt("cm1", "li", "l2")
    await world.advance(HOUR)
    assert texts(world) == []


async def test_a_worker_killed_after_the_carriers_yes_is_looked_up_and_not_sent_again(world: Any) -> None:
    await world.app("{path: sms, wait: 5m}")
    await world.user("li")
    taken = asyncio.Event()
    carrier = world.providers[Path.SMS]

    async def then_dies(attempt: Any) -> Any:
        carrier.taken.add(attempt.attempt_id)
        taken.set()
        await asyncio.Event().wait()

    carrier.answer = then_dies
    await world.dispatch("cm1", "li")
    worker = asyncio.create_task(world.work())
    await asyncio.wait_for(taken.wait(), 10)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    carrier.answer = lambda attempt: HandedOver()
    await world.advance(HOUR)
    assert len(texts(world)) == 1
    assert carrier.looked_up == texts(world)


async def test_a_lost_answer_is_looked_up_twice_half_a_minute_apart_before_the_one_resend(world: Any) -> None:
    await world.app("{path: sms, wait: 5m, retries: 1}")
    await world.user("li")
    carrier = world.providers[Path.SMS]
    carrier.answer = lambda attempt: Unknown("timeout")
    await world.dispatch("cm1", "li")
    await world.work()
    begun = world.now
    assert len(texts(world)) == 1
    await world.advance(29 * SECOND)
    assert carrier.looked_up == []
    await world.advance(2 * SECOND)
    assert len(carrier.looked_up) == 1
    carrier.answer = lambda attempt: HandedOver()
    await world.advance(HOUR)
    assert len(carrier.looked_up) == 2
    assert len(texts(world)) == 2
    assert len(set(texts(world))) == 1  # the same id: carrier and guard know it
    assert world.sent[-1].at - begun >= 60 * SECOND


async def test_retries_keep_their_reservation_and_their_id(world: Any) -> None:
    await world.app("{path: sms, wait: 5m, retries: 2}")
    await world.user("li")
    answers = iter([RetryLater("busy"), RetryLater("busy"), HandedOver()])
    world.providers[Path.SMS].answer = lambda attempt: next(answers)
    await world.dispatch("cm1", "li")
    await world.advance(HOUR)
    assert len(texts(world)) == 3
    assert len(set(texts(world))) == 1


@pytest.mark.parametrize("workers", [2, 5])
async def test_many_workers_at_once_send_one(world: Any, workers: int) -> None:
    await world.app("{path: sms, wait: 5m}")
    for number in range(6):
        await world.user(f"u{number}")
    await world.dispatch("cm1", *[f"u{number}" for number in range(6)])
    await world.plan()
    stores = [await world.another_process() for _ in range(workers)]
    from dispatcher.domain.message import Lane
    from dispatcher.ports.homes import Queue

    await asyncio.gather(*(world.worker(one).drain(Queue(Path.SMS, Lane.INTERACTIVE)) for one in stores))
    assert sorted(sent.attempt.user_id for sent in world.sent) == [f"u{number}" for number in range(6)]
    await world.advance(HOUR)
    assert len(world.sent) == 6
    for one in stores:
        await one.close()


async def test_a_rebuilt_hot_store_does_not_forget_what_was_paid_for(world: Any) -> None:
    await world.app("{path: sms, wait: 5m}")
    await world.user("li")
    await world.dispatch("cm1", "li")
    await world.work()
    assert len(texts(world)) == 1
    await world.marked()
    await world.lose_hot_store()
    await world.reconcile()
    await world.advance(24 * HOUR)
    assert len(texts(world)) == 1
    assert (await world.state("cm1"))["state"] in {"exhausted", "expired"}


async def test_a_receipt_between_reservation_and_request_stops_the_sms_and_costs_nothing(
    world: Any, monkeypatch: Any
) -> None:
    await world.app("{path: push, wait: 10s}", "{path: sms, wait: 5m}")
    await world.user("li", "l1")
    guard = world.stores.parts.sms_guard
    reserve = guard.reserve

    async def then_proof(request: Any, now: int) -> Any:
        refused = await reserve(request, now)
        await world.receipt("cm1", "li", "l1")
        return refused

    monkeypatch.setattr(guard, "reserve", then_proof)
    await world.dispatch("cm1", "li")
    await world.advance(HOUR)
    assert texts(world) == []
    assert await guard.spent("im", window_ms=HOUR, now=world.now + 1) == 0


async def test_tracks_that_only_skipped_do_not_ask_for_an_sms_beside_one_that_tried(world: Any) -> None:
    """The second device has no token: its steps were all skipped, so only the first one's timeout makes the SMS due."""
    await world.app(*LADDER)
    await world.user("li", "l1")
    registered = await world.stores.directory.bind("im", "l2", "li", world.now)
    await world.stores.parts.profiles.put(registered.profiles)
    await world.dispatch("cm1", "li")
    await world.advance(9 * SECOND)
    assert texts(world) == []
    await world.advance(MINUTE)
    assert len(texts(world)) == 1


async def test_a_user_without_any_device_gets_it_at_once(world: Any) -> None:
    await world.app(*LADDER)
    await world.user("li")
    await world.dispatch("cm1", "li")
    await world.work()
    assert len(texts(world)) == 1


async def test_a_carriers_proof_confirms_and_its_failure_goes_on_at_once(world: Any) -> None:
    await world.app("{path: sms, wait: 5m}", "{path: poll, wait: 5m}")
    await world.user("li")
    await world.user("wang")
    await world.dispatch("cm1", "li", "wang")
    await world.work()
    for sent in list(world.sent):
        failed = sent.attempt.user_id == "wang"
        await world.core.receiver.carrier_status(
            sent.attempt.attempt_id,
            "undelivered" if failed else "delivered",
            proof=not failed,
            failed=failed,
            now=world.now,
        )
    world.now += SECOND
    await world.work()
    assert [sent.attempt.user_id for sent in world.sent if sent.path is Path.POLL] == ["wang"]
    states = {one["user_id"]: one for one in (await world.state("cm1"))["deliveries"]}
    assert (states["li"]["state"], states["li"]["confirmed_by"]) == ("confirmed", "sms")
    assert states["wang"]["state"] == "open"
