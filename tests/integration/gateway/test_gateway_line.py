"""The long connection over real sockets, with python-websockets as the phone."""

import asyncio
import json
from typing import Any

import httpx
import msgspec
import pytest

from dispatcher.domain.delivery import Proof
from dispatcher.gateway.rehearsal import APP
from dispatcher.ports.node_bus import BusFrame
from dispatcher.ports.presence import Line
from dispatcher.protocol.wire import TEXT, encode_frame


async def line_of(stage: Any, user_id: Any = "li") -> Any:
    (presence,) = (await stage.world.presences.of_users(APP, [user_id], stage.clock()))[user_id]
    return presence


async def test_a_phone_drains_its_inbox_then_turns_live(stage: Any) -> None:
    token = await stage.world.bind("li", "phone-1")
    waiting = [await stage.world.dispatch("li", f"m{number}", "早") for number in range(3)]
    phone = await stage.phone(token=token)
    frames = await phone.hear_until("caught_up")
    assert [frame["t"] for frame in frames] == ["welcome", "msg", "msg", "msg", "caught_up"]
    assert [frame["delivery_id"] for frame in frames[1:4]] == waiting
    assert [frame["attempt_id"] for frame in frames[1:4]] == [f"{delivery}-i" for delivery in waiting]
    assert frames[-1] == {"t": "caught_up", "cursor": frames[3]["cursor"], "more": False}
    assert (await line_of(stage)).line is Line.ONLINE
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
    presence = await line_of(stage)
    assert (presence.node, presence.line) == (other.desk.node, Line.ONLINE)


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


async def test_a_recall_reaches_the_screen(stage: Any) -> None:
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    await stage.world.wake(BusFrame(kind="recall", app=APP, user_id="li", device_id="", message_id="m1"))
    assert await phone.hear() == {"t": "recall", "message_id": "m1"}


async def test_frames_for_a_device_that_left_go_back(stage: Any, eventually: Any) -> None:
    frame = msgspec.structs.replace(stage.world.append("li", "m1"), device_id="gone")
    await stage.world.bus.send({stage.gateways[0].desk.node: [frame]})
    await eventually(lambda: stage.world.books.returned == [frame])


async def test_attention_is_kept_with_the_presence(stage: Any, eventually: Any) -> None:
    phone = await stage.phone(state="background")
    await phone.hear_until("caught_up")
    assert not (await line_of(stage)).foreground
    await phone.say(t="state", state="foreground")
    await phone.say(t="ping")
    await phone.hear_until("pong")
    await stage.settled()
    assert (await line_of(stage)).foreground


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


async def test_a_heartbeat_that_stays_out_ends_the_line(stage: Any) -> None:
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    stage.move_time(314_000)
    await phone.say(t="ping")
    await phone.hear_until("pong")
    stage.move_time(316_000)
    code, frames = await phone.closed()
    assert (code, frames[-1]["code"]) == (1001, "heartbeat_lost")


async def test_a_hot_store_that_lost_its_memory_is_noticed_and_replayed(stage: Any) -> None:
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    stage.world.inboxes.lose(2)
    rebuilt = stage.world.append("li", "m-rebuilt")
    stage.move_time(4_000)
    frames = await phone.hear_until("caught_up")
    assert [frame.get("message_id") for frame in frames] == ["m-rebuilt", None]
    assert frames[-1]["cursor"] == stage.world.cursor("li", rebuilt.seq)
    assert (await line_of(stage)).line is Line.ONLINE
    await stage.world.dispatch("li", "m-next")
    assert (await phone.hear())["message_id"] == "m-next"


@pytest.mark.parametrize("noticed", [False, True], ids=["before the look", "between look and answer"])
async def test_a_store_that_loses_its_memory_while_a_phone_connects_holds_it_all_the_same(
    stage: Any, monkeypatch: pytest.MonkeyPatch, noticed: bool
) -> None:
    world, gateway = stage.world, stage.gateways[0]
    token = await world.bind("li", "phone-1")
    look = world.inboxes.catch_up_many

    async def lost(*args: Any) -> Any:
        monkeypatch.setattr(world.inboxes, "catch_up_many", look)
        pages = await look(*args) if noticed else None
        world.inboxes.lose(2)
        world.append("li", "m-rebuilt")
        if noticed:
            await gateway.node.hold()
        return pages or await look(*args)

    monkeypatch.setattr(world.inboxes, "catch_up_many", lost)
    phone = await stage.phone(token=token)
    frames = await phone.hear_until("caught_up")
    assert [frame.get("message_id", frame["t"]) for frame in frames] == ["welcome", "m-rebuilt", "caught_up"]
    await world.presences.hold_node(gateway.desk.node, stage.clock(), 4_000)
    assert (await line_of(stage)).line is Line.ONLINE
    await world.dispatch("li", "m-next")
    assert (await phone.hear())["message_id"] == "m-next"


