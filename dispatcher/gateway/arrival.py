"""A connection that speaks HTTP: it becomes a line, or polls, or is answered and goes."""

import asyncio
from ipaddress import ip_address
from typing import cast

from dispatcher.gateway.answers import answer, problem
from dispatcher.gateway.counters import Count
from dispatcher.gateway.desk import Desk
from dispatcher.gateway.line import Line, peer_of
from dispatcher.gateway.origins import asks_first, permitted, preflight
from dispatcher.gateway.polls import Poll, PollLine
from dispatcher.protocol.frames import Codec
from dispatcher.protocol.handshake import answer_upgrade
from dispatcher.protocol.http import MAX_HEAD, BadRequest, Request, read_again, read_request

_CONNECTED = Count.CONNECTED.value
_UPGRADED = Count.UPGRADED.value


class Arrival(asyncio.Protocol):
    """Reads requests one at a time. ``poll``: the one being served; ``place``: the device's place between polls;
    ``permission``: header lines for a page on another origin.
    """

    __slots__ = ("address", "bucket", "buffer", "desk", "head", "permission", "place", "poll", "transport")

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.address = ""  # of the last poll
        self.bucket = 0
        self.buffer: bytearray | None = None
        self.head: tuple[bytes, Request] | None = None  # of the last poll: its fields' bytes, and what they said
        self.permission = b""
        self.poll: Poll | None = None
        self.place: PollLine | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        desk = self.desk
        desk.pressure.connections += 1
        desk.counters[_CONNECTED] += 1
        if desk.pressure.overfull:
            desk.counters[Count.REFUSED] += 1
            self.transport.abort()
            return
        desk.unclaimed.add(self)
        desk.deadlines.put(self, desk.now + desk.settings.request_within)

    def data_received(self, data: bytes) -> None:
        if self.buffer is not None:
            self.buffer += data
        elif self.poll is not None:
            self.buffer = bytearray(data)
        else:
            self._read(data)
            return
        if self.poll is None:
            waiting, self.buffer = self.buffer, None
            self._read(waiting)
        elif len(self.buffer) > MAX_HEAD:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.desk.pressure.connections -= 1
        self._forget()

    def due(self, now: int) -> None:
        """No request came in time, a poll ended its wait, or the device polls no more."""
        desk = self.desk
        if self.poll is not None:
            desk.polls.timed_out(self.poll)
        elif self.place is not None:
            desk.polls.leave(self)
            desk.deadlines.put(self, now + desk.settings.keep_alive - desk.settings.poll_line)
        elif self.buffer is not None and not self.transport.is_closing():
            self.refuse(problem(408, "request_timeout", "the request did not come in time"))
        else:
            self.transport.abort()

    def respond(self, data: bytes, *, keep_alive: bool) -> None:
        """Answers the poll being served and goes on with the next request."""
        self.poll = None
        if self.transport.is_closing():
            return
        if not keep_alive or self.desk.draining:
            self.refuse(data)
            return
        self._write(data)
        settings = self.desk.settings
        pause = settings.keep_alive if self.place is None else settings.poll_line
        self.desk.deadlines.put(self, self.desk.now + pause)
        waiting, self.buffer = self.buffer, None
        if waiting is not None:
            if len(waiting) > MAX_HEAD:
                self.transport.resume_reading()
            self._read(waiting)

    def refuse(self, data: bytes) -> None:
        """The last answer on this connection."""
        self._write(data)
        self.transport.close()
        self.desk.deadlines.put(self, self.desk.now + self.desk.settings.close_within)

    def _write(self, data: bytes) -> None:
        self.transport.write(permitted(data, self.permission) if self.permission else data)

    def _forget(self) -> None:
        desk = self.desk
        desk.unclaimed.discard(self)
        desk.deadlines.drop(self)
        if self.place is not None or self.poll is not None:
            desk.polls.leave(self)

    def _read(self, data: bytes | bytearray) -> None:
        if self.transport.is_closing():
            return
        desk = self.desk
        if self.head is not None:
            end = data.find(b"\r\n")
            if data[end:] == self.head[0] and (again := read_again(bytes(data[:end]), self.head[1])) is not None:
                self._serve(again, data, b"")
                return
        if type(data) is bytes and (known := desk.upgrades.answer(data)) is not None:
            request, head, codec, used = known
            self._switch(request, head, codec, data[used:])
            return
        try:
            found = read_request(data)
            if found is None:
                self.buffer = data if isinstance(data, bytearray) else bytearray(data)
                return
            request, used = found
            rest = bytes(data[used:])
            self._serve(request, data, rest)
        except BadRequest as bad:
            desk.counters[Count.REFUSED] += 1
            self.refuse(problem(bad.status, "bad_request", str(bad)))

    def _serve(self, request: Request, data: bytes | bytearray, rest: bytes) -> None:
        desk = self.desk
        if desk.origins is not None:
            self.permission = desk.origins.permission(request.fields)
        if request.method != "GET":
            self._not_get(request, rest)
        elif request.path == "/v1/connect":
            head, codec = answer_upgrade(request)
            desk.upgrades.keep(bytes(data), request, head, codec)
            self._switch(request, head, codec, rest)
        elif request.path == "/v1/inbox":
            self.address = self._address(request)
            if self._admitted(self.address, counted=self.place is None):
                if rest:
                    self.buffer = bytearray(rest)
                elif self.head is None and request.keep_alive:
                    self.head = (bytes(data[data.find(b"\r\n") :]), request)
                desk.polls.begin(self, request)
        elif request.path == "/healthz":
            state = b'{"status":"draining"}' if desk.draining else b'{"status":"ok"}'
            if rest:
                self.buffer = bytearray(rest)
            self.respond(answer(200, state, keep_alive=request.keep_alive), keep_alive=request.keep_alive)
        else:
            self.refuse(problem(404, "not_found", "nothing is served under this path"))

    def _not_get(self, request: Request, rest: bytes) -> None:
        """Only a browser's question before it polls is answered."""
        asked = request.method == "OPTIONS" and request.path == "/v1/inbox" and asks_first(request.fields)
        if self.desk.origins is None or not asked:
            self.refuse(problem(405, "method_not_allowed", "only GET is spoken here"))
            return
        if rest:
            self.buffer = bytearray(rest)
        self.respond(preflight(self.permission, keep_alive=request.keep_alive), keep_alive=request.keep_alive)

    def _switch(self, request: Request, head: bytes, codec: Codec, rest: bytes) -> None:
        address = self._address(request)
        if not self._admitted(address, counted=True):
            return
        desk = self.desk
        transport = self.transport
        self._forget()
        line = Line(desk, transport, codec, address if desk.trusted else None)
        transport.set_protocol(line)
        transport.write(head)
        desk.counters[_UPGRADED] += 1
        if rest:
            line.data_received(rest)

    def _admitted(self, address: str, *, counted: bool) -> bool:
        desk = self.desk
        status = None
        if desk.draining:
            status = 503
        elif counted:
            status = desk.pressure.admit(address, desk.now)
        if status is None:
            return True
        desk.counters[Count.REFUSED] += 1
        code = "draining" if desk.draining else "overloaded" if status == 503 else "too_many_connections"
        detail = "this gateway takes no further connections now"
        self.refuse(problem(status, code, detail, retry_after_s=desk.pressure.come_back_s()))
        return False

    def _address(self, request: Request) -> str:
        address = peer_of(self.transport)
        if self.desk.trusted and address and self._trusted(address):
            # From the right: the first that is none of our own balancers is the device.
            for forwarded in reversed(request.fields.get("x-forwarded-for", "").split(",")):
                try:
                    address = str(ip_address(forwarded.strip()))
                except ValueError:
                    break
                if not self._trusted(address):
                    break
        return address

    def _trusted(self, address: str) -> bool:
        found = ip_address(address.partition("%")[0])
        return any(found in network for network in self.desk.trusted)
