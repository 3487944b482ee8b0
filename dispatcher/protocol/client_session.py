"""The device's half of the conversation, without I/O: frames in, effects out.

``Greeting`` -> ``Connected``. What outlives a connection (cursor, messages seen, heartbeat) stands in
the :class:`Notebook`. A message is acknowledged after it was stored, and only once it was stored does the cursor move:
whatever breaks in between comes again and is recognised by its ``message_id``.
"""

from collections import OrderedDict
from collections.abc import Sequence

from msgspec import Struct, field

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.protocol.close_codes import CloseCode
from dispatcher.protocol.effects import Effect, Erase, Leave, Online, Reply, Store
from dispatcher.protocol.frames import (
    Ack,
    Bye,
    CaughtUp,
    Hello,
    Msg,
    Ping,
    Pong,
    Recall,
    ServerFrame,
    State,
    Token,
    Welcome,
)
from dispatcher.protocol.heartbeat import Heartbeat, Learned

SEEN_KEPT = 2_000
WELCOME_WITHIN: Millis = 15 * SECOND
PONG_WITHIN: Millis = 10 * SECOND
ACKS_AT_ONCE = 100
_NONE: tuple[Effect, ...] = ()


class Notebook(Struct):
    """What a phone keeps over connections and restarts. ``seen``: message ids, newest last."""

    cursor: str | None = None
    seen: list[str] = field(default_factory=list)
    heartbeat: dict[str, Learned] = field(default_factory=dict)


class Seen:
    """The newest message ids, so that no message is shown twice."""

    __slots__ = ("_ids",)

    def __init__(self, ids: Sequence[str] = ()) -> None:
        self._ids = OrderedDict.fromkeys(ids)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._ids

    def add(self, message_id: str) -> None:
        self._ids[message_id] = None
        self._ids.move_to_end(message_id)
        while len(self._ids) > SEEN_KEPT:
            self._ids.popitem(last=False)

    def newest(self) -> list[str]:
        """For the notebook."""
        return list(self._ids)


class Keepsake:
    """One device's memory while it runs; :meth:`notebook` is what to store."""

    __slots__ = ("cursor", "heartbeat", "network", "seen")

    def __init__(self, notebook: Notebook | None = None, *, network: str = "") -> None:
        notebook = notebook or Notebook()
        self.cursor = notebook.cursor
        self.seen = Seen(notebook.seen)
        self.heartbeat = Heartbeat(dict(notebook.heartbeat))
        self.network = network  #: names the network the phone is in now, however the platform tells it

    def notebook(self) -> Notebook:
        return Notebook(cursor=self.cursor, seen=self.seen.newest(), heartbeat=self.heartbeat.learned)


class _Conversation:
    """What all phases share."""

    __slots__ = ("acks", "beat_s", "bye", "foreground", "keepsake", "last_traffic", "online", "pinged_at")

    def __init__(self, keepsake: Keepsake, *, foreground: bool, now: Millis) -> None:
        self.keepsake = keepsake
        self.foreground = foreground
        self.last_traffic = now
        self.pinged_at: Millis = 0
        self.beat_s = 0
        self.acks: list[str] = []
        self.bye: Bye | None = None
        self.online = False

    def stored(self, message: Msg) -> Sequence[Effect]:
        """*message* is on the phone: the cursor moves, and an ack is due with the next :meth:`flush`."""
        self.keepsake.seen.add(message.message_id)
        self.keepsake.cursor = message.cursor
        self.acks.append(message.delivery_id)
        return self.flush() if len(self.acks) >= ACKS_AT_ONCE else _NONE

    def flush(self) -> Sequence[Effect]:
        """Acks that wait, as one frame."""
        if not self.acks:
            return _NONE
        ids, self.acks = self.acks, []
        return (Reply(Ack(ids)),)

    def come_to(self, *, foreground: bool) -> Sequence[Effect]:
        """The app came to the foreground or left it."""
        if foreground is self.foreground:
            return _NONE
        self.foreground = foreground
        return (Reply(State("foreground" if foreground else "background")),)

    def renew(self, token: str) -> Sequence[Effect]:
        """A fresh token before the old one ends."""
        return (Reply(Token(token)),)


class Greeting(_Conversation):
    """Hello is out, nothing was answered yet."""

    __slots__ = ("deadline",)

    def __init__(self, keepsake: Keepsake, *, foreground: bool, now: Millis) -> None:
        super().__init__(keepsake, foreground=foreground, now=now)
        self.deadline = now + WELCOME_WITHIN

    def hello(self, token: str) -> Hello:
        """The first frame."""
        return Hello(token=token, cursor=self.keepsake.cursor, state="foreground" if self.foreground else "background")

    def receive(self, frame: ServerFrame, now: Millis) -> "tuple[Phase, Sequence[Effect]]":
        """Welcome, or a farewell."""
        self.last_traffic = now
        if isinstance(frame, Welcome):
            return Connected(self, frame.heartbeat_s), _NONE
        if isinstance(frame, Bye):
            self.bye = frame
            return self, _NONE
        return self, (Leave(CloseCode.PROTOCOL_FAULT, "no welcome"),)

    def tick(self, now: Millis) -> Sequence[Effect]:
        """Gives up on a server that does not answer."""
        return (Leave(CloseCode.GOING_AWAY, "no welcome in time"),) if now >= self.deadline else _NONE


class Connected(_Conversation):
    """Welcome came: messages flow, catch-up first (``online`` False), then live."""

    __slots__ = ()

    def __init__(self, greeting: Greeting, heartbeat_s: int) -> None:
        for name in _Conversation.__slots__:
            setattr(self, name, getattr(greeting, name))
        own = self.keepsake.heartbeat.interval_s(self.keepsake.network, foreground=self.foreground)
        self.beat_s = min(own, heartbeat_s)

    def receive(self, frame: ServerFrame, now: Millis) -> "tuple[Phase, Sequence[Effect]]":
        """A frame of the server. A ``Store`` is answered by :meth:`stored` once the message is on the phone."""
        self.last_traffic = now
        if isinstance(frame, Msg):
            if frame.message_id in self.keepsake.seen:
                return self, self.stored(frame)
            return self, (Store(frame),)
        if isinstance(frame, CaughtUp):
            self.online = True
            self.keepsake.cursor = frame.cursor
            return self, (*self.flush(), Online(frame.more))
        if isinstance(frame, Pong):
            if self.pinged_at:
                self.keepsake.heartbeat.succeeded(self.keepsake.network, self.beat_s)
            self.pinged_at = 0
            self.beat_s = min(self._wished(), frame.heartbeat_s)
        elif isinstance(frame, Recall):
            self.keepsake.seen.add(frame.message_id)  # never show it, should it come again
            return self, (Erase(frame.message_id),)
        elif isinstance(frame, Bye):
            self.bye = frame
            return self, self.flush()
        return self, _NONE

    def tick(self, now: Millis) -> Sequence[Effect]:
        """Acks that wait, a heartbeat that is due, or a line found dead."""
        effects = self.flush()
        if effects:
            self.last_traffic = now
        if self.pinged_at:
            if now - self.pinged_at >= PONG_WITHIN:
                self.keepsake.heartbeat.failed(self.keepsake.network, self.beat_s)
                return (*effects, Leave(CloseCode.GOING_AWAY, "no pong"))
        elif now - self.last_traffic >= self.beat_s * SECOND:
            self.pinged_at = now
            return (*effects, Reply(Ping(self._wished())))
        return effects

    def _wished(self) -> int:
        return self.keepsake.heartbeat.interval_s(self.keepsake.network, foreground=self.foreground)


Phase = Greeting | Connected