async def test_receipts_are_kept_until_the_stores_take_them(stage: Any) -> None:
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    delivery = await stage.world.dispatch("li", "m1")
    await phone.hear()
    stage.world.books.fail = 2
    await phone.say(t="ack", ids=[delivery])
    await phone.say(t="ping")
    await phone.hear()
    for _ in range(3):
        await stage.gateways[0].desk.acks.flush()
    assert stage.world.books.proven == {(APP, "li", delivery): Proof.DELIVERED}


async def test_a_store_that_does_not_answer_sends_a_hello_away_with_a_time(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_args: Any, **_named: Any) -> None:
        raise ConnectionError("no store")

    token = await stage.world.bind("li", "phone-1")
    monkeypatch.setattr(stage.world.inboxes, "catch_up_many", broken)
    phone = await stage.phone(token=token)
    code, frames = await phone.closed()
    assert (code, frames[0]["code"]) == (1013, "unavailable")
    assert 1 <= frames[0]["retry_after_s"] <= 15


@pytest.mark.parametrize("port", ["profiles.get", "inboxes.catch_up_many"])
async def test_a_store_that_hangs_does_not_keep_a_hello_waiting_for_ever(
    stage: Any, monkeypatch: pytest.MonkeyPatch, eventually: Any, port: str
) -> None:
    token = await stage.world.bind("li", "phone-1")
    asked = asyncio.Event()

    async def hangs(*_args: Any) -> None:
        asked.set()
        await asyncio.sleep(3_600)

    owner, name = port.split(".")
    monkeypatch.setattr(getattr(stage.world, owner), name, hangs)
    phone = await stage.phone(token=token)
    await asyncio.wait_for(asked.wait(), 5)
    stage.move_time(6_000)
    stage.move_time(10_000)
    await phone.socket.ping()
    assert not stage.gateways[0].counters["lines_closed.1013"]
    stage.move_time(21_000)
    code, frames = await phone.closed()
    assert (code, frames[-1]["code"]) == (1013, "overloaded")


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
    presence = await line_of(stage)
    assert (presence.node, presence.line) == (other.desk.node, Line.ONLINE)
    third = await stage.world.dispatch("li", "m3")
    assert (await new.hear())["delivery_id"] == third


async def test_a_bus_that_does_not_answer_takes_nobodys_line(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    other = await stage.gateway()
    await (await stage.phone()).hear_until("caught_up")

    async def broken(_frames: Any) -> None:
        raise ConnectionError("no bus")

    monkeypatch.setattr(stage.world.bus, "send", broken)
    phone = await stage.phone(token=stage.world.token("li", "phone-1"), gateway=other)
    await phone.hear_until("caught_up")
    await stage.settled()
    assert other.counters["store_faults"] == 1
    await phone.say(t="ping")
    assert (await phone.hear())["t"] == "pong"


async def test_profiles_that_cannot_be_read_again_send_away_only_whom_they_concern(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = [await stage.world.bind(user, device) for user, device in (("li", "phone-1"), ("wang", "phone-2"))]
    look = stage.world.inboxes.catch_up_many

    async def broken(*_args: Any) -> None:
        raise ConnectionError("no store")

    async def meanwhile(*args: Any) -> Any:
        await stage.world.bind("li", "phone-9")  # li's profile changes between look and line
        monkeypatch.setattr(stage.world.profiles, "get", broken)
        return await look(*args)

    sockets = [await stage.socket() for _ in tokens]
    monkeypatch.setattr(stage.world.inboxes, "catch_up_many", meanwhile)
    for socket, token in zip(sockets, tokens, strict=True):
        socket.transport.write(encode_frame(TEXT, json.dumps({"t": "hello", "token": token}).encode(), b"abcd"))
    li, wang = [json.loads(await socket.recv()) for socket in sockets]
    assert (li["t"], li["code"]) == ("bye", "unavailable")
    assert wang["t"] == "welcome"


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
