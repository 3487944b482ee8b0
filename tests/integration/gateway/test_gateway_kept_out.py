"""Users and addresses on an app's block list: refused at the line and at the poll, cut while connected."""

from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from dispatcher.gateway.rehearsal import APP
from dispatcher.ports.node_bus import BusFrame


class Lists:
    """An app's block lists, as the ledger would answer."""

    def __init__(self) -> None:
        self.users: set[str] = set()
        self.addresses: set[str] = set()
        self.away = False

    async def __call__(self, app: str) -> "Read | None":
        if self.away:
            raise ConnectionError("no ledger")
        return Read(frozenset(self.users), frozenset(self.addresses)) if app == APP else None


class Read:
    """What was read of them at one moment."""

    def __init__(self, users: frozenset[str], addresses: frozenset[str]) -> None:
        self.users, self.addresses = users, addresses

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Read) and (self.users, self.addresses) == (other.users, other.addresses)

    __hash__ = None  # type: ignore[assignment]

    def barred(self, address: str, user_id: str | None, now: int) -> object | None:
        return True if user_id in self.users or address in self.addresses else None


@pytest.fixture
async def lists(stage: Any) -> Lists:
    found = stage.world.rules = Lists()
    stage.gateways.insert(0, await stage.gateway(trusted_peers=("127.0.0.1",)))
    del stage.gateways[-1]
    return found


async def test_a_blocked_user_is_refused_before_anything_is_kept(stage: Any, lists: Lists) -> None:
    lists.users.add("li")
    code, frames = await (await stage.phone("li")).closed()
    assert (code, [frame["t"] for frame in frames], frames[0]["code"]) == (1008, ["bye"], "blocked")
    assert 60 <= frames[0]["retry_after_s"] <= 300
    await stage.settled()
    assert stage.gateways[0].gauges()["lines"] == 0
    assert stage.world.presences._held == {}
    await (await stage.phone("wang", "phone-2")).hear_until("caught_up")


async def test_who_is_blocked_while_connected_is_cut_within_a_second_and_others_are_not(
    stage: Any, lists: Lists
) -> None:
    li, wang = await stage.phone("li", "phone-1"), await stage.phone("wang", "phone-2")
    await li.hear_until("caught_up")
    await wang.hear_until("caught_up")
    lists.users.add("li")
    stage.move_time(1_100)
    code, frames = await li.closed()
    assert (code, frames[-1]["code"]) == (1008, "blocked")
    lists.users.clear()
    stage.move_time(1_100)
    await stage.settled()
    await stage.world.dispatch("wang", "m1")
    assert (await wang.hear())["message_id"] == "m1"
    await (await stage.phone("li", token=stage.world.token("li", "phone-1"))).hear_until("caught_up")


async def test_a_hello_that_reads_a_changed_list_first_does_not_hide_the_change(stage: Any, lists: Lists) -> None:
    li = await stage.phone("li", "phone-1")
    await li.hear_until("caught_up")
    lists.users.add("li")
    stage.clock.ahead += 1_050
    stage.gateways[0].desk.now += 1_050
    await (await stage.phone("wang", "phone-2")).hear_until("caught_up")
    stage.move_time(1_100)
    assert (await li.closed())[0] == 1008


async def test_a_blocked_address_is_the_devices_not_the_balancers(stage: Any, lists: Lists) -> None:
    lists.addresses.add("203.0.113.9")
    url = f"ws://127.0.0.1:{stage.gateways[0].port}/v1/connect"
    token = await stage.world.bind("li", "phone-1")
    hello = f'{{"t":"hello","token":"{token}"}}'
    for forwarded, first in (("203.0.113.9", "bye"), ("203.0.113.8", "welcome")):
        async with connect(url, additional_headers={"X-Forwarded-For": forwarded}, proxy=None) as socket:
            await socket.send(hello)
            assert f'"t":"{first}"' in str(await socket.recv())


async def test_polls_of_a_blocked_user_are_refused_and_parked_ones_answered(
    stage: Any, lists: Lists, eventually: Any
) -> None:
    import asyncio

    token = await stage.world.bind("li", "phone-1")
    url = f"http://127.0.0.1:{stage.gateways[0].port}/v1/inbox"
    async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {token}"}) as http:
        parked = asyncio.create_task(http.get(url + "?wait=60s", timeout=10))
        await eventually(lambda: stage.gateways[0].gauges()["parked"] == 1)
        await stage.settled()
        lists.users.add("li")
        stage.move_time(1_100)
        answers = [await parked, await http.get(url)]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "blocked")] * 2


async def test_a_ledger_that_is_away_keeps_the_lists_it_had_and_nobody_else_out(stage: Any, lists: Lists) -> None:
    lists.users.add("li")
    assert (await (await stage.phone("li")).closed())[0] == 1008
    lists.away = True
    stage.move_time(1_100)
    assert (await (await stage.phone("li")).closed())[0] == 1008
    wang = await stage.phone("wang", "phone-2")
    await wang.hear_until("caught_up")
    assert stage.gateways[0].counters["store_faults"] >= 1
    gone = BusFrame(kind="moved", app=APP, user_id="wang", device_id="phone-2", epoch=2)
    await stage.world.bus.send({stage.gateways[0].desk.node: [gone]})
    assert (await wang.closed())[0] == 4010
