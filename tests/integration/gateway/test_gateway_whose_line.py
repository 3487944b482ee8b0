"""Whose a line is: the newest connection's, the bound user's, for as long as the token says; what others see of it."""

from typing import Any

import httpx
import msgspec
import pytest

from dispatcher.domain.delivery import Proof
from dispatcher.gateway.rehearsal import APP
from dispatcher.ports.node_bus import BusFrame
from dispatcher.ports.presence import Line


async def test_the_newest_connection_of_a_device_wins_here_and_on_another_node(stage: Any) -> None:
    other = await stage.gateway()
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    token = stage.world.token("li", "phone-1")
    same_node = await stage.phone(token=token)
    assert await phone.closed() == (4002, [{"t": "bye", "code": "replaced"}])
    await same_node.hear_until("caught_up")
    elsewhere = await stage.phone(token=token, gateway=other)
    await elsewhere.hear_until("caught_up")
    assert (await same_node.closed())[0] == 4002
    await stage.settled()
    presence = await stage.presence()
    assert (presence.node, presence.line) == (other.desk.node, Line.ONLINE)


async def test_two_nodes_that_hold_one_device_know_the_newest_and_take_acks_from_either(
    stage: Any, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    """A half-open line after a change of network: its node never hears that it was replaced."""
    other = await stage.gateway()
    send = stage.world.bus.send

    async def without_replaced(frames: Any) -> None:
        await send({node: [one for one in some if one.kind != "replaced"] for node, some in frames.items()})

    monkeypatch.setattr(stage.world.bus, "send", without_replaced)
    old = await stage.phone()
    await old.hear_until("caught_up")
    new = await stage.phone(token=stage.world.token("li", "phone-1"), gateway=other)
    await new.hear_until("caught_up")
    first, second = [await stage.world.dispatch("li", f"m{number}") for number in range(2)]
    assert [(await new.hear())["delivery_id"] for _ in range(2)] == [first, second]
    await old.say(t="ack", ids=[first])
    await new.say(t="ack", ids=[second])
    await old.say(t="ping")
    await old.hear_until("pong")
    await new.say(t="ping")
    await new.hear_until("pong")
    await stage.settled()
    assert stage.world.books.proven == {(APP, "li", each): Proof.DELIVERED for each in (first, second)}
    old.socket.transport.abort()
    await eventually(lambda: stage.gateways[0].desk.hub.lines_held == 0)
    await stage.settled()
    presence = await stage.presence()
    assert (presence.node, presence.line) == (other.desk.node, Line.ONLINE)
    third = await stage.world.dispatch("li", "m3")
    assert (await new.hear())["delivery_id"] == third


@pytest.mark.parametrize("frames_for_old_binding", [True, False])
async def test_a_device_that_moves_to_another_user_hears_nothing_more_of_the_old_one(
    stage: Any, frames_for_old_binding: Any
) -> None:
    phone = await stage.phone("li", "phone-1")
    await phone.hear_until("caught_up")
    await stage.world.bind("wang", "phone-1")
    moved = BusFrame(kind="moved", app=APP, user_id="li", device_id="phone-1", epoch=2)
    await stage.world.bus.send({stage.gateways[0].desk.node: [moved]})
    if frames_for_old_binding:
        await stage.world.dispatch("li", "m1")
    assert await phone.closed() == (4010, [{"t": "bye", "code": "moved"}])


async def test_a_device_that_moves_in_the_moment_it_connects_is_not_held(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await stage.world.bind("li", "phone-1")

    def meanwhile(call: Any) -> Any:
        async def moved(*args: Any) -> Any:
            await stage.world.bind("li", "phone-1")
            return await call(*args)

        return moved

    monkeypatch.setattr(stage.world.inboxes, "catch_up_many", meanwhile(stage.world.inboxes.catch_up_many))
    monkeypatch.setattr(stage.world.presences, "register", meanwhile(stage.world.presences.register))
    await stage.world.dispatch("li", "m1")
    phone = await stage.phone(token=token)
    code, frames = await phone.closed()
    assert code == 4010
    assert [frame["t"] for frame in frames] == ["bye"]
    async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {token}"}) as http:
        url = f"http://127.0.0.1:{stage.gateways[0].port}/v1/inbox?wait=5s"
        stage.world._epochs[APP, "phone-1"] = 0
        await stage.world.unbind("li", "phone-1")
        await stage.world.bind("li", "phone-1")
        assert (await http.get(url)).status_code == 401
    await stage.settled()
    assert stage.gateways[0].gauges()["lines"] == 0


async def test_a_frame_for_another_binding_is_not_sent(stage: Any) -> None:
    phone = await stage.phone("li", "phone-1")
    await phone.hear_until("caught_up")
    frame = msgspec.structs.replace(stage.world.append("li", "m1"), device_id="phone-1", epoch=2)
    await stage.world.bus.send({stage.gateways[0].desk.node: [frame]})
    await phone.say(t="ping")
    assert (await phone.hear())["t"] == "pong"


@pytest.mark.parametrize(
    ("epoch", "bound", "code"), [(None, False, 4010), (7, True, 4010)], ids=["device unknown", "older binding"]
)
async def test_a_token_whose_binding_is_gone_does_not_connect(stage: Any, epoch: Any, bound: Any, code: int) -> None:
    if bound:
        await stage.world.bind("li", "phone-1")
    phone = await stage.phone(token=stage.world.token("li", "phone-1", epoch=epoch))
    assert (await phone.closed())[0] == code


async def test_frames_for_a_device_that_left_go_back(stage: Any, eventually: Any) -> None:
    frame = msgspec.structs.replace(stage.world.append("li", "m1"), device_id="gone")
    await stage.world.bus.send({stage.gateways[0].desk.node: [frame]})
    await eventually(lambda: stage.world.books.returned == [frame])


async def test_attention_is_kept_with_the_presence(stage: Any, eventually: Any) -> None:
    phone = await stage.phone(state="background")
    await phone.hear_until("caught_up")
    assert not (await stage.presence()).foreground
    await phone.say(t="state", state="foreground")
    await phone.say(t="ping")
    await phone.hear_until("pong")
    await stage.settled()
    assert (await stage.presence()).foreground


@pytest.mark.parametrize(("goodbye", "line"), [(True, None), (False, Line.LOST)])
async def test_a_line_that_broke_is_reconnecting_and_one_that_said_goodbye_is_gone(
    stage: Any, eventually: Any, goodbye: Any, line: Any
) -> None:
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    if goodbye:
        await phone.socket.close()
    else:
        phone.socket.transport.abort()
    await eventually(lambda: stage.gateways[0].desk.hub.lines_held == 0)
    await stage.settled()
    held = (await stage.world.presences.of_users(APP, ["li"], stage.clock()))["li"]
    assert [presence.line for presence in held] == ([line] if line else [])


async def test_a_token_that_ends_while_connected_closes_the_line_a_minute_later(stage: Any) -> None:
    token = await stage.world.bind("li", "phone-1", ttl=100_000)
    phone = await stage.phone(token=token)
    await phone.hear_until("caught_up")
    stage.move_time(159_000)
    await phone.say(t="ping")
    assert (await phone.hear())["t"] == "pong"
    stage.move_time(2_000)
    code, frames = await phone.closed()
    assert (code, frames[-1]["code"]) == (4001, "token_expired")


async def test_a_fresh_token_in_time_keeps_it(stage: Any) -> None:
    phone = await stage.phone(token=await stage.world.bind("li", "phone-1", ttl=100_000))
    await phone.hear_until("caught_up")
    await phone.say(t="token", token=stage.world.token("li", "phone-1", ttl=1_000_000))
    await phone.say(t="ping")
    await phone.hear_until("pong")
    stage.move_time(200_000)
    await phone.say(t="ping")
    assert (await phone.hear())["t"] == "pong"
