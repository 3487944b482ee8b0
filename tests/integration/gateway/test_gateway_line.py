"""The long connection over real sockets, with python-websockets as the phone: inbox, live messages, acks, drain."""

import asyncio
import json
from typing import Any

import msgspec

from dispatcher.domain.delivery import Proof
from dispatcher.gateway.rehearsal import APP
from dispatcher.ports.node_bus import BusFrame
from dispatcher.ports.presence import Line


async def test_a_phone_drains_its_inbox_then_turns_live(stage: Any) -> None:
    token = await stage.world.bind("li", "phone-1")
    waiting = [await stage.world.dispatch("li", f"m{number}", "早") for number in range(3)]
    phone = await stage.phone(token=token)
    frames = await phone.hear_until("caught_up")
    assert [frame["t"] for frame in frames] == ["welcome", "msg", "msg", "msg", "caught_up"]
    assert [frame["delivery_id"] for frame in frames[1:4]] == waiting
    assert [frame["attempt_id"] for frame in frames[1:4]] == [f"{delivery}-i" for delivery in waiting]
    assert frames[-1] == {"t": "caught_up", "cursor": frames[3]["cursor"], "more": False}
    assert (await stage.presence()).line is Line.ONLINE
    live = await stage.world.dispatch("li", "m3")
    frame = await phone.hear()
    assert (frame["delivery_id"], frame["class"], frame["message_id"]) == (live, "chat", "m3")


async def test_an_ack_by_either_id_is_proof_and_its_repetition_a_duplicate(stage: Any) -> None:
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    first = await stage.world.dispatch("li", "m1")
    second = await stage.world.dispatch("li", "m2")
    await phone.hear_until("msg")
    await phone.say(t="ack", ids=[first, "m2", "unheard-of"], event="delivered")
    await phone.say(t="ack", ids=[first], event="delivered")
    await phone.say(t="ack", ids=["m2"], event="opened")
    await phone.say(t="ping")
    await phone.hear_until("pong")
    await stage.settled()
    books = stage.world.books
    assert books.proven == {(APP, "li", first): Proof.DELIVERED, (APP, "li", second): Proof.OPENED}
    assert (books.counts.accepted, books.counts.unknown, books.counts.duplicate) == (3, 1, 1)


async def test_a_cursor_proves_what_is_before_it_and_the_rest_comes(stage: Any) -> None:
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    stored = await stage.world.dispatch("li", "m1")
    cursor = (await phone.hear())["cursor"]
    await phone.socket.close()
    await stage.world.dispatch("li", "m2")
    phone = await stage.phone(token=stage.world.token("li", "phone-1"), cursor=cursor)
    frames = await phone.hear_until("caught_up")
    assert [frame["message_id"] for frame in frames if frame["t"] == "msg"] == ["m2"]
    await stage.settled()
    assert stage.world.books.by_cursor == {(APP, "li", stored)}


async def test_sent_but_unproven_messages_above_the_cursor_come_again(stage: Any) -> None:
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    await stage.world.dispatch("li", "m1")
    cursor = (await phone.hear())["cursor"]
    await stage.world.dispatch("li", "m2")
    assert (await phone.hear())["message_id"] == "m2"
    phone.socket.transport.abort()
    phone = await stage.phone(token=stage.world.token("li", "phone-1"), cursor=cursor)
    frames = await phone.hear_until("caught_up")
    assert [frame["message_id"] for frame in frames if frame["t"] == "msg"] == ["m2"]


async def test_a_cursor_of_the_future_is_as_none_and_of_an_older_life_replays(stage: Any) -> None:
    token = await stage.world.bind("li", "phone-1")
    await stage.world.dispatch("li", "m1")
    for cursor in (stage.world.cursor("li", 1 << 62), stage.world.cursor("li", 1 << 62, life=7)):
        phone = await stage.phone(token=token, cursor=cursor)
        frames = await phone.hear_until("caught_up")
        assert [frame["message_id"] for frame in frames if frame["t"] == "msg"] == ["m1"]
        await phone.socket.close()
    assert stage.world.books.proven == {}


async def test_without_a_cursor_the_newest_two_hundred_come_and_more_wait(stage: Any) -> None:
    token = await stage.world.bind("li", "phone-1")
    for number in range(203):
        stage.world.append("li", f"m{number}")
    frames = await (await stage.phone(token=token)).hear_until("caught_up")
    assert [frame["message_id"] for frame in frames[1:-1]] == [f"m{number}" for number in range(3, 203)]
    assert frames[-1]["more"] is True


