"""One WebSocket: its session, what goes out over it, and how it ends; ``hearing`` has what comes in."""

import asyncio
from collections.abc import Sequence

from dispatcher.domain.clock import Millis
from dispatcher.gateway.counters import Count
from dispatcher.gateway.desk import Desk
from dispatcher.gateway.hearing import SLICE, hear, hear_slowly, throttle
from dispatcher.ports.inboxes import Catchup
from dispatcher.ports.node_bus import BusFrame
from dispatcher.protocol.close_codes import CloseCode
from dispatcher.protocol.effects import Effect, Farewell, Foreground, Probe, Read, Reply, Write
from dispatcher.protocol.frames import Bye, Codec, Recall, ServerFrame
from dispatcher.protocol.server_session import AwaitingHello, Hailed, Heard, Live, Syncing
from dispatcher.protocol.wire import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    FrameReader,
    close_payload,
    encode_frame,
)

#: Plain texts: an enum's member is hashed by Python code, and these are counted for every message.
_SENT = Count.SENT.value
_DROPPED = Count.DROPPED.value
_ONLINE = Count.ONLINE.value
_CAUGHT_UP = Count.CAUGHT_UP.value
#: What a transport buffers before it says so, where nothing else is set.
_USUAL_HIGH = 64 * 1024
#: Codes after which the device is not expected back soon, so no grace is due.
_NO_GRACE = frozenset({CloseCode.NORMAL, CloseCode.MOVED})


