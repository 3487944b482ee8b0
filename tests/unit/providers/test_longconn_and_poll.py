"""Frames for the node that holds the device; polls that need nothing but waking."""

from collections.abc import Callable, Mapping, Sequence

from dispatcher.domain.outcome import HandedOver, NotConnected, Unknown
from dispatcher.domain.paths import Path
from dispatcher.ports.node_bus import BusFrame
from providers.base import Attempt
from providers.longconn import LongconnProvider
from providers.poll import PollProvider

Make = Callable[..., Attempt]


class Bus:
    """A node bus in memory."""

    def __init__(self, *, broken: bool = False) -> None:
        self.nodes: dict[str, list[BusFrame]] = {}
        self.broken = broken
        self.calls = 0

    async def send(self, frames: Mapping[str, Sequence[BusFrame]]) -> None:
        self.calls += 1
        if self.broken:
            raise ConnectionError
        for node, found in frames.items():
            self.nodes.setdefault(node, []).extend(found)

    async def receive(self, node: str, *, limit: int, block_s: float) -> list[BusFrame]:
        return self.nodes.get(node, [])[:limit]


async def test_frames_go_to_each_devices_node_in_one_call(make_attempt: Make, now: int) -> None:
    bus = Bus()
    attempts = [
        make_attempt(Path.LONGCONN, 1, node="n1", device_id="d1", session="s1", epoch=2, seq=7, prev_seq=5),
        make_attempt(Path.LONGCONN, 2, node="n2", device_id="d2", session="s2"),
        make_attempt(Path.LONGCONN, 3, device_id="d3"),
        make_attempt(Path.LONGCONN, 4, node="n1", device_id="d4", session="s4", clear=True),
    ]
    outcomes = await LongconnProvider(bus).send(attempts, now)
    assert outcomes == [HandedOver("s1"), HandedOver("s2"), NotConnected(), HandedOver("s4")]
    assert bus.calls == 1
    frame, recall = bus.nodes["n1"]
    assert (frame.kind, frame.device_id, frame.session, frame.epoch) == ("msg", "d1", "s1", 2)
    assert (frame.seq, frame.prev_seq, frame.body) == (7, 5, attempts[0].message.body)
    assert (frame.delivery_id, frame.attempt_id) == (attempts[0].delivery_id, attempts[0].attempt_id)
    assert (recall.kind, recall.body) == ("recall", b"")


async def test_a_broken_bus_leaves_it_unknown(make_attempt: Make, now: int) -> None:
    attempts = [make_attempt(Path.LONGCONN, node="n1", device_id="d1"), make_attempt(Path.LONGCONN)]
    assert await LongconnProvider(Bus(broken=True)).send(attempts, now) == [Unknown("bus"), NotConnected()]


async def test_the_inbox_holds_what_is_polled_and_parked_polls_are_woken(make_attempt: Make, now: int) -> None:
    bus = Bus()
    attempts = [make_attempt(Path.POLL, node="n1", device_id="d1"), make_attempt(Path.POLL, device_id="d2")]
    assert await PollProvider(bus).send(attempts, now) == [HandedOver("inbox")] * 2
    (frame,) = bus.nodes["n1"]
    assert (frame.kind, frame.device_id, frame.body) == ("wake", "d1", b"")


async def test_a_wake_that_fails_is_counted_and_changes_nothing(make_attempt: Make, now: int) -> None:
    provider = PollProvider(Bus(broken=True))
    assert await provider.send([make_attempt(Path.POLL, node="n", device_id="d")], now) == [HandedOver("inbox")]
    assert provider.wakes_lost == 1
