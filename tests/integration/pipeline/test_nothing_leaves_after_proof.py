"""Invariants 4 and 10: nothing is written after proof, end, recall or ttl was applied, nor to whom a device left."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from dispatcher.domain.clock import HOUR, MINUTE, SECOND
from dispatcher.domain.outcome import HandedOver, RetryLater
from dispatcher.domain.paths import Path

PUSH = ("{path: push, wait: 10s}", "{path: poll, wait: 1m}")


async def proof(world: Any) -> None:
    await world.receipt("cm1", "wang", "w1")


async def recall(world: Any) -> None:
    await world.core.recall("im", "cm1")


async def ttl(world: Any) -> None:
    world.now += 2 * HOUR


async def moved(world: Any) -> None:
    await world.device("zhao", "w1")


async def token_gone(world: Any) -> None:
    binding = await world.stores.directory.remove_device("im", "w1", world.now)
    await world.stores.parts.profiles.put(binding.profiles)


@pytest.mark.parametrize("happens", [proof, recall, ttl, moved, token_gone])
async def test_what_happens_while_a_wave_waits_for_its_provider_stops_the_rest_of_it(world: Any, happens: Any) -> None:
    """The provider takes one at a time and is slow: the second was claimed long before its turn."""
    await world.app(*PUSH)
    await world.user("li", "l1")
    await world.user("wang", "w1")
    provider = world.providers[Path.APNS]
    provider.limits = replace(provider.limits, batch=1)

    async def slowly(attempt: Any) -> Any:
        provider.answer = lambda attempt: HandedOver()
        world.now += 300
        await happens(world)
        return HandedOver()

    provider.answer = slowly
    await world.dispatch("cm1", "li", "wang", ttl_ms=HOUR)
    await world.work()
    assert [sent.attempt.user_id for sent in world.sent if sent.path is Path.APNS] == ["li"]
    await world.advance(24 * HOUR)
    assert "wang" not in [sent.attempt.user_id for sent in world.sent if sent.path is Path.APNS]
    states = {one["user_id"]: one["state"] for one in (await world.state("cm1"))["deliveries"]}
    assert "open" not in states.values()


@pytest.mark.parametrize("event", ["delivered", "displayed", "opened"])
async def test_proof_before_a_step_is_due_cancels_it(world: Any, event: str) -> None:
    from dispatcher.domain.receipt import EVENTS

    await world.app("{path: push, wait: 10s}", "{path: sms, wait: 1m}")
    await world.user("li", "l1")
    await world.dispatch("cm1", "li")
    await world.advance(9 * SECOND)
    counts = await world.receipt("cm1", "li", "l1", event=EVENTS[event])
    assert (counts.accepted, counts.unknown) == (1, 0)
    await world.advance(HOUR)
    assert world.paths() == ["apns"]
    state = (await world.state("cm1"))["deliveries"][0]
    assert (state["state"], state["confirmed_by"], state["proof"]) == ("confirmed", "apns", event)


async def test_proof_that_comes_while_a_retry_waits_cancels_it(world: Any) -> None:
    await world.app("{path: push, wait: 1m}", "{path: sms, wait: 1m}")
    await world.user("li", "l1")
    world.providers[Path.APNS].answer = lambda attempt: RetryLater("busy")
    await world.dispatch("cm1", "li")
    await world.work()
    await world.receipt("cm1", "li", "l1")
    await world.advance(HOUR)
    assert world.paths() == ["apns"]


async def test_a_recall_between_two_steps_stops_the_ladder_and_empties_the_inbox(world: Any) -> None:
    await world.app(*PUSH)
    await world.user("li", "l1")
    await world.dispatch("cm1", "li")
    await world.advance(5 * SECOND)
    assert await world.core.recall("im", "cm1")
    assert await world.core.recall("im", "cm1")
    assert not await world.core.recall("im", "never sent")
    await world.advance(HOUR)
    assert world.paths() == ["apns"]
    assert (await world.state("cm1"))["state"] == "recalled"
    assert await world.stores.parts.inboxes.newest("im", "li", before=None, limit=10) == []
    assert (await world.kinds("cm1"))[-1] in {"recalled", "settled"}


async def test_proof_of_what_was_recalled_is_kept_beside_it(world: Any) -> None:
    await world.app(*PUSH)
    await world.user("li", "l1")
    await world.dispatch("cm1", "li")
    await world.work()
    await world.core.recall("im", "cm1")
    ref = await world.ref("cm1")
    delivery_id = world.stores.ids.delivery_id(ref, "im", "li")
    await world.receipt("cm1", "li", "l1", delivery_id=delivery_id)
    state = (await world.state("cm1"))["deliveries"][0]
    assert (state["state"], state["confirmed_by"]) == ("recalled", "apns")


async def test_what_is_archived_can_still_be_recalled(world: Any) -> None:
    await world.app(*PUSH)
    await world.user("li", "l1")
    await world.dispatch("cm1", "li")
    await world.work()
    await world.receipt("cm1", "li", "l1")
    await world.archive()
    assert await world.hot_state("cm1") is None
    assert await world.core.recall("im", "cm1")
    state = (await world.state("cm1"))["deliveries"][0]
    assert (state["state"], state["confirmed_by"]) == ("recalled", "apns")
    assert await world.stores.parts.inboxes.newest("im", "li", before=None, limit=10) == []


async def test_a_message_to_a_moved_device_does_not_reach_its_new_user(world: Any) -> None:
    """Planned for li; then the phone is wang's: token, session and all. Li has no device left."""
    await world.app("{path: longconn, wait: 5s}", "{path: push, wait: 10s}")
    await world.user("li", "p1", phone=False)
    await world.user("wang", phone=False)
    await world.connect("li", "p1")
    await world.dispatch("cm1", "li")
    await world.plan()
    await world.device("wang", "p1")
    await world.connect("wang", "p1", session="s2")
    await world.advance(HOUR)
    assert world.paths() == []
    assert (await world.state("cm1"))["state"] == "exhausted"


