"""One device's conversation as the gateway holds it, without I/O: frames in, effects out.

``AwaitingHello`` -> ``Syncing`` -> ``Live``. Each phase is a type, because each knows more. A line that has fallen out
of step reads the inbox again while it stays live; what arrives meanwhile only marks it, so nothing is lost or doubled:

    hello --verified--> Syncing --read--> messages ... --nothing left--> caught_up, Live
    Live: a message whose predecessor is not the last one sent -> read the inbox above the last one sent
"""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from msgspec import Struct

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.device_token import BadToken, DeviceIdentity, DeviceTokens
from dispatcher.domain.ids import (
    ForeignCursor,
    IdKey,
    InboxCursor,
    inbox_attempt_id,
    read_cursor,
    write_cursor,
)
from dispatcher.domain.receipt import EVENTS
from dispatcher.protocol.close_codes import CloseCode
from dispatcher.protocol.effects import Acknowledge, Effect, Farewell, Foreground, Probe, Read, Reply, Write
from dispatcher.protocol.frames import (
    Ack,
    CaughtUp,
    ClientFrame,
    Codec,
    Hello,
    Ping,
    Pong,
    State,
    Token,
    Welcome,
)

HELLO_WITHIN: Millis = 5 * SECOND
TOKEN_GRACE: Millis = 60 * SECOND  #: past its end, until a fresh one has to be here
FIRST_PAGE = 200  #: entries for a device without a cursor: api.md's newest 200
PAGE = 64  #: entries of any other read: what may stand in a line's buffer at once
_NONE: tuple[Effect, ...] = ()


class Manners(Struct, frozen=True, kw_only=True):
    """What all sessions of a gateway share. Times in milliseconds, heartbeats in seconds."""

    tokens: DeviceTokens
    ids: IdKey
    heartbeat_s: int = 240
    heartbeat_least_s: int = 30
    heartbeat_most_s: int = 1_800
    probe_after: Millis = 15 * SECOND  #: of silence after something was sent
    dead_after: Millis = 45 * SECOND

    def __repr__(self) -> str:
        return f"Manners(heartbeat_s={self.heartbeat_s})"


