"""The HTTP/2 core against the h2 library as the client: the judge is not ours."""

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.sandbox.wire import frames
from providers.sandbox.wire.frames import frame
from providers.sandbox.wire.http2 import Http2Core, RequestReceived

HEADERS = [(":method", "POST"), (":scheme", "https"), (":path", "/3/device/aa"), (":authority", "localhost")]
SETTINGS = frame(frames.SETTINGS, 0, 0)
OPENING = frames.PREFACE + SETTINGS
#: POST https / as static table indexes.
BLOCK = b"\x83\x87\x84"


class Pair:
    """An h2 client and our core, joined by hand."""

    def __init__(self, streams: int = 100, window: int | None = None) -> None:
        self.core = Http2Core(streams)
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.client.initiate_connection()
        if window is not None:
            self.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.requests: list[RequestReceived] = []
        self.events: list[h2.events.Event] = []

    def exchange(self) -> "Pair":
        """Pass bytes both ways until nobody has any."""
        while True:
            up, down = self.client.data_to_send(), self.core.take_output()
            if not up and not down:
                return self
            self.requests += self.core.receive(up)
            self.events += self.client.receive_data(down) if down else []

    def post(self, body: bytes = b"{}", **fields: str) -> int:
        stream = self.client.get_next_available_stream_id()
        extra = [(name.replace("_", "-"), value) for name, value in fields.items()]
        self.client.send_headers(stream, HEADERS + extra, end_stream=not body)
        if body:
            self.client.send_data(stream, body, end_stream=True)
        return stream

    def of(self, kind: type[h2.events.Event]) -> list[h2.events.Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def received(self, stream: int) -> bytes:
        data = (event for event in self.events if isinstance(event, h2.events.DataReceived))
        return b"".join(event.data or b"" for event in data if event.stream_id == stream)


def test_a_request_and_its_answer_arrive_whole() -> None:
    pair = Pair().exchange()
    stream = pair.post(b'{"aps":{}}', apns_id="x")
    pair.exchange()
    (request,) = pair.requests
    assert (request.stream, request.head.method, request.head.path, request.body) == (
        stream,
        "POST",
        "/3/device/aa",
        b'{"aps":{}}',
    )
    assert request.head.headers == [(b"apns-id", b"x"), (b"host", b"localhost")]
    assert pair.core.respond(stream, 410, ((b"apns-id", b"x"),), b'{"reason":"Unregistered"}')
    pair.exchange()
    (response,) = pair.of(h2.events.ResponseReceived)
    assert isinstance(response, h2.events.ResponseReceived)
    assert [tuple(map(str, header)) for header in response.headers or []] == [(":status", "410"), ("apns-id", "x")]
    assert pair.received(stream) == b'{"reason":"Unregistered"}'
    assert len(pair.of(h2.events.StreamEnded)) == 1
    assert not pair.core.respond(stream, 200, (), b"")


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40))
def test_bytes_may_be_cut_anywhere(sizes: list[int]) -> None:
    pair = Pair()
    for number in range(3):
        pair.post(b"x" * number)
    data, core, requests = pair.client.data_to_send(), Http2Core(100), []
    while data:
        size = sizes[len(data) % len(sizes)]
        requests += core.receive(data[:size])
        data = data[size:]
    assert [request.body for request in requests] == [b"", b"x", b"xx"]
    assert not core.closed


@pytest.mark.parametrize("window", [1, 7, 100_000])
def test_answers_wait_for_the_clients_window(window: int) -> None:
    pair, body = Pair(window=window).exchange(), b"0123456789" * 3000
    stream = pair.post()
    pair.exchange()
    pair.core.respond(stream, 200, (), body)
    pair.exchange()
    while len(pair.received(stream)) < len(body):
        before = len(pair.received(stream))
        pair.client.increment_flow_control_window(4000, stream)
        pair.client.increment_flow_control_window(4000)
        pair.exchange()
        assert len(pair.received(stream)) > before
    assert pair.received(stream) == body
    assert len(pair.of(h2.events.StreamEnded)) == 1