async def test_a_device_token_of_before_the_move_is_worth_nothing(world: Any) -> None:
    from dispatcher.domain.device_token import DeviceIdentity

    await world.app()
    await world.user("li", "p1")
    first = await world.stores.directory.bind("im", "p1", "li", world.now)
    identity = DeviceIdentity(app="im", user_id="li", device_id="p1", epoch=first.epoch, expires_at=world.now + HOUR)
    assert await world.core.is_bound(identity)
    moved_to = await world.stores.directory.bind("im", "p1", "wang", world.now)
    await world.core.rebound("im", "p1", moved_to)
    assert not await world.core.is_bound(identity)
    back = await world.stores.directory.bind("im", "p1", "li", world.now)
    await world.core.rebound("im", "p1", back)
    assert not await world.core.is_bound(identity)
    assert await world.core.is_bound(msgspec.structs.replace(identity, epoch=back.epoch))


async def test_frames_carry_the_epoch_and_the_session_they_were_made_for(world: Any) -> None:
    await world.app("{path: longconn, wait: 5s}")
    await world.user("li", "p1")
    await world.connect("li", "p1", session="s7")
    await world.dispatch("cm1", "li")
    await world.work()
    (sent,) = world.sent
    profile = (await world.stores.parts.profiles.get("im", ["li"]))["li"]
    assert (sent.attempt.session, sent.attempt.epoch) == ("s7", profile.devices[0].epoch)
    assert sent.attempt.seq > sent.attempt.prev_seq == 0


async def test_a_neighbours_delivery_cannot_be_proven(world: Any) -> None:
    """Recipients of one message stand side by side; the id that li was given leads to nobody else's delivery."""
    await world.app("{path: push, wait: 10s}", "{path: sms, wait: 1m}")
    await world.user("li", "l1")
    await world.user("wang", "w1")
    await world.dispatch("cm1", "li", "wang")
    await world.work()
    ids = world.stores.ids
    ref, neighbour = await world.ref("cm1"), await world.ref("cm1", place=1)
    own = ids.delivery_id(ref, "im", "li")
    forged = f"{own[:16]}{neighbour.place:04x}{own[20:]}"
    for guess in (forged, ids.delivery_id(neighbour, "im", "wang"), ids.delivery_id(neighbour, "other", "wang")):
        counts = await world.receipt("", "li", "l1", delivery_id=guess)
        assert (counts.accepted, counts.unknown) == (0, 1)
    await world.advance(MINUTE)
    assert world.paths() == ["apns", "apns", "sms", "sms"]