async def test_with_a_cursor_everything_above_it_comes_page_by_page(stage: Any) -> None:
    token = await stage.world.bind("li", "phone-1")
    start = stage.world.append("li", "m-first").seq
    for number in range(150):
        stage.world.append("li", f"m{number}")
    phone = await stage.phone(token=token, cursor=stage.world.cursor("li", start))
    frames = await phone.hear_until("caught_up")
    assert [frame["message_id"] for frame in frames[1:-1]] == [f"m{number}" for number in range(150)]
    assert frames[-1]["more"] is False


async def test_a_wake_up_that_was_lost_is_made_good_by_the_next_one(stage: Any) -> None:
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    stage.world.append("li", "lost")
    await stage.world.dispatch("li", "next")
    assert [(await phone.hear())["message_id"] for _ in range(2)] == ["lost", "next"]


async def test_wake_ups_in_the_wrong_order_still_show_each_message_once_in_order(stage: Any) -> None:
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    frames = [stage.world.append("li", f"m{number}") for number in range(6)]
    for index in (3, 1, 0, 5, 4, 2):
        await stage.world.wake(frames[index])
    assert [(await phone.hear())["message_id"] for _ in range(6)] == [f"m{number}" for number in range(6)]
    await phone.say(t="ping")
    assert (await phone.hear())["t"] == "pong"


async def test_a_recall_reaches_the_screen(stage: Any) -> None:
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    await stage.world.wake(BusFrame(kind="recall", app=APP, user_id="li", device_id="", message_id="m1"))
    assert await phone.hear() == {"t": "recall", "message_id": "m1"}


async def test_a_heartbeat_that_stays_out_ends_the_line(stage: Any) -> None:
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    stage.move_time(314_000)
    await phone.say(t="ping")
    await phone.hear_until("pong")
    stage.move_time(316_000)
    code, frames = await phone.closed()
    assert (code, frames[-1]["code"]) == (1001, "heartbeat_lost")


async def test_messagepack_says_the_same(stage: Any) -> None:
    token = await stage.world.bind("li", "phone-1")
    socket = await stage.socket(codec="pushpath.v1.msgpack")
    encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
    await socket.send(encode({"t": "hello", "token": token, "state": "foreground"}))
    assert decode(await socket.recv())["t"] == "welcome"
    assert decode(await socket.recv())["t"] == "caught_up"
    delivery = await stage.world.dispatch("li", "m1", "早")
    frame = decode(await socket.recv())
    assert (frame["delivery_id"], frame["notification"]["body"]) == (delivery, "早")
    await socket.send(encode({"t": "ack", "ids": [delivery], "event": "displayed"}))
    await socket.send(encode({"t": "ping"}))
    await socket.recv()
    await stage.settled()
    assert stage.world.books.proven == {(APP, "li", delivery): Proof.DISPLAYED}


async def test_draining_says_bye_with_spread_times_keeps_delivering_and_loses_no_ack(stage: Any) -> None:
    phones = [await stage.phone(f"u{number}", f"phone-{number}") for number in range(5)]
    for phone in phones:
        await phone.hear_until("caught_up")
    node = stage.gateways[0]
    draining = asyncio.create_task(node.stop(4))
    byes = [(await phone.hear_until("bye"))[-1] for phone in phones]
    assert {bye["code"] for bye in byes} == {"draining"}
    assert all(1 <= bye["retry_after_s"] <= 15 for bye in byes)
    delivery = await stage.world.dispatch("u0", "last")
    frame = (await phones[0].hear_until("msg"))[-1]
    assert frame["delivery_id"] == delivery
    await phones[0].say(t="ack", ids=[delivery])
    assert {(await phone.closed())[0] for phone in phones} == {1001}
    await draining
    assert stage.world.books.proven == {(APP, "u0", delivery): Proof.DELIVERED}
    lines = await stage.world.presences.of_users(APP, [f"u{number}" for number in range(5)], stage.clock())
    assert {presence.line for held in lines.values() for presence in held} == {Line.LOST}


async def test_json_frames_are_one_object_each(stage: Any) -> None:
    phone = await stage.phone()
    raw = await phone.socket.recv()
    assert json.loads(raw)["t"] == "welcome"
