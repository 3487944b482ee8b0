"""The gateway's small parts: deadlines, gathered acks, admission, the hub."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.delivery import Proof
from dispatcher.domain.requests import InboxQuery, Window
from dispatcher.gateway.acks import Acks
from dispatcher.gateway.chores import Chores
from dispatcher.gateway.counters import Counters
from dispatcher.gateway.deadlines import GRAIN, Deadlines
from dispatcher.gateway.hub import Hub
from dispatcher.gateway.inbox_query import BadQuery, read_inbox_query
from dispatcher.gateway.pressure import Pressure
from dispatcher.gateway.settings import GatewaySettings
from dispatcher.ports.receiving import Counts, DeviceAcks


class Alarm:
    def __init__(self) -> None:
        self.bucket = 0
        self.rang: list[int] = []

    def due(self, now: int) -> None:
        self.rang.append(now)


@given(st.lists(st.tuples(st.integers(0, 5_000), st.booleans()), max_size=30), st.lists(st.integers(1, 3_000)))
def test_every_deadline_rings_once_never_early_and_at_most_a_grain_and_a_tick_late(
    wanted: list[tuple[int, bool]], ticks: list[int]
) -> None:
    start = 1_000_000
    deadlines = Deadlines(start)
    alarms = []
    for at, dropped in wanted:
        alarm = Alarm()
        deadlines.put(alarm, start + 9_999)
        deadlines.put(alarm, start + at)  # moved
        if dropped:
            deadlines.drop(alarm)
        alarms.append((alarm, start + at, dropped))
    now = start
    moments = [now := now + tick for tick in ticks] + [start + 10**7]
    for moment in moments:
        deadlines.tick(moment)
    for alarm, at, dropped in alarms:
        first = next(
            moment for moment in moments if moment >= max(at, start + 1) and moment // GRAIN >= -(-at // GRAIN)
        )
        assert len(alarm.rang) == (0 if dropped else 1)
        if not dropped:
            assert alarm.rang[0] >= at
            assert alarm.rang[0] <= max(first, next(m for m in moments if m >= start + GRAIN))


class Door:
    """Takes receipts, unless *fail* says otherwise."""

    def __init__(self) -> None:
        self.fail = 0
        self.batches: list[list[DeviceAcks]] = []
        self.passed_ids: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()

    async def acknowledge(self, *_args: Any, **_named: Any) -> Counts:
        raise AssertionError("the gateway gathers")

    async def acknowledge_many(self, batch: Sequence[DeviceAcks], **_named: Any) -> Counts:
        self.asked.set()
        await self.open.wait()
        if self.fail:
            self.fail -= 1
            raise ConnectionError
        self.batches.append(list(batch))
        return Counts()

    async def passed(self, app: str, user_id: str, device_id: str, delivery_ids: Sequence[str], now: int) -> None:
        if self.fail:
            self.fail -= 1
            raise ConnectionError
        self.passed_ids += delivery_ids

    def greeted(self, app: str, device_id: str, now: int) -> None:
        return

    async def stalled(self, now: int) -> None:
        return

    async def undelivered(self, frames: Any) -> None:
        return


def ack(*ids: str) -> DeviceAcks:
    return DeviceAcks("a", "li", "p", Proof.DELIVERED, ids)


async def test_acks_of_a_moment_go_in_one_call() -> None:
    door = Door()
    acks = Acks(door, lambda: 0, Counters(), gather=5)
    for number in range(3):
        acks.add(ack(f"d{number}"))
    assert acks.waiting == 3
    await door.asked.wait()
    await acks.flush()
    assert door.batches == [[ack("d0"), ack("d1"), ack("d2")]]
    assert acks.waiting == 0


async def test_what_comes_while_a_flush_is_under_way_waits_for_the_next() -> None:
    door = Door()
    acks = Acks(door, lambda: 0, Counters(), gather=1)
    door.open.clear()
    acks.add(ack("d0"))
    await door.asked.wait()
    acks.add(ack("d1"))
    acks.add(ack("d2"))
    door.open.set()
    await acks.flush()
    assert door.batches == [[ack("d0")], [ack("d1"), ack("d2")]]


async def test_receipts_that_were_not_taken_are_repeated_in_order() -> None:
    door = Door()
    counters = Counters()
    acks = Acks(door, lambda: 0, counters, gather=1)
    door.fail = 1
    acks.add(ack("d0"))
    acks.passed("a", "li", "p", ("d9",))
    await acks.flush()
    acks.add(ack("d1"))
    await acks.flush()
    assert door.batches == [[ack("d0"), ack("d1")]]
    assert door.passed_ids == ["d9"]
    assert acks.waiting == 0
    assert counters["ack_flushes_repeated"] == 1


def test_admission_is_by_the_second_by_address_and_by_room() -> None:
    settings = GatewaySettings(connects_per_second=3, connects_per_address=2, max_connections=10)
    pressure = Pressure(settings, lambda: 0.999)
    assert [pressure.admit(address, 1_000) for address in "aaabb"] == [None, None, 429, None, 503]
    assert pressure.admit("a", 2_000) is None
    pressure.connections = 11
    assert (pressure.full, pressure.admit("c", 3_000), pressure.overfull) == (True, 503, False)
    pressure.connections = 43
    assert pressure.overfull
    assert pressure.come_back_s(15) == 15


async def test_chores_are_bounded_and_a_failing_one_harms_no_other() -> None:
    counters = Counters()
    chores = Chores(counters, at_once=2)
    running = most = done = 0

    async def work() -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done += 1

    async def fail() -> None:
        raise ValueError("a store said no")

    for index in range(7):
        chores.start("test", fail if index == 3 else work)
    assert await chores.done(2)
    assert (most, done, counters["store_faults"], len(chores)) == (2, 6, 1, 0)


def test_a_lines_end_never_takes_its_successors_place() -> None:
    hub: Any = Hub()
    first: Any = object()
    second: Any = object()
    assert hub.attach("a", "p", first) is None
    assert hub.attach("a", "p", second) is first
    hub.detach("a", "p", first)
    assert hub.line("a", "p") is second
    assert hub.line("b", "p") is None
    hub.detach("a", "p", second)
    assert (hub.line("a", "p"), hub.lines_held) == (None, 0)


@pytest.mark.parametrize(
    ("query", "asked", "wait_ms"),
    [
        ("", InboxQuery(), 0),
        ("limit=200&wait=30s", InboxQuery(limit=200), 30_000),
        ("after=abc&wait=1500ms", InboxQuery(after="abc"), 1_500),
        ("before=abc&window=archive&wait=1m", InboxQuery(before="abc", window=Window.ARCHIVE), 60_000),
    ],
)
def test_an_inbox_question_is_read(query: str, asked: InboxQuery, wait_ms: int) -> None:
    assert read_inbox_query(query, wait_most=60_000) == (asked, wait_ms)


@given(st.text(max_size=60))
def test_no_question_breaks_the_reader(query: str) -> None:
    try:
        asked, wait_ms = read_inbox_query(query, wait_most=60_000)
    except BadQuery:
        return
    assert 1 <= asked.limit <= 200
    assert 0 <= wait_ms <= 60_000


@given(st.lists(st.sampled_from(["limit", "after", "=", "&", "5", "a", "wait", "30s", ";"]), max_size=12))
def test_a_question_means_the_same_decoded_or_only_split(parts: list[str]) -> None:
    query = "".join(parts)

    def answer(asked: str) -> object:
        try:
            return read_inbox_query(asked, wait_most=60_000)
        except BadQuery as bad:
            return [field for field, _ in bad.errors]

    assert answer(query) == answer("".join(f"%{ord(letter):02x}" if letter.isalnum() else letter for letter in query))