def test_a_client_that_never_acknowledges_data_gets_no_more_than_its_window() -> None:
    pair, body = Pair(streams=2000).exchange(), b"x" * 100
    streams = []
    for _ in range(1000):
        streams.append(pair.post())
        pair.exchange()
        pair.core.respond(streams[-1], 400, (), body)
        pair.exchange()
    assert sum(len(pair.received(stream)) for stream in streams) == 65_535


def test_bodies_beyond_the_first_window_are_taken() -> None:
    pair, body = Pair().exchange(), b"y" * 200_000
    stream = pair.client.get_next_available_stream_id()
    pair.client.send_headers(stream, HEADERS)
    left = body
    while left:
        room = min(pair.client.local_flow_control_window(stream), 16_384)
        assert room > 0
        pair.client.send_data(stream, left[:room], end_stream=len(left) <= room)
        left = left[room:]
        pair.exchange()
    assert pair.requests[0].body == body


def test_padding_trailers_and_continuations_are_understood() -> None:
    pair = Pair().exchange()
    stream = pair.client.get_next_available_stream_id()
    pair.client.send_headers(stream, [*HEADERS, ("x-long", "x" * 20_000)])
    pair.client.send_data(stream, b"ab", pad_length=200)
    pair.client.send_data(stream, b"cd")
    pair.client.send_headers(stream, [("x-checksum", "1")], end_stream=True)
    pair.exchange()
    assert pair.requests[0].body == b"abcd"


def test_one_stream_until_more_are_allowed() -> None:
    pair = Pair(streams=1).exchange()
    assert pair.client.remote_settings.max_concurrent_streams == 1
    pair.post()
    with pytest.raises(h2.exceptions.TooManyStreamsError):
        pair.post()
    pair.core.allow_streams(1000)
    pair.exchange()
    pair.post()
    pair.exchange()
    assert len(pair.requests) == 2


def test_streams_beyond_an_acknowledged_limit_are_refused_and_earlier_ones_are_not() -> None:
    headers = [frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, BLOCK) for stream in (1, 3, 5)]
    core = Http2Core(1)
    assert len(core.receive(OPENING + headers[0] + headers[1])) == 2
    core.take_output()
    assert core.receive(frame(frames.SETTINGS, frames.ACK, 0) + headers[2]) == []
    assert core.take_output() == frame(frames.RST_STREAM, 0, 5, (frames.REFUSED_STREAM).to_bytes(4, "big"))


def test_a_reset_stream_takes_no_answer() -> None:
    pair = Pair().exchange()
    stream = pair.post()
    pair.exchange()
    pair.client.reset_stream(stream)
    pair.exchange()
    assert not pair.core.respond(stream, 200, (), b"")


def test_our_reset_and_goaway_are_understood() -> None:
    pair = Pair().exchange()
    first, second = pair.post(), pair.post()
    pair.exchange()
    pair.core.reset(second)
    pair.core.respond(first, 200, (), b"")
    pair.core.go_away(first)
    pair.exchange()
    (reset,), (gone,) = pair.of(h2.events.StreamReset), pair.of(h2.events.ConnectionTerminated)
    assert isinstance(reset, h2.events.StreamReset)
    assert isinstance(gone, h2.events.ConnectionTerminated)
    assert (reset.stream_id, gone.last_stream_id) == (second, first)


