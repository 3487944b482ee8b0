"""Server and client sessions against each other, with loss, reordering, half-open lines and reconnects.

The promise under all of it: every message is shown once, in the order of the inbox, and what was shown is proven in
the end.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatcher.domain.delivery import Proof
from dispatcher.domain.device_token import DeviceIdentity, DeviceTokens
from dispatcher.domain.ids import IdKey
from dispatcher.hot.memory.inboxes import MemoryInboxes
from dispatcher.hot.memory.presence import MemoryPresences
from dispatcher.ports.inboxes import Catchup
from dispatcher.ports.presence import Line, Presence
from dispatcher.protocol import server_session
from dispatcher.protocol.client_session import Connected, Greeting, Keepsake, Phase
from dispatcher.protocol.effects import Acknowledge, Effect, Farewell, Read, Reply, Store, Write
from dispatcher.protocol.frames import JSON
from dispatcher.protocol.known_line import Manners
from dispatcher.protocol.server_session import AwaitingHello, Hailed, Heard, Live, Syncing, relive

NOW = 1_800_000_000_000
IDS = IdKey(b"ids")
TOKENS = DeviceTokens(b"tokens")
MANNERS = Manners(tokens=TOKENS, ids=IDS)
TOKEN = TOKENS.mint(DeviceIdentity(app="a", user_id="li", device_id="p", epoch=1, expires_at=NOW + 10**9), NOW)


def now_or_never(call: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        call.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


class Wire:
    """One connection: two byte-true queues, the server's session, and what it has asked the inbox."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.session: AwaitingHello | Syncing | Live = AwaitingHello(NOW)
        self.down: deque[bytes] = deque()
        self.up: deque[bytes] = deque()
        self.asked: Read | None = None
        self.page: tuple[Read, Catchup] | None = None  # read, its answer still on the way
        self.open = True


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(patch.object(server_session, "PAGE", 3))
        self.presences = MemoryPresences()
        self.inboxes = MemoryInboxes(self.presences, clock=lambda: NOW)
        self.keepsake = Keepsake()
        self.phase: Phase | None = None
        self.wire: Wire | None = None
        self.ghosts: list[Wire] = []
        self.connections = 0
        self.count = 0
        self.bus: list[tuple[int, int, str, str]] = []  # seq, prev_seq, delivery id, message id
        self.appended: list[str] = []
        self.excused: set[str] = set()
        self.shown: list[str] = []
        self.proven: set[str] = set()

    def teardown(self) -> None:
        if self.appended:
            self.settle()
        self.stack.close()

    @initialize(before=st.integers(0, 5), online=st.booleans())
    def some_wait_already(self, before: int, online: bool) -> None:
        for _ in range(before):
            self.dispatch()
        if online:
            self.settle()

    # The backend and the worker

    @rule(fates=st.lists(st.sampled_from(["deliver", "deliver", "later", "lose", "double"]), min_size=1, max_size=5))
    def messages_come(self, fates: list[str]) -> None:
        for fate in fates:
            self.dispatch()
            if fate != "later":
                self.carry(self.bus[-1], fate)

    def dispatch(self) -> None:
        self.count += 1
        message_id = f"m{self.count}"
        self.append(message_id)
        self.appended.append(message_id)

    def append(self, message_id: str) -> None:
        body = f'"message_id":"{message_id}","class":"chat"'.encode()
        seq, prev_seq = self.inboxes.append_now("a", "li", f"d-{message_id}", body)
        self.bus.append((seq, prev_seq, f"d-{message_id}", message_id))

    @precondition(lambda self: self.bus)
    @rule(data=st.data(), fate=st.sampled_from(["deliver", "deliver", "deliver", "lose", "double"]))
    def the_bus_moves(self, data: st.DataObject, fate: str) -> None:
        self.carry(self.bus[data.draw(st.integers(0, min(2, len(self.bus) - 1)))], fate)

    def carry(self, frame: tuple[int, int, str, str], fate: str) -> None:
        if fate != "double":
            self.bus.remove(frame)
        wires = [wire for wire in [*self.ghosts, self.wire] if wire is not None and wire.open]
        held = self.presences._held.get(("a", "li"), {}).get("p")
        for wire in wires:
            session = wire.session
            mine = held is not None and isinstance(session, Live | Syncing) and held.session == session.session
            if fate == "lose" or not mine or isinstance(session, AwaitingHello):
                continue
            seq, prev_seq, delivery_id, message_id = frame
            body = f'"message_id":"{message_id}","class":"chat"'.encode()
            sent = session.message(JSON, seq, prev_seq, 1, delivery_id, "x", body, NOW)
            if isinstance(sent, bytes):
                wire.down.append(sent)
            elif sent is Heard.READ and isinstance(session, Live):
                wire.asked = session.read()

    @precondition(lambda self: self.appended)
    @rule(data=st.data())
    def another_device_proves(self, data: st.DataObject) -> None:
        message_id = data.draw(st.sampled_from(self.appended))
        self.inboxes.mark_now("a", "li", [f"d-{message_id}"], Proof.DELIVERED)
        self.proven.add(message_id)
        if self.keepsake.cursor is None or self.wire is None or not isinstance(self.wire.session, Live):
            self.excused.add(message_id)  # a device without a cursor is only given what is unproven

    @rule(luck=st.integers(0, 4))
    def the_store_loses_its_memory(self, luck: int) -> None:
        if luck:
            return
        self.inboxes.lose(self.inboxes.life + 1)
        self.bus.clear()
        self.excused |= self.proven  # only what is unproven is rebuilt
        for message_id in self.appended:
            if message_id not in self.proven:
                self.append(message_id)
        for wire in [*self.ghosts, self.wire]:
            if wire is not None and isinstance(wire.session, Live | Syncing):
                wire.page = None
                wire.session, read = relive(wire.session, self.inboxes.life)
                self.place(wire)
                self.do(wire, (read,))

    # The network

    @rule(half_open=st.booleans(), luck=st.integers(0, 2))
    def reconnect(self, half_open: bool, luck: int) -> None:
        if self.wire is None or not luck:
            self.connect(half_open=half_open)

    def connect(self, *, half_open: bool = False) -> None:
        if self.wire is not None:
            if half_open:
                self.ghosts = [self.wire]
            else:
                self.wire.open = False
        self.connections += 1
        self.wire = Wire(self.connections)
        greeting = Greeting(self.keepsake, foreground=True, now=0)
        self.phase = greeting
        self.wire.up.append(JSON.encode(greeting.hello(TOKEN)))

    @precondition(lambda self: self.wire is not None)
    @rule(luck=st.integers(0, 3))
    def the_weather_turns(self, luck: int) -> None:
        if not luck:
            self.the_line_breaks()

    def the_line_breaks(self) -> None:
        assert self.wire is not None
        self.wire.open = False
        session = self.wire.session
        if isinstance(session, Live | Syncing):
            now_or_never(self.presences.drop("a", "li", "p", session.session, NOW, lost=True))
        self.wire = self.phase = None

    def phone_hears(self, stored: bool) -> None:
        assert self.wire is not None
        assert self.phase is not None
        self.phase, effects = self.phase.receive(JSON.server_frame(self.wire.down.popleft()), 0)
        for effect in effects:
            if isinstance(effect, Store):
                if not stored:  # it broke in the very moment
                    self.the_line_breaks()
                    return
                self.shown.append(effect.message.message_id)
                assert isinstance(self.phase, Connected)
                self.say(self.phase.stored(effect.message))
            else:
                self.say([effect])

    @precondition(lambda self: self.wire is not None)
    @rule(order=st.lists(st.integers(0, 3), min_size=4, max_size=24))
    def time_passes(self, order: list[int]) -> None:
        """Frames travel and reads return, in any order that the wires allow."""
        for choice in order:
            steps = self.steps()
            if steps:
                steps[choice % len(steps)]()

    @precondition(lambda self: self.wire is not None and self.wire.down)
    @rule(luck=st.integers(0, 3))
    def it_breaks_while_a_frame_is_stored(self, luck: int) -> None:
        self.phone_hears(stored=luck > 0)

    # How it is wired

    def steps(self) -> list[Callable[[], None]]:
        """What can happen next on the present line."""
        wire = self.wire
        found: list[Callable[[], None]] = []
        if wire is None:
            return found
        if wire.up:
            found.append(lambda: self.hear(wire))
        if wire.down:
            found.append(lambda: self.phone_hears(stored=True))
        if wire.page is not None:
            found.append(lambda: self.turn_page(wire))
        if wire.asked is not None:
            found.append(lambda: self.read(wire))
        if isinstance(self.phase, Connected) and self.phase.acks:
            found.append(self.phone_flushes_its_acks)
        return found

    def phone_flushes_its_acks(self) -> None:
        assert isinstance(self.phase, Connected)
        self.say(self.phase.flush())

    def hear(self, wire: Wire) -> None:
        frame = JSON.client_frame(wire.up.popleft())
        session = wire.session
        if isinstance(session, AwaitingHello):
            hailed = session.receive(frame, NOW, MANNERS)
            assert isinstance(hailed, Hailed)
            wire.session, greeting, read = hailed.admit(f"s{wire.number}", self.inboxes.life, NOW, MANNERS)
            self.place(wire)
            self.do(wire, (greeting, read))
        else:
            self.do(wire, session.receive(frame, NOW))

    def place(self, wire: Wire) -> None:
        presence = Presence(
            device_id="p", node="n", session=f"s{wire.number}", line=Line.SYNCING, foreground=True, since=NOW
        )
        if wire is self.wire:
            now_or_never(self.presences.register("a", "li", presence))

    def do(self, wire: Wire, effects: Any) -> None:
        for effect in effects:
            if isinstance(effect, Write):
                wire.down.append(effect.payload)
            elif isinstance(effect, Reply):
                wire.down.append(JSON.encode(effect.frame))
            elif isinstance(effect, Read):
                wire.asked = effect
            elif isinstance(effect, Acknowledge):
                self.prove([given.removeprefix("d-") for given in effect.ids])
            elif isinstance(effect, Farewell):
                wire.open = False
                if wire is self.wire:
                    self.wire = self.phase = None

    def read(self, wire: Wire) -> None:
        asked, wire.asked = wire.asked, None
        session = wire.session
        assert asked is not None
        assert isinstance(session, Live | Syncing)
        page = now_or_never(
            self.inboxes.catch_up(
                "a",
                "li",
                device_id="p",
                session=session.session,
                after=asked.after,
                floor=asked.floor,
                limit=asked.limit,
                now=NOW,
            )
        )
        self.prove([delivery_id.removeprefix("d-") for delivery_id in page.passed])
        wire.page = (asked, page)

    def turn_page(self, wire: Wire) -> None:
        assert wire.page is not None
        _, page = wire.page
        wire.page = None
        session = wire.session
        assert isinstance(session, Live | Syncing)
        if page.epoch != session.life:
            return
        wire.session, effects = session.page(
            JSON, page.entries, more=page.more, online=page.online, last_seq=page.last_seq, now=NOW
        )
        self.do(wire, effects)

    def say(self, effects: "list[Effect] | tuple[Effect, ...] | Any") -> None:
        for effect in effects:
            if isinstance(effect, Reply) and self.wire is not None:
                self.wire.up.append(JSON.encode(effect.frame))

    def prove(self, message_ids: list[str]) -> None:
        self.proven.update(message_ids)
        self.inboxes.mark_now("a", "li", [f"d-{message_id}" for message_id in message_ids], Proof.DELIVERED)

    # What has to hold

    @invariant()
    def nothing_is_shown_twice_or_out_of_order(self) -> None:
        numbers = [int(message_id[1:]) for message_id in self.shown]
        assert numbers == sorted(set(numbers))

    def settle(self) -> None:
        """The weather clears: one more connection drains everything."""
        self.bus.clear()
        self.connect()
        for _ in range(1_000):
            steps = self.steps()
            if not steps:
                break
            steps[0]()
        assert isinstance(self.phase, Connected)
        assert self.phase.online
        self.nothing_is_shown_twice_or_out_of_order()
        assert set(self.appended) - set(self.shown) <= self.excused
        assert set(self.shown) <= self.proven


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
