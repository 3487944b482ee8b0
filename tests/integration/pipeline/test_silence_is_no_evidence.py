"""Invariant 9: while receipts cannot be heard, no SMS step concludes anything from silence."""

from typing import Any

import pytest

from dispatcher.domain.clock import HOUR, SECOND
from dispatcher.domain.outcome import NotConnected
from dispatcher.domain.paths import Path
from dispatcher.domain.receipt import EVENTS
from dispatcher.domain.requests import ReceiptItem
from dispatcher.phone_desk import PhoneDesk
from dispatcher.pipeline.receive import HOLD_AFTER_LAG, Tagged
from workers.sweeper import _watch_nodes

LADDER = ("{path: push, wait: 10s}", "{path: sms, wait: 5m}")
GRACE = 20 * SECOND


def sms_at(world: Any) -> list[int]:
    return [sent.at for sent in world.sent if sent.path is Path.SMS]


async def test_a_first_start_is_no_loss(world: Any) -> None:
    assert await world.stores.parts.hold.held_until(world.now) == 0
    assert await world.stores.parts.inboxes.epoch() == 1


async def test_after_hot_store_loss_sms_waits_for_one_grace(world: Any) -> None:
    await world.app("{path: sms, wait: 5m}")
    await world.user("li")
    await world.dispatch("cm1", "li")
    await world.marked()
    await world.lose_hot_store()
    await world.reconcile()
    lost_at = world.now
    await world.advance(HOUR)
    assert len(sms_at(world)) == 1
    assert sms_at(world)[0] >= lost_at + GRACE


async def test_otp_does_not_wait(world: Any) -> None:
    await world.app("{path: sms, wait: 5m}")
    await world.user("li")
    await world.stores.parts.hold.hold(world.now + GRACE, "test")
    await world.dispatch("cm1", "li", klass="otp")
    await world.dispatch("cm2", "li", klass="chat")
    await world.work()
    assert world.paths() == ["sms"]
    await world.advance(GRACE)
    assert world.paths() == ["sms", "sms"]


async def test_what_is_held_is_shown_as_held_and_proof_still_ends_it(world: Any) -> None:
    await world.app(*LADDER)
    await world.user("li", "l1")
    await world.dispatch("cm1", "li")
    await world.advance(9 * SECOND)
    await world.stores.parts.hold.hold(world.now + HOUR, "test")
    await world.advance(60 * SECOND)
    assert (await world.state("cm1"))["state"] == "held"
    await world.receipt("cm1", "li", "l1")
    await world.advance(2 * HOUR)
    assert world.paths() == ["apns"]
    assert (await world.state("cm1"))["state"] == "confirmed"


async def test_a_gateway_that_died_holds_sms_for_one_grace(world: Any) -> None:
    await world.app(*LADDER)
    await world.user("li", "l1")
    await world.stores.parts.presences.hold_node("n1", world.now, 10_000)
    await world.dispatch("cm1", "li")
    await world.work()
    world.now += 10_001
    await _watch_nodes(world.stores, world.now)
    seen_at = world.now
    await world.advance(HOUR)
    assert sms_at(world)[0] >= seen_at + GRACE


async def test_a_gateway_that_said_goodbye_holds_nothing(world: Any) -> None:
    presences = world.stores.parts.presences
    await presences.hold_node("n1", world.now, 10_000)
    await presences.release_node("n1")
    await _watch_nodes(world.stores, world.now + HOUR)
    assert await world.stores.parts.hold.held_until(world.now) == 0


@pytest.mark.parametrize(("lag", "held"), [(1_900, False), (2_100, True)])
async def test_lagging_receipts_hold_sms(world: Any, lag: int, held: bool) -> None:
    await world.app(*LADDER)
    await world.user("li", "l1")
    await world.dispatch("cm1", "li")
    item = ReceiptItem(user_id="li", message_id="cm1", event=EVENTS["delivered"])
    late = Tagged(app="im", user_id="li", item=item, arrived=world.now - lag)
    await world.core.receiver._flush([late])
    assert bool(await world.stores.parts.hold.held_until(world.now)) is held


async def test_a_gateway_that_stood_still_holds_sms(world: Any) -> None:
    await world.app(*LADDER)
    await PhoneDesk(world.stores.parts).stalled(world.now)
    assert await world.stores.parts.hold.held_until(world.now) > world.now
    await world.user("li", "l1")
    await world.dispatch("cm1", "li")
    stood_still_at = world.now
    await world.advance(HOUR)
    assert sms_at(world)[0] >= stood_still_at + HOLD_AFTER_LAG


async def test_a_reconnecting_phone_gets_its_grace_before_the_next_path(world: Any) -> None:
    """Not online yet is not offline: its line broke a moment ago, so push and SMS wait for the rest of the grace."""
    await world.app("{path: longconn, wait: 5s}", "{path: push, wait: 10s}")
    await world.user("li", "l1")
    await world.connect("li", "l1")
    await world.stores.parts.presences.drop("im", "li", "l1", "s1", world.now, lost=True)
    lost_at = world.now
    world.providers[Path.LONGCONN].answer = lambda attempt: NotConnected()
    await world.dispatch("cm1", "li")
    await world.advance(HOUR)
    assert world.paths()[-1] == "apns"
    assert world.sent[-1].at >= lost_at + GRACE


@pytest.mark.parametrize(("klass", "grace"), [("chat", True), ("call", False)])
async def test_a_line_that_breaks_while_a_step_waits_extends_the_step(world: Any, klass: str, grace: bool) -> None:
    await world.app("{path: longconn, wait: 5s}", "{path: push, wait: 10s}")
    await world.user("li", "l1")
    await world.connect("li", "l1")
    await world.dispatch("cm1", "li", klass=klass)
    await world.advance(2 * SECOND)
    await world.stores.parts.presences.drop("im", "li", "l1", "s1", world.now, lost=True)
    lost_at = world.now
    await world.core.receiver.undelivered([world.sent[0].attempt.attempt_id], world.now)
    await world.advance(HOUR)
    assert world.paths() == ["longconn", "apns"]
    assert (world.sent[1].at >= lost_at + GRACE) is grace


async def test_a_frame_whose_device_is_gone_for_good_moves_on_at_once(world: Any) -> None:
    await world.app("{path: longconn, wait: 5s}", "{path: push, wait: 10s}")
    await world.user("li", "l1")
    await world.connect("li", "l1")
    await world.dispatch("cm1", "li")
    await world.advance(SECOND)
    await world.stores.parts.presences.drop("im", "li", "l1", "s1", world.now, lost=False)
    await world.core.receiver.undelivered([world.sent[0].attempt.attempt_id], world.now)
    await world.work()
    assert world.paths() == ["longconn", "apns"]
    assert "escalated" in await world.kinds("cm1")
