"""The phone's side: holds a line, resumes from its cursor, polls when the line will not hold, sends receipts."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from dispatcher.client import subscriptions as told
from dispatcher.client.errors import MovedAway, PushpathError
from dispatcher.client.reconnect import Next, Reconnect
from dispatcher.client.telling import Teller
from dispatcher.client.transport import Api
from dispatcher.protocol.client_session import Connected, Greeting, Keepsake, Notebook, Phase
from dispatcher.protocol.close_codes import Advice, CloseCode, advice_for
from dispatcher.protocol.effects import Effect, Erase, Leave, Online, Reply, Store
from dispatcher.protocol.frames import (
    CODECS,
    JSON_SUBPROTOCOL,
    MAX_FRAME,
    Msg,
    Pong,
    Unparsable,
    Welcome,
)

logger = logging.getLogger("pushpath.client")

TokenSource = Callable[[], Awaitable[str]]
OnMessage = Callable[[Msg], Awaitable[None]]
OnRecall = Callable[[str], Awaitable[None]]
OnChange = Callable[[str], None]

#: How often a pull is made before its failure is reported.
PULL_TRIES = 4
_PULL_BACKOFF_S = 0.5
_TICK_S = 0.5
_ACK_S = 0.05
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class _Page(msgspec.Struct):
    more: bool = False
    poll_after: str | None = None


class _NotStored(Exception):
    """The app did not take a message: the cursor stays where it is."""


class DeviceClient:
    """One install of the app.

    *token*: asked for a device token whenever one is needed (the app's own backend mints it). *on_message* stores and
    shows a message; once it returns, the message is acknowledged and never handed over again. If it raises, the line
    is closed and the message comes again. *keepsake* holds what must outlive this object: store its ``notebook()``.

    Runs until :meth:`stop`, or until the server says that coming back would do harm (:class:`MovedAway`).
    """

    def __init__(
        self,
        api_url: str,
        gateway_url: str,
        *,
        user_id: str,
        device_id: str,
        token: TokenSource,
        on_message: OnMessage,
        on_recall: OnRecall | None = None,
        on_change: OnChange | None = None,
        keepsake: Keepsake | None = None,
        foreground: bool = True,
        subprotocol: str = JSON_SUBPROTOCOL,
        http: httpx.AsyncClient | None = None,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._gateway_url = gateway_url
        self.user_id = user_id
        self.device_id = device_id
        self._source = token
        self._on_message = on_message
        self._on_recall = on_recall
        self._on_change = on_change
        self.keepsake = keepsake or Keepsake()
        self._foreground = foreground
        self._codec = CODECS[subprotocol]
        self._token: str | None = None
        self._api = Api(api_url, self._bearer, timeout_s=15.0, attempts=4, client=http, dice=dice)
        self._reconnect = Reconnect(dice)
        self._socket: ClientConnection | None = None
        self._phase: Phase | None = None
        self._teller = Teller(user_id, device_id)
        self.subscriptions = self._teller.subscriptions
        self._dice = dice
        self._stopping = asyncio.Event()
        self._state = "offline"
        self.more = False  #: older messages wait in the inbox's pages

    def __repr__(self) -> str:
        return f"DeviceClient({self.device_id}, {self._state})"

    @property
    def state(self) -> str:
        """``offline``, ``connecting``, ``syncing``, ``online`` or ``polling``."""
        return self._state

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        await self._api.close()

    def subscribe(self, kind: type[told.Some], callback: Callable[[told.Some], None]) -> Callable[[], None]:
        """Login state, line state, heartbeats, message states, failed pulls: see :mod:`.subscriptions`."""
        return self.subscriptions.subscribe(kind, callback)

    async def register(self, platform: str, *, tokens: Sequence[Mapping[str, Any]] = (), **facts: Any) -> None:
        """``PUT /v1/devices/{device_id}``: platform, push tokens, alert permission, versions, locale, time zone."""
        device = {"user_id": self.user_id, "platform": platform, "tokens": [dict(token) for token in tokens], **facts}
        await self._api.call("PUT", f"/v1/devices/{quote(self.device_id, safe='')}", body=device)

    async def receipts(self, receipts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """``POST /v1/receipts``: for pushes (with ``via`` and ``attempt_id``), ``displayed`` and ``opened``."""
        counts: dict[str, int] = await self._api.call(
            "POST", "/v1/receipts", body={"receipts": [dict(receipt) for receipt in receipts]}
        )
        return counts

    async def set_foreground(self, foreground: bool) -> None:
        """The app came to the foreground or left it."""
        self._foreground = foreground
        if isinstance(self._phase, Connected):
            await self._apply(self._phase.come_to(foreground=foreground))

    async def renew(self) -> None:
        """Fetches a fresh token and shows it on the line before the old one ends."""
        self._token = await self._source()
        if isinstance(self._phase, Connected):
            await self._apply(self._phase.renew(self._token))

    async def stop(self) -> None:
        """Says goodbye; :meth:`run` returns."""
        self._stopping.set()
        if self._socket is not None:
            await self._socket.close(CloseCode.NORMAL)

    async def run(self) -> None:
        """Holds the line. Raises :class:`MovedAway`, or what the token source raises."""
        while not self._stopping.is_set():
            step = await self._hold_line()
            if step.stop:
                self._turn("offline")
                self._teller.moved()
                raise MovedAway(0, "stopped", "the device was moved to another user, or another connection replaced it")
            if step.new_token:
                self._token = None
                self._teller.expired()
            if step.poll_s and not self._stopping.is_set():
                await self._poll(step.poll_s)
            else:
                self._turn("offline")
                await self._pause(step.after_s)
        self._turn("offline")

    async def pull(self, *, wait_s: int = 0) -> float:
        """Asks the inbox for what came since the cursor; returns seconds until the next time to ask."""
        while True:
            query: dict[str, str | int | None] = {"after": self.keepsake.cursor, "limit": 100}
            if wait_s:
                query["wait"] = f"{wait_s}s"
            if self.keepsake.cursor is None:
                query.pop("after")
            document = await self._ask_inbox(query, 15.0 + wait_s)
            page = msgspec.convert(document, _Page)
            found = [
                msgspec.convert({**dict(each), "attempt_id": "", "t": "msg"}, Msg) for each in document["messages"]
            ]
            newest_first = self.keepsake.cursor is None
            for message in reversed(found) if newest_first else found:
                if message.message_id not in self.keepsake.seen:
                    await self._show(message, "poll")
                    self.keepsake.seen.add(message.message_id)
                self.keepsake.cursor = message.cursor
            if newest_first or not page.more or not found:
                await self._prove(found)
                return _seconds(page.poll_after)

    # Inside

    async def _bearer(self) -> str:
        if self._token is None:
            self._token = await self._source()
        return f"Bearer {self._token}"

    async def _ask_inbox(self, query: Mapping[str, str | int | None], timeout_s: float) -> Any:
        """Repeated with backoff where it may help; what fails :data:`PULL_TRIES` times is told and raised."""
        tries = 0
        while True:
            tries += 1
            try:
                document = await self._api.call("GET", "/v1/inbox", query=query, timeout_s=timeout_s, attempts=1)
            except PushpathError as error:
                if tries >= PULL_TRIES or not (error.retry or error.status >= 500):
                    if error.status == 401:
                        self._teller.expired()
                    self.subscriptions.tell(told.PullFailed(tries=tries, error=error))
                    raise
                wish = getattr(error, "retry_after_s", None) or 0.0
                backoff = min(10.0, _PULL_BACKOFF_S * 2**tries) * (0.5 + 0.5 * self._dice())
                await self._pause(max(backoff, min(wish, 60.0)))
            else:
                self._teller.logged_in()
                return document

    async def _prove(self, messages: Sequence[Msg]) -> None:
        if messages:
            await self.receipts(
                [{"delivery_id": each.delivery_id, "event": "delivered", "via": "poll"} for each in messages]
            )
            for each in messages:
                self._teller.message(each, "acknowledged", "poll")

    async def _show(self, message: Msg, via: told.Via) -> None:
        self._teller.message(message, "received", via)
        try:
            await self._on_message(message)
        except Exception as error:
            logger.exception("a message could not be stored; it will come again")
            self._teller.message(message, "refused", via)
            raise _NotStored from error
        self._teller.message(message, "stored", via)

    async def _hold_line(self) -> Next:
        self._turn("connecting")
        if self._token is None:
            self._token = await self._source()
        try:
            socket = await connect(
                self._gateway_url,
                subprotocols=[Subprotocol(self._codec.name)],
                compression=None,
                max_size=MAX_FRAME,
                ping_interval=None,
                open_timeout=15,
                close_timeout=3,
            )
        except InvalidStatus as refused:
            after = refused.response.headers.get("Retry-After", "")
            return self._reconnect.refused(float(after) if after.isdigit() else None)
        except (OSError, InvalidHandshake, TimeoutError):
            return self._reconnect.refused(None)
        self._socket = socket
        began = time.monotonic()
        welcomed = False
        try:
            phase = self._phase = Greeting(self.keepsake, foreground=self._foreground, now=_now())
            await socket.send(self._text(self._codec.encode(phase.hello(self._token))))
            beats = asyncio.create_task(self._beat())
            try:
                async for data in socket:
                    await self._receive(data)
                    welcomed = welcomed or isinstance(self._phase, Connected)
            finally:
                beats.cancel()
                await asyncio.gather(beats, return_exceptions=True)
        except (ConnectionClosed, _NotStored):
            pass
        finally:
            bye = self._phase.bye if self._phase is not None else None
            self._socket = self._phase = None
            self._teller.ended()
            await socket.close()
        code = socket.close_code or CloseCode.ABNORMAL
        if advice_for(code) is Advice.STOP:
            logger.info("the line ended for good", extra={"code": code})
        return self._reconnect.after(code, bye, held_s=time.monotonic() - began if welcomed else 0.0)

    async def _receive(self, data: str | bytes) -> None:
        phase = self._phase
        if phase is None:
            return
        try:
            frame = self._codec.server_frame(data.encode() if isinstance(data, str) else data)
        except Unparsable:
            return  # a newer server's frame
        self._phase, effects = phase.receive(frame, _now())
        if isinstance(frame, Welcome):
            self._teller.logged_in()
        elif isinstance(frame, Pong):
            self._teller.pong(_now())
        if isinstance(self._phase, Connected) and not self._phase.online:
            self._turn("syncing")
        await self._apply(effects)

    async def _apply(self, effects: Sequence[Effect]) -> None:
        socket = self._socket
        for effect in effects:
            if isinstance(effect, Store):
                await self._show(effect.message, "longconn")
                if isinstance(self._phase, Connected):
                    await self._apply(self._phase.stored(effect.message))
            elif isinstance(effect, Reply) and socket is not None:
                await socket.send(self._text(self._codec.encode(effect.frame)))
                self._teller.sent(effect.frame, self._phase.beat_s if self._phase is not None else 0, _now())
            elif isinstance(effect, Online):
                self.more = effect.more
                self._turn("online")
            elif isinstance(effect, Erase):
                if self._on_recall is not None:
                    await self._on_recall(effect.message_id)
                self._teller.recalled(effect.message_id)
            elif isinstance(effect, Leave) and socket is not None:
                self._teller.left()
                await socket.close(effect.code, effect.reason)

    async def _beat(self) -> None:
        """The line's clock: acks soon after their messages, heartbeats when they are due."""
        waited = 0.0
        while True:
            await asyncio.sleep(_ACK_S)
            waited += _ACK_S
            phase = self._phase
            if phase is None:
                return
            if isinstance(phase, Connected) and phase.acks:
                await self._apply(phase.flush())
            if waited >= _TICK_S:
                waited = 0.0
                await self._apply(phase.tick(_now()))

    async def _poll(self, for_s: float) -> None:
        """Polls while the line is left alone."""
        self._turn("polling")
        end = time.monotonic() + for_s
        while not self._stopping.is_set() and time.monotonic() < end:
            try:
                after_s = await self.pull()
            except PushpathError as error:
                if error.status == 401:
                    self._token = None
                after_s = 15.0
            except _NotStored:
                after_s = 5.0
            await self._pause(min(after_s, max(0.0, end - time.monotonic())))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _text(self, payload: bytes) -> str | bytes:
        return payload.decode() if self._codec.text else payload

    def _turn(self, state: str) -> None:
        if state != self._state:
            before, self._state = self._state, state
            self._teller.line(before, state)
            if self._on_change is not None:
                self._on_change(state)


def _now() -> int:
    return time.monotonic_ns() // 1_000_000


def _seconds(duration: str | None) -> float:
    for unit, size in _DURATIONS.items():
        if duration is not None and duration.endswith(unit) and duration[: -len(unit)].isdigit():
            return int(duration[: -len(unit)]) * size
    return 30.0


__all__ = ["DeviceClient", "Keepsake", "Msg", "Notebook"]
