"""What every line of a known device shares: who it is, what was heard of it, when it ends."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.device_token import BadToken, DeviceTokens
from dispatcher.domain.ids import IdKey, InboxCursor, inbox_attempt_id, write_cursor
from dispatcher.domain.receipt import EVENTS
from dispatcher.protocol.close_codes import CloseCode
from dispatcher.protocol.effects import Acknowledge, Effect, Farewell, Foreground, Probe, Reply, Write
from dispatcher.protocol.frames import Ack, ClientFrame, Codec, Ping, Pong, State, Token

TOKEN_GRACE: Millis = 60 * SECOND  #: past its end, until a fresh one has to be here
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


def quiet_after(heartbeat_s: int) -> Millis:
    """How long a line may be silent: a quarter more than its heartbeat and what a bad network takes."""
    return heartbeat_s * SECOND * 5 // 4 + 15 * SECOND


class KnownLine:
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

    def _heartbeat(self, announced_s: int | None) -> int:
        manners = self.manners
        beat = manners.heartbeat_s
        if announced_s is not None:
            beat = min(max(announced_s, manners.heartbeat_least_s), manners.heartbeat_most_s)
        self.quiet_ms = quiet_after(beat)
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
