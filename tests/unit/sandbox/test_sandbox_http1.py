"""HTTP/1.1 on one connection: order, faults, limits."""

from typing import Any

import pytest

from providers.sandbox.wire.exchange import Answer, Request, Wire
from providers.sandbox.wire.http1_connection import Http1Connection


class Line:
    """A transport that remembers."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class Keeper:
    """Answers nothing by itself."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def take(self, request: Request) -> None:
        self.requests.append(request)

    def initial_streams(self) -> int:
        return 1


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def connection(line: Any, keeper: Keeper) -> Http1Connection:
    connection = Http1Connection(keeper, 1, lambda: None)
    connection.connection_made(line)
    return connection


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def test_pipelined_requests_are_answered_in_order(connection: Http1Connection, line: Line, keeper: Keeper) -> None:
    connection.data_received(get("/1") + get("/2"))
    assert [request.path for request in keeper.requests] == ["/1", "/2"]
    connection.answer(2, Answer(200, (), b"two"))
    assert line.written == b""
    connection.answer(1, Answer(200, (), b"one"))
    assert line.written.index(b"one") < line.written.index(b"two")


def test_bodies_may_come_in_bits_and_chunks(connection: Http1Connection, keeper: Keeper) -> None:
    data = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    for place in range(len(data)):
        connection.data_received(data[place : place + 1])
    assert (keeper.requests[0].method, keeper.requests[0].path, keeper.requests[0].body) == ("POST", "/a", b"abcde")


def test_an_offered_upgrade_is_declined_with_its_body_intact(connection: Http1Connection, keeper: Keeper) -> None:
    headers = (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 5\r\n"
    )
    connection.data_received(b"POST /a HTTP/1.1\r\n" + headers + b"\r\nhel")
    assert keeper.requests == []
    connection.data_received(b"lo" + get("/b"))
    assert [(request.path, request.body) for request in keeper.requests] == [("/a", b"hello"), ("/b", b"")]


def test_going_away_says_so_in_the_last_answer(connection: Http1Connection, line: Line) -> None:
    connection.data_received(get("/1"))
    connection.go_away(1)
    connection.answer(1, Answer(200, (), b"x"))
    assert b"connection: close" in line.written
    assert line.closed


def test_a_client_that_wants_to_close_is_closed(connection: Http1Connection, line: Line) -> None:
    connection.data_received(get("/1", "Connection: close"))
    connection.answer(1, Answer(200, (), b"x"))
    assert line.closed


def test_continue_is_said_before_a_large_body(connection: Http1Connection, line: Line) -> None:
    connection.data_received(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
    assert line.written == b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nContent-Length: 300000\r\n\r\n" + b"z" * 300_000, 413),
    ],
)
def test_what_is_too_much_or_no_http_is_refused(
    connection: Http1Connection, line: Line, keeper: Keeper, data: bytes, status: int
) -> None:
    connection.data_received(data)
    assert line.written.startswith(b"HTTP/1.1 %d " % status)
    assert line.closed
    assert keeper.requests == []


@pytest.mark.parametrize(
    ("wire", "given", "aborted", "written"),
    [
        (Wire.WHOLE, True, False, b"abcd"),
        (Wire.SPLIT, True, False, b"abcd"),
        (Wire.STALL, False, False, b"ab"),
        (Wire.RESET, False, True, b""),
        (Wire.CLOSE, False, True, b""),
        (Wire.SILENT, False, False, b""),
    ],
)
def test_wire_faults(
    connection: Http1Connection, line: Line, wire: Wire, given: bool, aborted: bool, written: bytes
) -> None:
    connection.data_received(get("/1"))
    assert connection.answer(1, Answer(200, (), b"abcd", wire=wire)) is given
    assert line.aborted is aborted
    assert line.written.partition(b"\r\n\r\n")[2] == written