def peer_of(transport: asyncio.BaseTransport) -> str:
    """The other end's address, empty where it is gone."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""


class Line(asyncio.Protocol):
    """The socket's end. Holds the session; the session holds who it is.

    ``choked``: since when the device takes nothing more (0: it does). ``ended``: the code the line ended with.
    ``reader``: there only while the bytes of a message are not whole, or the stream ended. ``forwarded``: the device's
    address as our balancer says it, None where it is the peer's.
    """

    __slots__ = (
        "bucket",
        "choked",
        "codec",
        "desk",
        "ended",
        "forwarded",
        "read_wanted",
        "reader",
        "session",
        "skipped",
        "spent",
        "spent_in",
        "transport",
    )

    def __init__(self, desk: Desk, transport: asyncio.Transport, codec: Codec, forwarded: str | None = None) -> None:
        self.desk = desk
        self.forwarded = forwarded
        self.transport = transport
        self.codec = codec
        self.reader: FrameReader | None = None
        self.session: AwaitingHello | Hailed | Syncing | Live = AwaitingHello(desk.now)
        self.bucket = 0
        self.choked: Millis = 0
        self.skipped = 0  # bytes not written since it choked
        self.read_wanted: Read | None = None  # a read that waits for the device to take what it has
        self.ended = 0
        self.spent = 0
        self.spent_in = 0
        high = desk.settings.slow_bytes
        if high < _USUAL_HIGH:
            transport.set_write_buffer_limits(high=high, low=high // 4)
        desk.deadlines.put(self, self.session.deadline)

    @property
    def address(self) -> str:
        """Where the device is."""
        return self.forwarded or peer_of(self.transport)

    # The socket's side

    def data_received(self, data: bytes) -> None:
        if len(data) <= SLICE:
            hear(self, data)
            if self.spent > self.desk.settings.frames_per_second:
                throttle(self, b"")
        else:
            hear_slowly(self, data)

    def pause_writing(self) -> None:
        self.choked = self.desk.now or 1
        self.skipped = 0

    def resume_writing(self) -> None:
        self.choked = 0
        wanted, self.read_wanted = self.read_wanted, None
        session = self.session
        if wanted is None and type(session) is Live and session.behind and not session.reading:
            wanted = session.read()
        if wanted is not None and not self.ended:
            self.desk.openings.read(self, wanted)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.desk.pressure.connections -= 1
        self.desk.throttled.pop(self, None)
        self.desk.deadlines.drop(self)
        self.leave_node(self.ended or CloseCode.ABNORMAL)
        self.ended = self.ended or CloseCode.ABNORMAL

    # The desk's side

    def deliver(self, frame: BusFrame) -> None:
        """A message from the bus."""
        session = self.session
        kind = type(session)
        if kind is Live and not self.choked:
            sent = session.message(  # type: ignore[union-attr]
                self.codec,
                frame.seq,
                frame.prev_seq,
                frame.epoch,
                frame.delivery_id,
                frame.attempt_id,
                frame.body,
                self.desk.now,
            )
            if type(sent) is bytes:
                self.transport.write(encode_frame(TEXT if self.codec.text else BINARY, sent))
                self.desk.counters[_SENT] += 1
            elif sent is Heard.READ:
                self.desk.openings.read(self, session.read())  # type: ignore[union-attr]
            elif sent is Heard.DROPPED:
                self.desk.counters[_DROPPED] += 1
        elif isinstance(session, Live):
            self._skip(session, frame)
        elif isinstance(session, Syncing):
            session.message(self.codec, frame.seq, frame.prev_seq, frame.epoch, "", "", b"", self.desk.now)

    def wake(self) -> None:
        """Something waits in the inbox."""
        session = self.session
        if isinstance(session, Live):
            session.fall_behind()
            if not session.reading and not self.choked:
                self.desk.openings.read(self, session.read())

    def recall(self, message_id: str) -> None:
        """Takes a message off the screen."""
        if isinstance(self.session, (Live, Syncing)):
            self.write(Recall(message_id))

    def paged(self, page: Catchup, now: Millis, greeting: Sequence[Effect] = ()) -> Read | None:
        """What a read found, behind the *greeting* if there is one; returns the read that has to follow."""
        session = self.session
        if self.ended or not isinstance(session, (Live, Syncing)):
            return None
        after, effects = session.page(
            self.codec, page.entries, more=page.more, online=page.online, last_seq=page.last_seq, now=now
        )
        if greeting:
            self.desk.deadlines.drop(self)
        if after is not session:
            self.session = after
            self.desk.counters[_ONLINE] += 1
        if page.entries:
            self.desk.counters[_CAUGHT_UP] += len(page.entries)
        return self.apply([*greeting, *effects] if greeting else effects)

    def apply(self, effects: Sequence[Effect]) -> Read | None:
        """Does what the session asks. A read is returned, for whoever asked; a choked line's waits."""
        wanted: Read | None = None
        pieces: list[bytes] = []
        opcode = TEXT if self.codec.text else BINARY
        for effect in effects:
            if isinstance(effect, Reply):
                pieces.append(encode_frame(opcode, self.codec.encode(effect.frame)))
            elif isinstance(effect, Write):
                pieces.append(encode_frame(opcode, effect.payload))
            elif isinstance(effect, Read):
                wanted = effect
            else:
                self._write(pieces)
                self._apply_one(effect)
        self._write(pieces)
        if wanted is not None and self.choked:
            self.read_wanted = wanted
            return None
        return None if self.ended else wanted

    def bar(self) -> None:
        """The device's user or address is kept out: it may ask again later."""
        self.farewell(CloseCode.BLOCKED, "blocked", 60 + self.desk.pressure.come_back_s(240))

    def write(self, frame: ServerFrame) -> None:
        if not self.ended:
            self.transport.write(encode_frame(TEXT if self.codec.text else BINARY, self.codec.encode(frame)))

    def farewell(self, code: CloseCode, word: str, retry_after_s: int | None = None) -> None:
        """``bye``, then the close handshake; the socket goes when the peer answers, or soon."""
        if self.ended:
            return
        self.write(Bye(word, retry_after_s))
        self.close(int(code), close_payload(code, word))

    def leave(self, code: CloseCode, word: str) -> None:
        """The close handshake alone, where ``bye`` was said before."""
        self.close(int(code), close_payload(code, word))

    def tick(self, now: Millis) -> None:
        """The line's deadlines, asked now and then."""
        if self.ended:
            return
        if self.choked and now - self.choked >= self.desk.settings.slow_after:
            self.farewell(CloseCode.SLOW_CONSUMER, "slow_consumer", 1)
        elif isinstance(self.session, (Live, Syncing)):
            self.apply(self.session.tick(now))

    def due(self, now: Millis) -> None:
        """No hello came, the stores do not answer one, or the close handshake was not finished."""
        session = self.session
        if self.ended:
            self.transport.abort()
        elif isinstance(session, AwaitingHello):
            self.apply(session.tick(now))
        elif isinstance(session, Hailed) or (isinstance(session, Syncing) and not session.begun):
            until = session.heard_at + self.desk.settings.open_within
            if now < until:  # the deadline was the hello's, and the hello came in time
                self.desk.deadlines.put(self, until)
            else:
                self.farewell(CloseCode.TRY_LATER, "overloaded", self.desk.pressure.come_back_s())

    def unthrottle(self, rest: bytes) -> None:
        """Hears again what had to wait."""
        self.spent = 0
        if self.transport.is_closing():
            return
        if rest:
            hear_slowly(self, rest)
        if self not in self.desk.throttled:
            self.transport.resume_reading()

    def close(self, code: int, payload: bytes) -> None:
        """Our half of the close handshake, once; *payload* says why."""
        if self.ended:
            return
        self.ended = code
        desk = self.desk
        desk.counters[f"{Count.CLOSED}.{code}"] += 1
        self.transport.write(encode_frame(CLOSE, payload))
        self.leave_node(code)
        desk.deadlines.put(self, desk.now + desk.settings.close_within)

    def leave_node(self, code: int) -> None:
        """Ends the device's place on this node; its presence goes, with a grace unless it meant to leave."""
        session = self.session
        if not isinstance(session, (Live, Syncing)):
            return
        desk = self.desk
        hub = desk.hub
        if hub.line(session.app, session.device_id) is not self:
            return
        hub.detach(session.app, session.device_id, self)
        app, user_id, device_id, own = session.app, session.user_id, session.device_id, session.session
        lost = code not in _NO_GRACE
        now = desk.clock()
        desk.chores.start(
            "drop",
            lambda: desk.presences.drop(app, user_id, device_id, own, now, lost=lost),
        )

    # Inside

    def _apply_one(self, effect: Effect) -> None:
        session = self.session
        if isinstance(effect, Farewell):
            self.farewell(effect.code, effect.word, effect.retry_after_s)
        elif isinstance(effect, Probe):
            self.transport.write(encode_frame(PING, b""))
        elif isinstance(effect, Foreground) and isinstance(session, (Live, Syncing)):
            presences = self.desk.presences
            app, user_id, device_id, own = session.app, session.user_id, session.device_id, session.session
            foreground = effect.foreground
            self.desk.chores.start(
                "foreground",
                lambda: presences.set_foreground(app, user_id, device_id, own, foreground),
            )

    def _write(self, pieces: list[bytes]) -> None:
        if pieces:
            if not self.ended:
                self.transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            pieces.clear()

    def _skip(self, session: Live, frame: BusFrame) -> None:
        """The device takes nothing now: the inbox keeps the message; too much of it, and the line is cut."""
        session.fall_behind(frame.seq)
        self.skipped += len(frame.body)
        if self.skipped > self.desk.settings.slow_bytes:
            self.farewell(CloseCode.SLOW_CONSUMER, "slow_consumer", 1)