class Entry(Protocol):
    """An inbox entry as a session needs it."""

    @property
    def seq(self) -> int: ...
    @property
    def delivery_id(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class Heard(Enum):
    """What became of a message that is not sent now."""

    DROPPED = "dropped"  #: made for another binding, or sent on this line before
    MARKED = "marked"  #: a read is under way and will find it
    READ = "read"  #: the line fell out of step: read the inbox


class AwaitingHello:
    """Connected, nothing said yet. Costs a deadline."""

    __slots__ = ("deadline",)

    def __init__(self, now: Millis) -> None:
        self.deadline = now + HELLO_WITHIN

    def receive(self, frame: ClientFrame, now: Millis, manners: Manners) -> "Hailed | Farewell":
        """What the first frame leads to. The token is checked before anything is kept."""
        if not isinstance(frame, Hello):
            return Farewell(CloseCode.NO_HELLO, "no_hello")
        try:
            identity = manners.tokens.read(frame.token, now)
        except BadToken as bad:
            return Farewell(CloseCode.BAD_TOKEN, f"token_{bad.code}")
        cursor = None
        if frame.cursor is not None:
            try:
                cursor = read_cursor(manners.ids, frame.cursor, identity.app, identity.user_id)
            except ForeignCursor:
                return Farewell(CloseCode.UNPARSABLE, "foreign_cursor")
        return Hailed(identity=identity, cursor=cursor, foreground=frame.state == "foreground")

    def tick(self, now: Millis) -> Sequence[Effect]:
        """Ends a line that says no hello in time."""
        return (Farewell(CloseCode.NO_HELLO, "no_hello"),) if now >= self.deadline else _NONE


class Hailed(Struct, frozen=True, kw_only=True):
    """A hello whose token is ours. Whether the device is still bound as it says is the caller's to look up."""

    identity: DeviceIdentity
    cursor: InboxCursor | None
    foreground: bool

    def admit(self, session: str, life: int, now: Millis, manners: Manners) -> "tuple[Syncing, Sequence[Effect]]":
        """The session of a device whose binding was looked up. *life*: the hot store's epoch.

        A cursor of another life says nothing about this one: what is unproven is replayed.
        """
        after = self.cursor.seq if self.cursor is not None and self.cursor.epoch == life else None
        syncing = Syncing(self, session, life, after, now, manners)
        return syncing, (
            Reply(Welcome(session, manners.heartbeat_s)),
            Read(after, None, FIRST_PAGE if after is None else PAGE),
        )


class _Line:
    """What syncing and live lines share: who it is, what was heard, when it ends."""

    __slots__ = (
        "after",
        "app",
        "device_id",
        "dirty",
        "epoch",
        "expires_at",
        "floor",
        "foreground",
        "heard_at",
        "life",
        "manners",
        "quiet_ms",
        "reading",
        "session",
        "unheard",
        "user_id",
    )

    app: str
    user_id: str
    device_id: str
    epoch: int  #: the device's binding
    session: str
    life: int  #: of the hot store, as in cursors
    after: int | None  #: proven by the hello's cursor
    floor: int | None  #: the last seq sent on this line, or skipped on purpose
    dirty: int  #: the highest seq announced while reading
    reading: bool
    foreground: bool
    expires_at: Millis
    heard_at: Millis
    unheard: Millis  #: when the first message went out that nothing was heard after; 0: none
    quiet_ms: Millis  #: silence after which the line is dead
    manners: Manners

    def receive(self, frame: ClientFrame, now: Millis) -> Sequence[Effect]:
        """A frame of the device."""
        self.heard_at = now
        self.unheard = 0
        if isinstance(frame, Ack):
            return (Acknowledge(frame.ids, EVENTS[frame.event]),)
        if isinstance(frame, Ping):
            return (Reply(Pong(self._heartbeat(frame.next_s))),)
        if isinstance(frame, State):
            foreground = frame.state == "foreground"
            if foreground is self.foreground:
                return _NONE
            self.foreground = foreground
            return (Foreground(foreground),)
        if isinstance(frame, Token):
            return self._renew(frame.token, now)
        return (Farewell(CloseCode.PROTOCOL_FAULT, "second_hello"),)

    def heard(self, now: Millis) -> None:
        """Bytes that are no frame of ours (pings and pongs of the WebSocket layer) show life, too."""
        self.heard_at = now
        self.unheard = 0

    def tick(self, now: Millis) -> Sequence[Effect]:
        """Deadlines: the token's end, a heartbeat that stayed out, a message that nothing was heard after."""
        if now >= self.expires_at + TOKEN_GRACE:
            return (Farewell(CloseCode.BAD_TOKEN, "token_expired"),)
        if now - self.heard_at >= self.quiet_ms:
            return (Farewell(CloseCode.GOING_AWAY, "heartbeat_lost"),)
        if self.unheard:
            waited = now - self.unheard
            if waited >= self.manners.dead_after:
                return (Farewell(CloseCode.GOING_AWAY, "line_dead"),)
            if waited >= self.manners.probe_after:
                return (Probe(),)
        return _NONE

    def cursor(self, seq: int) -> str:
        """The cursor at *seq*."""
        return write_cursor(self.manners.ids, InboxCursor(self.life, seq), self.app, self.user_id)

    def relive(self, life: int) -> "tuple[Syncing, Sequence[Effect]]":
        """The hot store lost its memory and has a new life: what is unproven there is replayed on this line."""
        syncing = Syncing.__new__(Syncing)
        for name in _Line.__slots__:
            setattr(syncing, name, getattr(self, name))
        syncing.life = life
        syncing.after = syncing.floor = None
        syncing.dirty = 0
        syncing.reading = True
        syncing.more = None
        syncing.fruitless = 0
        return syncing, (Read(None, None, FIRST_PAGE),)

    def _heartbeat(self, announced_s: int | None) -> int:
        manners = self.manners
        beat = manners.heartbeat_s
        if announced_s is not None:
            beat = min(max(announced_s, manners.heartbeat_least_s), manners.heartbeat_most_s)
        self.quiet_ms = _quiet(beat)
        return beat

    def _renew(self, token: str, now: Millis) -> Sequence[Effect]:
        try:
            fresh = self.manners.tokens.read(token, now)
        except BadToken as bad:
            return (Farewell(CloseCode.BAD_TOKEN, f"token_{bad.code}"),)
        if (fresh.app, fresh.user_id, fresh.device_id) != (self.app, self.user_id, self.device_id):
            return (Farewell(CloseCode.BAD_TOKEN, "token_foreign"),)
        if fresh.epoch != self.epoch:
            return (Farewell(CloseCode.MOVED, "moved"),)
        self.expires_at = max(self.expires_at, fresh.expires_at)
        return _NONE

    def _entries(self, entries: Sequence[Entry], codec: Codec, now: Millis) -> list[Effect]:
        if entries and not self.unheard:
            self.unheard = now
        message = codec.message
        return [
            Write(message(self.cursor(entry.seq), entry.delivery_id, inbox_attempt_id(entry.delivery_id), entry.body))
            for entry in entries
        ]

    def _advance(self, entries: Sequence[Entry], last_seq: int, whole: bool) -> None:
        """Moves the floor. *whole*: the page held all there was, so it covers up to the inbox's end."""
        top = entries[-1].seq if entries else 0
        self.floor = max(self.floor or 0, top, last_seq if whole else 0)


class Syncing(_Line):
    """Known, draining its inbox. Messages that arrive now only mark it."""

    __slots__ = ("fruitless", "more")

    def __init__(
        self, hailed: Hailed, session: str, life: int, after: int | None, now: Millis, manners: Manners
    ) -> None:
        identity = hailed.identity
        self.app = identity.app
        self.user_id = identity.user_id
        self.device_id = identity.device_id
        self.epoch = identity.epoch
        self.expires_at = identity.expires_at
        self.foreground = hailed.foreground
        self.session = session
        self.life = life
        self.after = after
        self.floor: int | None = None
        self.dirty = 0
        self.reading = True
        self.heard_at = now
        self.unheard = 0
        self.quiet_ms = _quiet(manners.heartbeat_s)
        self.manners = manners
        self.more: bool | None = None  # as the first page had it
        self.fruitless = 0

    def message(
        self,
        codec: Codec,
        seq: int,
        prev_seq: int,
        epoch: int,
        delivery_id: str,
        attempt_id: str,
        body: bytes,
        now: Millis,
    ) -> Heard:
        """A message for this device: the inbox has it, the read under way will find it."""
        if epoch and epoch != self.epoch:
            return Heard.DROPPED
        self.dirty = max(self.dirty, seq)
        return Heard.MARKED

    def page(
        self, codec: Codec, entries: Sequence[Entry], *, more: bool, online: bool, last_seq: int, now: Millis
    ) -> "tuple[Syncing | Live, list[Effect]]":
        """One read's answer: its messages, then another read, until the store says that nothing was left."""
        effects = self._entries(entries, codec, now)
        if self.more is None:
            self.more = more and self.after is None
        if online:
            self._advance(entries, last_seq, whole=True)
            live = Live(self)
            effects.append(Reply(CaughtUp(self.cursor(live.last), self.more)))
            if live.behind:
                effects.append(live.read())
            return live, effects
        if not entries:
            self.fruitless += 1
            if self.fruitless > 2:  # this session is not the one the store knows
                return self, [Farewell(CloseCode.TRY_LATER, "lost_place")]
        first = self.floor is None
        self._advance(entries, last_seq, whole=not more or (first and self.after is None))
        self.dirty = 0
        effects.append(Read(self.after, self.floor, PAGE))
        return self, effects


class Live(_Line):
    """Online: messages go out as they come, as long as each follows the one before."""

    __slots__ = ("last", "tag")

    def __init__(self, syncing: Syncing) -> None:
        # Written out: a reconnect storm makes twenty thousand of these a second.
        self.after = syncing.after
        self.app = syncing.app
        self.device_id = syncing.device_id
        self.dirty = syncing.dirty
        self.epoch = syncing.epoch
        self.expires_at = syncing.expires_at
        self.floor = syncing.floor
        self.foreground = syncing.foreground
        self.heard_at = syncing.heard_at
        self.life = syncing.life
        self.manners = syncing.manners
        self.quiet_ms = syncing.quiet_ms
        self.session = syncing.session
        self.unheard = syncing.unheard
        self.user_id = syncing.user_id
        self.last = syncing.floor or 0
        self.tag: str | None = None
        self.reading = False

    @property
    def behind(self) -> bool:
        """Whether something was announced that this line has not sent."""
        return self.dirty > self.last

    def read(self) -> Read:
        """Asks for all above what was sent."""
        self.reading = True
        self.dirty = 0  # from here on: what is announced while the read is under way
        return Read(self.after, self.last, PAGE)

    def fall_behind(self, seq: int = 0) -> None:
        """The line takes no more now; what comes is read from the inbox once it does."""
        self.dirty = max(self.dirty, seq, self.last + 1)

    def message(
        self,
        codec: Codec,
        seq: int,
        prev_seq: int,
        epoch: int,
        delivery_id: str,
        attempt_id: str,
        body: bytes,
        now: Millis,
    ) -> bytes | Heard:
        """A message for this device: the payload to write, or what became of it instead."""
        if (epoch and epoch != self.epoch) or seq <= self.last:
            return Heard.DROPPED
        if self.reading:
            if seq > self.dirty:
                self.dirty = seq
            return Heard.MARKED
        if prev_seq != self.last:
            self.dirty = max(self.dirty, seq)
            return Heard.READ
        self.last = seq
        if not self.unheard:
            self.unheard = now
        tag = self.tag
        if tag is None:
            tag = self.tag = self.manners.ids.user_tag(self.app, self.user_id)
        return codec.message(f"{self.life:08x}{seq:016x}{tag}", delivery_id, attempt_id, body)

    def page(
        self, codec: Codec, entries: Sequence[Entry], *, more: bool, online: bool, last_seq: int, now: Millis
    ) -> "tuple[Live, list[Effect]]":
        """A read's answer; another read follows while more is known to be there."""
        self.reading = False
        self.floor = self.last
        effects = self._entries(entries, codec, now)
        self._advance(entries, last_seq, whole=not more)
        self.last = self.floor
        if more or self.behind:
            effects.append(self.read())
        return self, effects


Session = AwaitingHello | Syncing | Live


def _quiet(heartbeat_s: int) -> Millis:
    """How long a line may be silent: a quarter more than its heartbeat and what a bad network takes."""
    return heartbeat_s * SECOND * 5 // 4 + 15 * SECOND
