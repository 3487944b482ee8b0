"""The gateway on the real hot store: online switch, bus, presence over two nodes."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from dispatcher.domain.clock import HOUR, Millis, system_clock
from dispatcher.domain.delivery import Proof
from dispatcher.domain.device import Device, Platform, Profile
from dispatcher.domain.device_token import DeviceIdentity, DeviceTokens
from dispatcher.domain.ids import DeliveryRef, IdKey, make_home
from dispatcher.domain.paths import Path
from dispatcher.gateway.server import Gateway
from dispatcher.gateway.settings import GatewaySettings
from dispatcher.hot.inboxes import RedisInboxes
from dispatcher.hot.node_bus import RedisNodeBus
from dispatcher.hot.presence import RedisPresences
from dispatcher.hot.profiles import RedisProfiles
from dispatcher.hot.store import HotStore
from dispatcher.ports.node_bus import BusFrame
from dispatcher.ports.presence import Line
from dispatcher.ports.receiving import Acknowledged, Counts, DeviceAcks, InboxAnswer, InboxQuery

IDS = IdKey(b"ids")
TOKENS = DeviceTokens(b"tokens")


class Door:
    """The receiving port: keeps what it was told and marks the inbox."""

    def __init__(self, inboxes: RedisInboxes) -> None:
        self.inboxes = inboxes
        self.proven: list[str] = []

    async def acknowledge(
        self, app: str, user_id: str, device_id: str, items: Sequence[Acknowledged], *, via: Path | None, now: Millis
    ) -> Counts:
        raise AssertionError("the gateway gathers")

    async def acknowledge_many(self, batch: Sequence[DeviceAcks], *, via: Path | None, now: Millis) -> Counts:
        for acks in batch:
            await self.passed(acks.app, acks.user_id, acks.device_id, acks.ids, now)
        return Counts()

    async def passed(self, app: str, user_id: str, device_id: str, delivery_ids: Sequence[str], now: Millis) -> None:
        self.proven += delivery_ids
        await self.inboxes.mark(app, user_id, list(delivery_ids), Proof.DELIVERED)

    def greeted(self, app: str, device_id: str, now: Millis) -> None:
        return

    async def stalled(self, now: Millis) -> None:
        return

    async def undelivered(self, frames: Sequence[BusFrame]) -> None:
        return

    async def pull(self, app: str, user_id: str, device_id: str | None, query: InboxQuery, now: Millis) -> InboxAnswer:
        return InboxAnswer(b"{}", True)


class World:
    """Two gateways on one hot store."""

    def __init__(self, store: HotStore) -> None:
        self.inboxes = RedisInboxes(store)
        self.presences = RedisPresences(store)
        self.bus = RedisNodeBus(store)
        self.profiles = RedisProfiles(store, self._nobody)
        self.door = Door(self.inboxes)
        self.nodes = [
            Gateway(
                GatewaySettings(port=0, node=name),
                inboxes=self.inboxes,
                presences=self.presences,
                bus=self.bus,
                profiles=self.profiles,
                tokens=TOKENS,
                ids=IDS,
                receive=self.door,
                pull=self.door,
            )
            for name in ("n1", "n2")
        ]
        self.count = 0

    async def _nobody(self, app: str, user_ids: Sequence[str]) -> dict[str, Profile]:
        return {}

    async def token(self) -> str:
        device = Device(device_id="phone", epoch=1, platform=Platform.IOS)
        await self.profiles.put([Profile(app="a", user_id="li", rev=1, devices=(device,))])
        now = system_clock()
        who = DeviceIdentity(app="a", user_id="li", device_id="phone", epoch=1, expires_at=now + HOUR)
        return TOKENS.mint(who, now)

    async def dispatch(self, *, wake: bool = True) -> str:
        self.count += 1
        now = system_clock()
        delivery = IDS.delivery_id(DeliveryRef(make_home(now, self.count, 0), 0), "a", "li")
        body = f'"message_id":"m{self.count}","class":"chat"'.encode()
        ((seq, prev_seq),) = await self.inboxes.append("a", [("li", delivery, body)], now)
        lines = (await self.presences.of_users("a", ["li"], now))["li"]
        for line in lines:
            if wake and line.line is not Line.LOST:
                frame = BusFrame(
                    kind="msg",
                    app="a",
                    user_id="li",
                    device_id="phone",
                    epoch=1,
                    seq=seq,
                    prev_seq=prev_seq,
                    delivery_id=delivery,
                    attempt_id=f"{delivery}-0.0.0l",
                    body=body,
                )
                await self.bus.send({line.node: [frame]})
        return delivery


@pytest.fixture
async def world(hot_store_url: str) -> AsyncIterator[World]:
    store = HotStore(hot_store_url)
    made = World(store)
    for node in made.nodes:
        await node.start()
    yield made
    await asyncio.gather(*(node.stop(1) for node in made.nodes))
    await store.close()


def phone(world: World, node: int) -> Any:
    url = f"ws://127.0.0.1:{world.nodes[node].port}/v1/connect"
    return connect(url, subprotocols=[Subprotocol("pushpath.v1.json")], compression=None, proxy=None)


async def hear(socket: Any) -> dict[str, Any]:
    frame: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 5))
    return frame


async def test_a_phone_changes_nodes_and_sees_every_message_once_in_order(world: World, eventually: Any) -> None:
    token = await world.token()
    sent = [await world.dispatch(), await world.dispatch()]
    hello = {"t": "hello", "token": token, "state": "foreground"}
    seen: list[str] = []
    async with phone(world, 0) as first, phone(world, 1) as second:
        await first.send(json.dumps(hello))
        kinds = [(await hear(first)) for _ in range(4)]
        assert [frame["t"] for frame in kinds] == ["welcome", "msg", "msg", "caught_up"]
        seen += [frame["delivery_id"] for frame in kinds[1:3]]
        sent.append(await world.dispatch())
        live = await hear(first)
        seen.append(live["delivery_id"])
        await first.send(json.dumps({"t": "ack", "ids": seen, "event": "delivered"}))
        await eventually(lambda: world.door.proven == sent)
        sent.append(await world.dispatch(wake=False))
        await second.send(json.dumps({**hello, "cursor": live["cursor"]}))
        assert (await hear(first)) == {"t": "bye", "code": "replaced"}
        kinds = [(await hear(second)) for _ in range(3)]
        assert [frame["t"] for frame in kinds] == ["welcome", "msg", "caught_up"]
        seen.append(kinds[1]["delivery_id"])
        sent.append(await world.dispatch(wake=False))  # a wake-up that is lost
        sent.append(await world.dispatch())
        seen += [(await hear(second))["delivery_id"] for _ in range(2)]
        (line,) = (await world.presences.of_users("a", ["li"], system_clock()))["li"]
        assert (line.node, line.line) == ("n2", Line.ONLINE)
    assert seen == sent


async def test_messages_that_arrive_during_the_switch_are_neither_lost_nor_doubled(world: World) -> None:
    token = await world.token()
    sent = [await world.dispatch() for _ in range(70)]
    async with phone(world, 0) as socket:
        await socket.send(json.dumps({"t": "hello", "token": token, "state": "foreground"}))

        async def pour() -> None:
            for _ in range(60):
                sent.append(await world.dispatch())

        pouring = asyncio.create_task(pour())
        seen: list[str] = []
        while len(seen) < 130:
            frame = await hear(socket)
            if frame["t"] == "msg":
                seen.append(frame["delivery_id"])
        await pouring
        await socket.send('{"t":"ping"}')
        assert (await hear(socket))["t"] in {"pong", "caught_up"}
    assert seen == sent


async def test_a_bus_connection_that_is_cut_is_made_again(world: World) -> None:
    token = await world.token()
    async with phone(world, 0) as socket:
        await socket.send(json.dumps({"t": "hello", "token": token, "state": "foreground"}))
        assert [(await hear(socket))["t"] for _ in range(2)] == ["welcome", "caught_up"]
        for _ in range(2):
            await world.inboxes._store.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            sent = await world.dispatch()
            assert (await hear(socket))["delivery_id"] == sent
    assert world.nodes[0].counters["store_faults"] >= 1