def test_pings_are_answered() -> None:
    pair = Pair().exchange()
    pair.client.ping(b"12345678")
    assert len(pair.exchange().of(h2.events.PingAckReceived)) == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", frames.PROTOCOL_ERROR),
        (frames.PREFACE + frame(frames.PING, 0, 0, b"12345678"), frames.PROTOCOL_ERROR),
        (OPENING + frame(frames.DATA, 0, 1, b"x"), frames.PROTOCOL_ERROR),
        (OPENING + frame(frames.DATA, 0, 0, b"x"), frames.PROTOCOL_ERROR),
        (OPENING + frame(frames.HEADERS, frames.END_HEADERS, 2, BLOCK), frames.PROTOCOL_ERROR),
        (OPENING + frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff"), frames.COMPRESSION_ERROR),
        (OPENING + frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x80"), frames.COMPRESSION_ERROR),
        (OPENING + frame(frames.HEADERS, 0, 1, BLOCK) + SETTINGS, frames.PROTOCOL_ERROR),
        (OPENING + frame(frames.CONTINUATION, 0, 1, BLOCK), frames.PROTOCOL_ERROR),
        (
            OPENING + frame(frames.HEADERS, frames.END_HEADERS | frames.PADDED, 1, b"\x09" + BLOCK),
            frames.PROTOCOL_ERROR,
        ),
        (OPENING + frame(frames.PUSH_PROMISE, 0, 1, b"\0\0\0\2"), frames.PROTOCOL_ERROR),
        (OPENING + frame(frames.RST_STREAM, 0, 1, b"\0\0\0\0"), frames.PROTOCOL_ERROR),
        (OPENING + frame(frames.RST_STREAM, 0, 1, b"\0"), frames.FRAME_SIZE_ERROR),
        (OPENING + frame(frames.WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), frames.PROTOCOL_ERROR),
        (OPENING + frame(frames.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), frames.FLOW_CONTROL_ERROR),
        (OPENING + frame(frames.PING, 0, 0, b"short"), frames.FRAME_SIZE_ERROR),
        (OPENING + frame(frames.SETTINGS, 0, 0, b"12345"), frames.FRAME_SIZE_ERROR),
        (OPENING + frame(frames.SETTINGS, 0, 1), frames.PROTOCOL_ERROR),
        (OPENING + frame(frames.SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff"), frames.FLOW_CONTROL_ERROR),
        (OPENING + frame(frames.DATA, 0, 1, b"x" * 16_385), frames.FRAME_SIZE_ERROR),
    ],
)
def test_connection_errors_end_in_goaway(data: bytes, code: int) -> None:
    core = Http2Core(100)
    assert core.receive(data) == []
    assert core.closed
    output = core.take_output()
    goaway = output.rindex(frame(frames.GOAWAY, 0, 0)[3:9])
    assert int.from_bytes(output[goaway + 10 : goaway + 14], "big") == code


@pytest.mark.parametrize(
    "block",
    [
        b"\x83\x87",  # no path
        b"\x83\x83\x87\x84",  # method twice
        b"\x83\x87\x84\x00\x01A\x01b",  # an upper-case name
        b"\x83\x87\x84\x00\x0aconnection\x01b",
        b"\x83\x87\x00\x01a\x01b\x84",  # a pseudo-header behind a regular one
        b"\x83\x87\x84\x00\x0econtent-length\x015",  # five bytes announced, none sent
    ],
)
def test_malformed_requests_reset_their_stream_only(block: bytes) -> None:
    core = Http2Core(100)
    data = OPENING + frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, block)
    assert core.receive(data) == []
    assert not core.closed
    assert core.take_output().endswith(frame(frames.RST_STREAM, 0, 1, (frames.PROTOCOL_ERROR).to_bytes(4, "big")))


@given(st.binary(max_size=200), st.integers(0, 10), st.integers(0, 255), st.integers(0, 5))
def test_no_bytes_make_it_raise(payload: bytes, kind: int, flags: int, stream: int) -> None:
    core = Http2Core(100)
    core.receive(OPENING + frame(frames.HEADERS, frames.END_HEADERS, 1, BLOCK))
    core.receive(frame(kind, flags, stream, payload) + payload)
    core.respond(1, 200, (), b"x")
    core.take_output()
