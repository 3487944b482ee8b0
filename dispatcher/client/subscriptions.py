"""What an app can subscribe to: login, line, heartbeat, messages, failed pulls. One stream, told apart by type.

Failure policy: a subscriber that raises is logged and keeps its subscription; the line never waits for one.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

logger = logging.getLogger("pushpath.client")

STREAM_KEEPS = 1_000  #: events that wait for a slow reader of :meth:`Subscriptions.events`; then the oldest go


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginState:
    """``logged_in``: the server knows the device token. ``expired``: another one is fetched. ``moved``: the device is
    another user's now, or a newer connection took its place: this client stops."""

    state: Literal["logged_in", "expired", "moved"]
    user_id: str
    device_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineState:
    """``offline``, ``connecting``, ``syncing``, ``online`` or ``polling``."""

    before: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """One heartbeat's answer, or that it stayed out (``alive`` False: the line is given up)."""

    alive: bool
    interval_s: int
    round_trip_ms: int | None = None


MessageWord = Literal["received", "stored", "refused", "acknowledged", "recalled"]
Via = Literal["longconn", "poll"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageState:
    """``received``, then ``stored`` (or ``refused``: the app raised, it comes again), then ``acknowledged``; or
    ``recalled``. ``via``: ``longconn`` or ``poll``."""

    message_id: str
    state: MessageWord
    via: Via
    delivery_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PullFailed:
    """A pull that failed *tries* times in a row, with backoff in between."""

    tries: int
    error: Exception


Event = LoginState | LineState | Heartbeat | MessageState | PullFailed
Some = TypeVar("Some", LoginState, LineState, Heartbeat, MessageState, PullFailed)


class Subscriptions:
    """Subscribers of one device client."""

    def __init__(self) -> None:
        self._callbacks: dict[type[Any], list[Callable[[Any], None]]] = {}
        self._streams: set[asyncio.Queue[Event]] = set()

    def subscribe(self, kind: type[Some], callback: Callable[[Some], None]) -> Callable[[], None]:
        """Calls *callback* with every event of a kind, in order; the answer ends the subscription."""
        self._callbacks.setdefault(kind, []).append(callback)

        def end() -> None:
            with suppress(ValueError):
                self._callbacks[kind].remove(callback)

        return end

    async def events(self) -> AsyncIterator[Event]:
        """All events from now on, as a stream."""
        queue: asyncio.Queue[Event] = asyncio.Queue(STREAM_KEEPS)
        self._streams.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._streams.discard(queue)

    def tell(self, event: Event) -> None:
        """Hands an event out."""
        for callback in tuple(self._callbacks.get(type(event), ())):
            try:
                callback(event)
            except Exception:
                logger.exception("a subscriber failed")
        for queue in self._streams:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)
