"""One device's conversation as the gateway holds it, without I/O: frames in, effects out.

``AwaitingHello`` -> ``Syncing`` -> ``Live``. Each phase is a type, because each knows more. A line that has fallen out
of step reads the inbox again while it stays live; what arrives meanwhile only marks it, so nothing is lost or doubled:

    hello --verified--> Syncing --read--> messages ... --nothing left--> caught_up, Live
    Live: a message whose predecessor is not the last one sent -> read the inbox above the last one sent
"""

from collections.abc import Sequence
from enum import Enum

from msgspec import Struct

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.device_token import BadToken, DeviceIdentity
from dispatcher.domain.ids import (
    ForeignCursor,
    InboxCursor,
    read_cursor,
)
from dispatcher.protocol.close_codes import CloseCode
from dispatcher.protocol.effects import Effect, Farewell, Read, Reply
from dispatcher.protocol.frames import (
    CaughtUp,
    ClientFrame,
    Codec,
    Hello,
    Welcome,
)
from dispatcher.protocol.known_line import Entry, KnownLine, Manners, quiet_after

HELLO_WITHIN: Millis = 5 * SECOND
FIRST_PAGE = 200  #: entries for a device without a cursor: api.md's newest 200
PAGE = 64  #: entries of any other read: what may stand in a line's buffer at once
_NONE: tuple[Effect, ...] = ()


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
        return Hailed(identity=identity, cursor=cursor, foreground=frame.state == "foreground", heard_at=now)

    def tick(self, now: Millis) -> Sequence[Effect]:
        """Ends a line that says no hello in time."""
        return (Farewell(CloseCode.NO_HELLO, "no_hello"),) if now >= self.deadline else _NONE


class Hailed(Struct, frozen=True, kw_only=True):
    """A hello whose token is ours. Whether the device is still bound as it says is the caller's to look up."""

    identity: DeviceIdentity
    cursor: InboxCursor | None
    foreground: bool
    heard_at: Millis

    def admit(self, session: str, life: int, now: Millis, manners: Manners) -> "tuple[Syncing, Reply, Read]":
        """The session of a device whose binding was looked up, its greeting, its first read.

        *life*: the hot store's epoch. A cursor of another life says nothing about this one: what is unproven is
        replayed.
        """
        after = self.cursor.seq if self.cursor is not None and self.cursor.epoch == life else None
        syncing = Syncing(self, session, life, after, now, manners)
        return (
            syncing,
            Reply(Welcome(session, manners.heartbeat_s)),
            Read(after, None, FIRST_PAGE if after is None else PAGE),
        )


class Syncing(KnownLine):
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
        self.quiet_ms = quiet_after(manners.heartbeat_s)
        self.manners = manners
        self.more: bool | None = None  # as the first page had it
        self.fruitless = 0

    @property
    def begun(self) -> bool:
        """Whether a page was sent on this line."""
        return self.more is not None

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


class Live(KnownLine):
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


def relive(line: Syncing | Live, life: int) -> tuple[Syncing, Read]:
    """The hot store lost its memory and has a new life: what is unproven there is replayed on this line."""
    syncing = Syncing.__new__(Syncing)
    for name in KnownLine.__slots__:
        setattr(syncing, name, getattr(line, name))
    syncing.life = life
    syncing.after = syncing.floor = None
    syncing.dirty = 0
    syncing.reading = True
    syncing.more = None
    syncing.fruitless = 0
    return syncing, Read(None, None, FIRST_PAGE)


Session = AwaitingHello | Syncing | Live
