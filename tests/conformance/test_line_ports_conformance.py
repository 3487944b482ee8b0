"""What every implementation of presence, node bus and profiles promises."""

import asyncio
from typing import Any

from msgspec.structs import replace

from dispatcher.domain.device import Device, Platform, Profile
from dispatcher.ports.node_bus import BusFrame
from dispatcher.ports.presence import Line, Presence


def presence(session: str, **changed: Any) -> Presence:
    base = Presence(device_id="p", node="n1", session=session, line=Line.ONLINE, foreground=True, since=1_000)
    return replace(base, **changed)


async def held(ports: Any, user_id: str = "li") -> list[Presence]:
    return list((await ports.presences.of_users("a", [user_id], ports.now))[user_id])


async def test_the_newest_session_wins_and_learns_whom_it_replaced(ports: Any) -> None:
    await ports.presences.hold_node("n1", ports.now, 10_000)
    assert await ports.presences.register("a", "li", presence("s1")) is None
    assert await ports.presences.register("a", "li", presence("s2")) == presence("s1")
    assert await held(ports) == [presence("s2")]


async def test_an_older_sessions_end_never_touches_the_newer_one(ports: Any) -> None:
    await ports.presences.hold_node("n1", ports.now, 10_000)
    await ports.presences.register("a", "li", presence("s1"))
    await ports.presences.register("a", "li", presence("s2"))
    await ports.presences.drop("a", "li", "p", "s1", ports.now, lost=False)
    await ports.presences.drop("a", "li", "p", "s1", ports.now, lost=True)
    await ports.presences.set_foreground("a", "li", "p", "s1", False)
    assert await held(ports) == [presence("s2")]


async def test_a_lost_line_is_kept_for_its_grace_and_a_dropped_one_is_not(ports: Any) -> None:
    await ports.presences.hold_node("n1", ports.now, 10_000)
    await ports.presences.register("a", "li", presence("s1"))
    await ports.presences.drop("a", "li", "p", "s1", ports.now, lost=True)
    (lost,) = await held(ports)
    assert (lost.line, lost.session, lost.since) == (Line.LOST, "s1", ports.now)
    await ports.presences.register("a", "li", presence("s2"))
    await ports.presences.drop("a", "li", "p", "s2", ports.now, lost=False)
    assert await held(ports) == []


async def test_attention_is_kept(ports: Any) -> None:
    await ports.presences.hold_node("n1", ports.now, 10_000)
    await ports.presences.register("a", "li", presence("s1"))
    await ports.presences.set_foreground("a", "li", "p", "s1", False)
    assert await held(ports) == [presence("s1", foreground=False)]


async def test_a_line_is_lost_when_its_nodes_lease_lapses(ports: Any) -> None:
    await ports.presences.hold_node("n1", ports.now - 10_001, 10_000)
    await ports.presences.register("a", "li", presence("s1"))
    (lost,) = await held(ports)
    assert (lost.line, lost.since) == (Line.LOST, ports.now - 1)
    await ports.presences.hold_node("n1", ports.now, 10_000)
    assert await held(ports) == [presence("s1")]


async def test_a_node_without_a_lease_holds_nobody(ports: Any) -> None:
    await ports.presences.register("a", "li", presence("s1"))
    assert [each.line for each in await held(ports)] == [Line.LOST]


async def test_several_users_are_asked_at_once(ports: Any) -> None:
    await ports.presences.hold_node("n1", ports.now, 10_000)
    await ports.presences.register("a", "li", presence("s1"))
    await ports.presences.register("a", "li", presence("s2", device_id="q"))
    found = await ports.presences.of_users("a", ["li", "wang"], ports.now)
    assert sorted(each.device_id for each in found["li"]) == ["p", "q"]
    assert list(found["wang"]) == []


async def test_a_node_that_lapsed_is_told_once_and_a_released_one_never(ports: Any) -> None:
    await ports.presences.hold_node("n1", ports.now - 20_000, 10_000)
    await ports.presences.hold_node("n2", ports.now - 20_000, 10_000)
    await ports.presences.hold_node("n3", ports.now, 10_000)
    await ports.presences.release_node("n2")
    assert await ports.presences.take_lapsed_nodes(ports.now) == ["n1"]
    assert await ports.presences.take_lapsed_nodes(ports.now) == []


def frame(number: int) -> BusFrame:
    return BusFrame(
        kind="msg", app="a", user_id="li", device_id="p", seq=number, delivery_id=f"d{number}", body=b"\x00\xff"
    )


async def test_frames_come_to_their_node_in_order_and_once(ports: Any) -> None:
    await ports.bus.send({"n1": [frame(1), frame(2), frame(3)], "n2": [frame(9)]})
    assert await ports.bus.receive("n1", limit=2, block_s=1) == [frame(1), frame(2)]
    assert await ports.bus.receive("n1", limit=2, block_s=1) == [frame(3)]
    assert await ports.bus.receive("n2", limit=10, block_s=1) == [frame(9)]
    assert await ports.bus.receive("n1", limit=2, block_s=0.05) == []


async def test_a_waiting_node_is_woken(ports: Any) -> None:
    waiting = asyncio.create_task(ports.bus.receive("n1", limit=10, block_s=5))
    await asyncio.sleep(0.05)
    await ports.bus.send({"n1": [frame(1)]})
    assert await asyncio.wait_for(waiting, 2) == [frame(1)]


def profile(rev: int, *devices: str) -> Profile:
    bound = tuple(Device(device_id=name, epoch=1, platform=Platform.IOS) for name in devices)
    return Profile(app="a", user_id="li", rev=rev, devices=bound)


async def test_a_profile_is_read_from_the_ledger_once(ports: Any) -> None:
    ports.ledger.profiles["li"] = profile(3, "p")
    for _ in range(2):
        assert (await ports.profiles.get("a", ["li"]))["li"] == profile(3, "p")
    assert ports.ledger.asked == 1


async def test_a_user_nobody_knows_has_an_empty_profile(ports: Any) -> None:
    assert (await ports.profiles.get("a", ["nobody"]))["nobody"] == Profile(app="a", user_id="nobody")


async def test_an_older_revision_never_replaces_a_newer_one(ports: Any) -> None:
    await ports.profiles.put([profile(5, "p")])
    await ports.profiles.put([profile(4)])
    assert (await ports.profiles.get("a", ["li"]))["li"] == profile(5, "p")
    await ports.profiles.put([profile(6)])
    assert (await ports.profiles.get("a", ["li"]))["li"] == profile(6)
