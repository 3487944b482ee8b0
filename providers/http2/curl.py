"""The transport on libcurl: HTTP/2 where the other side offers it, HTTP/1.1 else.

libcurl's multi interface is driven from asyncio: its sockets become readers and writers of the loop, its timer one
``call_later``. Easy handles are pooled. libcurl by itself sends a request again when a reused connection ends without
an answer; the pre-request callback counts, and refuses the second time, so a request leaves at most once.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

import pycurl

from dispatcher.domain.clock import Millis
from providers.http2.exchange import Batch, Cause, Identity, Kind, Reply, Request, TransportFault

_CONNECT = {
    pycurl.E_COULDNT_CONNECT,
    pycurl.E_COULDNT_RESOLVE_HOST,
    pycurl.E_COULDNT_RESOLVE_PROXY,
    pycurl.E_URL_MALFORMAT,
    pycurl.E_UNSUPPORTED_PROTOCOL,
}
_TLS = {
    pycurl.E_SSL_CONNECT_ERROR,
    pycurl.E_PEER_FAILED_VERIFICATION,
    pycurl.E_SSL_CERTPROBLEM,
    pycurl.E_SSL_CACERT_BADFILE,
    pycurl.E_SSL_CIPHER,
}


_STREAM_ERROR = 92  # CURLE_HTTP2_STREAM, which pycurl does not name


class _Transfer:
    """An easy handle with what one request needs; used again and again."""

    __slots__ = ("body", "call", "easy", "lines", "place", "tries")

    def __init__(self, easy: pycurl.Curl) -> None:
        self.easy = easy
        self.lines: list[bytes] = []
        self.body: list[bytes] = []
        self.tries = 0
        self.call: Batch | None = None
        self.place = 0

    def before_request(self, *_: object) -> int:
        self.tries += 1
        ok: int = pycurl.PREREQFUNC_OK if self.tries == 1 else pycurl.PREREQFUNC_ABORT
        return ok

    def begin(self, call: Batch, place: int) -> None:
        self.call, self.place, self.tries = call, place, 0
        self.lines.clear()
        self.body.clear()

    def reply(self) -> Reply:
        fields = []
        for line in self.lines:
            name, colon, value = line.partition(b":")
            if colon:
                fields.append((name, value.strip()))
            elif name.startswith(b"HTTP/"):
                fields.clear()  # an interim answer came before
        status = self.easy.getinfo(pycurl.RESPONSE_CODE)
        return Reply(status, fields, b"".join(self.body))

    def fault(self, code: int, text: str) -> TransportFault:
        if not self.tries:
            cause = Cause.CONNECT if code in _CONNECT else Cause.TLS if code in _TLS else Cause.LOST
            if code == pycurl.E_OPERATION_TIMEDOUT:
                cause = Cause.DEADLINE
            return TransportFault(Kind.NEVER_SENT, cause, text)
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return TransportFault(Kind.UNKNOWN, Cause.DEADLINE)
        if code == _STREAM_ERROR:
            return TransportFault(Kind.UNKNOWN, Cause.RESET)
        return TransportFault(Kind.UNKNOWN, Cause.LOST, text)


class CurlTransport:
    """A :class:`~providers.http2.exchange.BeginsBatches` on libcurl.

    *connections*: to one host at most. *concurrent*: requests under way. *waiting*: requests behind them; beyond it a
    request fails as ``full``. *clear_http2*: ``http://`` addresses speak HTTP/2 from the first byte. A deadline counts
    from the call, waiting included.
    """

    def __init__(
        self,
        *,
        ca_file: str | None = None,
        identity: Identity | None = None,
        connections: int = 2,
        concurrent: int = 1_000,
        waiting: int = 20_000,
        connect_timeout_ms: Millis = 5_000,
        clear_http2: bool = False,
    ) -> None:
        self._ca_file = ca_file
        self._identity = identity
        self._concurrent = concurrent
        self._max_waiting = waiting
        self._connect_timeout_ms = connect_timeout_ms
        self._version = pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE if clear_http2 else pycurl.CURL_HTTP_VERSION_2TLS
        self._queue: deque[tuple[Request, Batch, int]] = deque()
        self._idle: list[_Transfer] = []
        self._under_way: dict[pycurl.Curl, _Transfer] = {}
        self._fresh = False
        self._timer: asyncio.TimerHandle | None = None
        self._watched: dict[int, int] = {}
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, connections)
        self._multi.setopt(pycurl.M_MAX_CONCURRENT_STREAMS, 1_000)
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections * 4)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    async def exchange(self, requests: Sequence[Request], deadline_ms: Millis) -> list[Reply | TransportFault]:
        """See :class:`~providers.http2.exchange.Transport`."""
        return await self.begin(requests, deadline_ms).whole()

    def begin(self, requests: Sequence[Request], deadline_ms: Millis) -> Batch:
        """See :class:`~providers.http2.exchange.BeginsBatches`."""
        call = Batch(len(requests), deadline_ms, self._abandon)
        for place, request in enumerate(requests):
            if self._closed:
                call.answer(place, TransportFault(Kind.NEVER_SENT, Cause.CLOSED))
            elif len(self._under_way) < self._concurrent and not self._queue:
                self._start(request, call, place)
            elif len(self._queue) < self._max_waiting:
                self._queue.append((request, call, place))
            else:
                call.answer(place, TransportFault(Kind.NEVER_SENT, Cause.FULL))
        return call

    async def renew(self) -> None:
        """The next request opens a connection of its own."""
        self._fresh = True

    async def close(self) -> None:
        """Ends everything now."""
        if self._closed:
            return
        self._closed = True
        for transfer in list(self._under_way.values()):
            self._finish(transfer, TransportFault(Kind.UNKNOWN, Cause.CLOSED))
        for _, call, place in self._queue:
            call.answer(place, TransportFault(Kind.NEVER_SENT, Cause.CLOSED))
        self._queue.clear()
        if self._timer:
            self._timer.cancel()
        for transfer in self._idle:
            transfer.easy.close()
        self._multi.close()
        for fd in list(self._watched):
            self._watch(pycurl.POLL_REMOVE, fd)

    def _new_transfer(self) -> _Transfer:
        easy = pycurl.Curl()
        transfer = _Transfer(easy)
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (pycurl.PIPEWAIT, 1),
            (pycurl.HTTP_VERSION, self._version),
            (pycurl.PROXY, ""),
            (pycurl.USERAGENT, "pushpath"),
            (pycurl.CONNECTTIMEOUT_MS, self._connect_timeout_ms),
            (pycurl.PREREQFUNCTION, transfer.before_request),
            (pycurl.WRITEFUNCTION, transfer.body.append),
            (pycurl.HEADERFUNCTION, transfer.lines.append),
        ):
            easy.setopt(option, value)
        if self._ca_file:
            easy.setopt(pycurl.CAINFO, self._ca_file)
        if self._identity:
            easy.setopt(pycurl.SSLCERT_BLOB, self._identity.certificate)
            easy.setopt(pycurl.SSLKEY_BLOB, self._identity.key)
        return transfer

    def _start(self, request: Request, call: Batch, place: int) -> None:
        left_ms = int((call.ends_at - self._loop.time()) * 1_000)
        if left_ms <= 0:
            call.answer(place, TransportFault(Kind.NEVER_SENT, Cause.DEADLINE))
            return
        transfer = self._idle.pop() if self._idle else self._new_transfer()
        transfer.begin(call, place)
        easy = transfer.easy
        easy.setopt(pycurl.URL, request.url)
        easy.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in request.headers])
        easy.setopt(pycurl.TIMEOUT_MS, left_ms)
        if request.method == "POST":
            easy.setopt(pycurl.POSTFIELDS, request.body)
        else:
            easy.setopt(pycurl.HTTPGET, 1)
            easy.setopt(pycurl.CUSTOMREQUEST, request.method)
        if self._fresh:
            self._fresh = False
            easy.setopt(pycurl.FRESH_CONNECT, 1)
        self._under_way[easy] = transfer
        self._multi.add_handle(easy)

    def _finish(self, transfer: _Transfer, answer: Reply | TransportFault) -> None:
        call, place = transfer.call, transfer.place
        self._multi.remove_handle(transfer.easy)
        del self._under_way[transfer.easy]
        transfer.call = None
        transfer.easy.unsetopt(pycurl.CUSTOMREQUEST)
        transfer.easy.setopt(pycurl.FRESH_CONNECT, 0)
        self._idle.append(transfer)
        if call is not None:
            call.answer(place, answer)

    def _abandon(self, call: Batch) -> None:
        for transfer in [found for found in self._under_way.values() if found.call is call]:
            self._finish(transfer, TransportFault(Kind.UNKNOWN, Cause.CLOSED))
        self._queue = deque(waiting for waiting in self._queue if waiting[1] is not call)
        self._feed()

    def _feed(self) -> None:
        while self._queue and len(self._under_way) < self._concurrent:
            request, call, place = self._queue.popleft()
            self._start(request, call, place)

    def _watch(self, what: int, fd: int, *_: object) -> None:
        """libcurl's wish about a socket."""
        loop, before = self._loop, self._watched.get(fd, 0)
        wanted = 0 if what == pycurl.POLL_REMOVE else what
        if wanted & pycurl.POLL_IN and not before & pycurl.POLL_IN:
            loop.add_reader(fd, self._act, fd, pycurl.CSELECT_IN)
        elif before & pycurl.POLL_IN and not wanted & pycurl.POLL_IN:
            loop.remove_reader(fd)
        if wanted & pycurl.POLL_OUT and not before & pycurl.POLL_OUT:
            loop.add_writer(fd, self._act, fd, pycurl.CSELECT_OUT)
        elif before & pycurl.POLL_OUT and not wanted & pycurl.POLL_OUT:
            loop.remove_writer(fd)
        if wanted:
            self._watched[fd] = wanted
        else:
            self._watched.pop(fd, None)

    def _set_timer(self, timeout_ms: int) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if timeout_ms >= 0 and not self._closed:
            self._timer = self._loop.call_later(timeout_ms / 1_000, self._act, pycurl.SOCKET_TIMEOUT, 0)

    def _act(self, fd: int, events: int) -> None:
        if self._closed:
            return
        self._multi.socket_action(fd, events)
        while True:
            waiting, good, bad = self._multi.info_read()
            for easy in good:
                transfer = self._under_way[easy]
                self._finish(transfer, transfer.reply())
            for easy, code, text in bad:
                failed = self._under_way[easy]
                self._finish(failed, failed.fault(code, text))
            if not waiting:
                break
        self._feed()
