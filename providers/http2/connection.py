"""The loop around :class:`~providers.http2.core.Core`: one asyncio protocol a connection, one write a tick."""

import asyncio
from collections.abc import Callable
from typing import cast

from providers.http2.core import Core
from providers.http2.exchange import Cause
from providers.http2.frames import Broken
from providers.http2.streams import Ended

IDLE_S = 30.0  #: a connection silent for longer is asked whether it still stands before it gets a request
GOODBYE_S = 0.5  #: how long a peer may take to say goodbye
PROBE_S = 5.0  #: how long it may take to say so
TALKS_S = 1.0  #: a connection that was heard so lately gets requests while it is asked


class Connection(asyncio.Protocol):
    """Applies what the core decides; *on_ended* takes finished streams, *on_change* says that room may have come."""

    def __init__(self, on_ended: Callable[[list[Ended]], None], on_change: Callable[["Connection"], None]) -> None:
        self.core = Core()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()  #: the socket is closed
        self._loop = asyncio.get_running_loop()
        self._on_ended = on_ended
        self._on_change = on_change
        self._transport: asyncio.Transport | None = None
        self._full = False
        self._flush_due = False
        self._heard_at = self._loop.time()
        self._probe: asyncio.TimerHandle | None = None

    @property
    def opened(self) -> bool:
        """Whether there ever was a socket under it."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Our preface goes at once; requests wait for the peer's settings."""
        self._transport = cast("asyncio.Transport", transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Everything that these bytes cause leaves in one write."""
        self._heard_at = self._loop.time()
        try:
            ended = self.core.receive(data)
        except Broken as fault:
            self.core.go_away(fault.code)
            self._flush()
            self._end(Cause.PROTOCOL, str(fault))
            return
        if self.core.ready and not self.ready.done():
            self.ready.set_result(None)
        if self._probe is not None and not self.core.pings_open:
            self._probe.cancel()
            self._probe = None
        if ended:
            self._on_ended(ended)
        self._on_change(self)
        self.flush_soon()
        if self.core.draining and not self.core.streams:
            self.close()

    def pause_writing(self) -> None:
        """The peer reads slower than we write: no new requests."""
        self._full = True

    def resume_writing(self) -> None:
        """It caught up."""
        self._full = False
        self._on_change(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """What has no answer now will never have one."""
        if not self.gone.done():
            self.gone.set_result(None)
        self._end(Cause.LOST, "" if exc is None else str(exc))

    def eof_received(self) -> None:
        """The peer says no more: an HTTP/2 connection has no use of its other half."""

    def usable(self, body_bytes: int) -> bool:
        """Whether a request can leave here now. Asks a connection that was silent for long, and says no meanwhile."""
        if self.closed or self._full or not self.core.room(body_bytes):
            return False
        silent_s = self._loop.time() - self._heard_at
        if self._probe is None and silent_s > IDLE_S and not self.core.streams:
            self.probe()
        return self._probe is None or silent_s <= TALKS_S

    def probe(self) -> None:
        """A PING; without its answer the connection is given up."""
        if self._probe is None and not self.closed:
            self.core.ping()
            self._probe = self._loop.call_later(PROBE_S, self._end, Cause.LOST, "no answer to a ping")
            self.flush_soon()

    def retire(self) -> None:
        """No new requests; closes when those under way are answered."""
        self.core.draining = True
        if not self.core.streams:
            self.close()

    def close(self, cause: Cause = Cause.CLOSED) -> None:
        """Says goodbye and ends; streams under way fail."""
        if not self.closed:
            self.core.go_away()
            self._flush()
            self._end(cause, "")

    async def wait_gone(self) -> None:
        """Waits for the goodbye under TLS, then cuts the line."""
        if self._transport is None:
            return
        await asyncio.wait([self.gone], timeout=GOODBYE_S)
        self._transport.abort()
        await asyncio.wait([self.gone], timeout=GOODBYE_S)

    def flush_soon(self) -> None:
        """One write for all that this tick of the loop brings."""
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        data = self.core.take_output()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _end(self, cause: Cause, detail: str) -> None:
        if self.closed:
            return
        self.closed = True
        if self._probe is not None:
            self._probe.cancel()
        if self._transport is not None:
            if cause is Cause.CLOSED:
                self._transport.close()
            else:
                self._transport.abort()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(detail or str(cause)))
            self.ready.exception()  # seen: nobody may be waiting any more
        ended = self.core.lost(cause, detail)
        if ended:
            self._on_ended(ended)
        self._on_change(self)
