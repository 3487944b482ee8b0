"""Stores and a bus that lose their memory, hang or do not answer while phones are on the line or come."""

import asyncio
import json
from typing import Any

import pytest

from dispatcher.domain.delivery import Proof
from dispatcher.gateway.rehearsal import APP
from dispatcher.ports.presence import Line
from dispatcher.protocol.wire import TEXT, encode_frame


async def test_a_hot_store_that_lost_its_memory_is_noticed_and_replayed(stage: Any) -> None:
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    stage.world.inboxes.lose(2)
    rebuilt = stage.world.append("li", "m-rebuilt")
    stage.move_time(4_000)
    frames = await phone.hear_until("caught_up")
    assert [frame.get("message_id") for frame in frames] == ["m-rebuilt", None]
    assert frames[-1]["cursor"] == stage.world.cursor("li", rebuilt.seq)
    assert (await stage.presence()).line is Line.ONLINE
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
    assert (await stage.presence()).line is Line.ONLINE
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
