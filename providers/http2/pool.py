"""The transport on our own HTTP/2: a few connections to one origin, a bounded queue before them.

A request that the peer certainly did not process (above GOAWAY's last stream, or REFUSED_STREAM) leaves again by
itself, at most :data:`RESENDS` times; any other loss is the caller's to judge.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from dispatcher.domain.clock import Millis
from providers.http2.connection import Connection
from providers.http2.exchange import Batch, Cause, Kind, Reply, Request, TransportFault
from providers.http2.streams import Ended

RESENDS = 3
BACKOFF_S = 1.0  #: after a failed connect: meanwhile requests fail at once
TICK_S = 0.05  #: how often deadlines are looked at


class _Ticket(NamedTuple):
    request: Request
    batch: Batch
    place: int
    resends: int


class Http2Transport:
    """A :class:`~providers.http2.exchange.BeginsBatches` to one origin (``https://name[:port]``).

    *context* offers ``h2`` by ALPN; None for ``http://`` (HTTP/2 from the first byte). *connections*: as many as are
    kept busy; where the peer grants few streams on each, more, until *concurrent* requests fit or there are
    *most_connections*. *waiting*: requests behind those under way; beyond it a request fails as ``full``. A deadline
    counts from the call, waiting included.
    """

    def __init__(
        self,
        origin: str,
        *,
        context: ssl.SSLContext | None,
        connections: int = 2,
        most_connections: int = 10,
        concurrent: int = 1_000,
        waiting: int = 20_000,
        connect_timeout_ms: Millis = 5_000,
    ) -> None:
        split = urlsplit(origin)
        self._base = f"{split.scheme}://{split.netloc}/"
        self._host = split.hostname or ""
        self._port = split.port or (443 if split.scheme == "https" else 80)
        self._context = context
        self._pseudo = ((":scheme", split.scheme), (":authority", split.netloc))
        self._usual = connections
        self._most = most_connections
        self._concurrent = concurrent
        self._max_waiting = waiting
        self._connect_timeout_s = connect_timeout_ms / 1_000
        self._loop = asyncio.get_running_loop()
        self._connections: list[Connection] = []
        self._alive: set[Connection] = set()  #: those whose sockets are open, retired ones included
        self._queue: deque[_Ticket] = deque()
        self._opening: asyncio.Task[None] | None = None
        self._closed = False
        self._backoff: tuple[float, TransportFault] | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._pumping = False
        self.resent = 0  #: requests that left again, certainly unprocessed before

    async def exchange(self, requests: Sequence[Request], deadline_ms: Millis) -> list[Reply | TransportFault]:
        """See :class:`~providers.http2.exchange.Transport`."""
        return await self.begin(requests, deadline_ms).whole()

    def begin(self, requests: Sequence[Request], deadline_ms: Millis) -> Batch:
        """See :class:`~providers.http2.exchange.BeginsBatches`."""
        batch = Batch(len(requests), deadline_ms, self._abandon)
        for place, request in enumerate(requests):
            if self._closed:
                batch.answer(place, TransportFault(Kind.NEVER_SENT, Cause.CLOSED))
            elif not request.url.startswith(self._base):
                batch.answer(place, TransportFault(Kind.NEVER_SENT, Cause.CONNECT, "not this transport's origin"))
            elif len(self._queue) >= self._max_waiting:
                batch.answer(place, TransportFault(Kind.NEVER_SENT, Cause.FULL))
            else:
                self._queue.append(_Ticket(request, batch, place, 0))
        self._pump()
        return batch

    async def renew(self) -> None:
        """Connections take no more requests and close when theirs are answered."""
        for connection in list(self._connections):
            connection.retire()

    async def close(self) -> None:
        """Ends everything now."""
        self._closed = True
        self._fail_queue(TransportFault(Kind.NEVER_SENT, Cause.CLOSED))
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        alive = list(self._alive)
        for connection in alive:
            connection.close()
        if self._ticking is not None:
            self._ticking.cancel()
        await asyncio.gather(*(connection.wait_gone() for connection in alive))

    def _pump(self) -> None:
        """Moves requests from the queue to connections with room, and opens one where there is none."""
        if self._pumping:
            return
        self._pumping = True
        try:
            queue = self._queue
            while queue:
                ticket = queue[0]
                connection = self._with_room(len(ticket.request.body))
                if connection is None:
                    self._open()
                    break
                queue.popleft()
                self._start(connection, ticket)
        finally:
            self._pumping = False
        if self._ticking is None and not self._closed and (self._queue or self._busy()):
            self._ticking = self._loop.call_later(TICK_S, self._tick)

    def _with_room(self, body_bytes: int) -> Connection | None:
        best: Connection | None = None
        for connection in self._connections:
            if connection.usable(body_bytes) and (
                best is None or len(connection.core.streams) < len(best.core.streams)
            ):
                best = connection
        return best

    def _start(self, connection: Connection, ticket: _Ticket) -> None:
        method, url, headers, body = ticket.request
        path = url[len(self._base) - 1 :]
        connection.core.start([(":method", method), *self._pseudo, (":path", path), *headers], body, ticket)
        connection.flush_soon()

    def _busy(self) -> bool:
        return any(connection.core.streams for connection in self._connections)

    def _ended(self, ended: list[Ended]) -> None:
        again: list[_Ticket] = []
        for stream, answer in ended:
            ticket = stream.ticket
            if not isinstance(ticket, _Ticket):
                continue
            if (
                isinstance(answer, TransportFault)
                and answer.kind is Kind.NEVER_SENT
                and ticket.resends < RESENDS
                and not self._closed
            ):
                again.append(ticket._replace(resends=ticket.resends + 1))
            else:
                ticket.batch.answer(ticket.place, answer)
        if again:
            self.resent += len(again)
            self._queue.extendleft(reversed(again))

    def _changed(self, connection: Connection) -> None:
        if connection.closed and connection in self._connections:
            self._connections.remove(connection)
        if self._queue:
            self._pump()

    def _open(self) -> None:
        """One attempt at a time, whoever waits; while connections serve, only up to the bound."""
        if self._closed or self._opening is not None:
            return
        serving = [found for found in self._connections if not found.core.draining]
        if not self._has_use_for_another(serving):
            return
        if self._backoff is not None and self._loop.time() < self._backoff[0]:
            if not serving:
                self._fail_queue(self._backoff[1])
            return
        self._opening = self._loop.create_task(self._connect())

    def _has_use_for_another(self, serving: Sequence[Connection]) -> bool:
        if not all(found.core.answered for found in serving):
            return False  # Apple grants a second stream only after the first answer: another connection would not help
        if len(serving) < self._usual:
            return True
        granted = sum(found.core.max_streams for found in serving)
        # a peer that grants one stream each does not trust us yet; others may grant a hundred (RFC 9113, 6.5.2)
        return len(serving) < granted < self._concurrent and len(serving) < self._most

    def _new_connection(self) -> Connection:
        connection = Connection(self._ended, self._changed)
        self._alive.add(connection)
        connection.gone.add_done_callback(lambda _: self._alive.discard(connection))
        return connection

    async def _connect(self) -> None:
        fault: TransportFault | None = None
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                transport, connection = await self._loop.create_connection(
                    self._new_connection,
                    self._host,
                    self._port,
                    ssl=self._context,
                    server_hostname=self._host if self._context else None,
                )
                secured = transport.get_extra_info("ssl_object")
                if secured is not None and secured.selected_alpn_protocol() != "h2":
                    raise ConnectionError("the peer speaks no HTTP/2")
                await connection.ready
        except ssl.SSLError as error:
            fault = TransportFault(Kind.NEVER_SENT, Cause.TLS, error.reason or "")
        except (OSError, TimeoutError) as error:
            fault = TransportFault(Kind.NEVER_SENT, Cause.CONNECT, str(error) or "timed out")
        except asyncio.CancelledError:
            if connection is not None:
                connection.close()
            raise
        finally:
            self._opening = None
        if fault is not None:
            self._alive = {found for found in self._alive if found.opened}  # a failed handshake never opened one
            self._backoff = (self._loop.time() + BACKOFF_S, fault)
            if not any(not found.core.draining for found in self._connections):
                self._fail_queue(fault)
            if connection is not None:
                connection.close(Cause.LOST)
            return
        self._backoff = None
        if connection is not None and not connection.closed:
            self._connections.append(connection)
        self._pump()

    def _fail_queue(self, fault: TransportFault) -> None:
        queue, self._queue = self._queue, deque()
        for ticket in queue:
            ticket.batch.answer(ticket.place, fault)

    def _abandon(self, batch: Batch) -> None:
        self._queue = deque(ticket for ticket in self._queue if ticket.batch is not batch)
        self._drop(lambda ticket: ticket.batch is batch)

    def _tick(self) -> None:
        """Deadlines: a request that waited in vain was never sent, one under way is unknown."""
        self._ticking = None
        now = self._loop.time()
        if any(ticket.batch.ends_at <= now for ticket in self._queue):
            late = [ticket for ticket in self._queue if ticket.batch.ends_at <= now]
            self._queue = deque(ticket for ticket in self._queue if ticket.batch.ends_at > now)
            for ticket in late:
                ticket.batch.answer(ticket.place, TransportFault(Kind.NEVER_SENT, Cause.DEADLINE))
        self._drop(lambda ticket: ticket.batch.ends_at <= now, probe=True)
        self._pump()

    def _drop(self, chosen: Callable[[_Ticket], bool], *, probe: bool = False) -> None:
        for connection in list(self._connections):
            found = [
                stream
                for stream in connection.core.streams.values()
                if isinstance(stream.ticket, _Ticket) and chosen(stream.ticket)
            ]
            for stream in found:
                connection.core.drop(stream)
                if isinstance(stream.ticket, _Ticket):
                    fault = TransportFault(Kind.UNKNOWN, Cause.DEADLINE)
                    stream.ticket.batch.answer(stream.ticket.place, fault)
            if found:
                connection.flush_soon()
                if probe:
                    connection.probe()  # is it this request, or is nobody there any more?
                if connection.core.draining and not connection.core.streams:
                    connection.close()
