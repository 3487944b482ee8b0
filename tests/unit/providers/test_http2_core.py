"""Our HTTP/2 against the h2 library as the other end: what was processed is known exactly."""

from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.http2.core import Core
from providers.http2.exchange import Cause, Kind, Reply, TransportFault
from providers.http2.frames import Broken, frame
from providers.http2.streams import Ended

HEADERS = [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/p"), ("apns-topic", "t")]


class Pair:
    """A client of ours and a server of h2's, with the wire between them."""

    def __init__(self, **server_settings: int) -> None:
        self.client = Core()
        self.server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        named = {getattr(SettingCodes, name.upper()): value for name, value in server_settings.items()}
        self.server.local_settings = Settings(
            client=False, initial_values={SettingCodes.MAX_FRAME_SIZE: 16_384, **named}
        )
        self.server.initiate_connection()
        self.requests: dict[int, dict[str, Any]] = {}
        self.ended: list[Ended] = []
        self.pump()

    def pump(self, chunk: int = 1 << 20, *, grant: bool = True) -> None:
        """Carries bytes both ways until neither side has anything to say."""
        while True:
            up, down = self.client.take_output(), self.server.data_to_send()
            if not up and not down:
                return
            for event in self.server.receive_data(up) if up else []:
                if isinstance(event, h2.events.RequestReceived):
                    self.requests[event.stream_id] = {"headers": dict(event.headers), "body": b""}
                elif isinstance(event, h2.events.DataReceived):
                    self.requests[event.stream_id]["body"] += event.data
                    if grant and event.flow_controlled_length:
                        self.server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            for at in range(0, len(down), chunk):
                self.ended += self.client.receive(down[at : at + chunk])

    def answer(self, stream: int, status: int = 200, body: bytes = b"", *, pieces: int = 1) -> None:
        self.server.send_headers(stream, [(":status", str(status)), ("apns-id", "x")], end_stream=not body)
        for place in range(pieces if body else 0):
            size = -(-len(body) // pieces)
            self.server.send_data(stream, body[place * size : (place + 1) * size], end_stream=place == pieces - 1)

    def faults(self) -> dict[int, tuple[Kind, Cause]]:
        return {
            end.stream.id: (end.answer.kind, end.answer.cause)
            for end in self.ended
            if isinstance(end.answer, TransportFault)
        }


def test_a_request_arrives_as_sent_and_its_answer_comes_back() -> None:
    pair = Pair()
    pair.client.start(HEADERS, b"body", "ticket")
    pair.pump()
    assert pair.requests[1]["body"] == b"body"
    assert pair.requests[1]["headers"][b":path"] == b"/p"
    pair.answer(1, 400, b'{"reason":"x"}', pieces=2)
    pair.pump()
    (end,) = pair.ended
    assert end.stream.ticket == "ticket"
    assert isinstance(end.answer, Reply)
    assert (end.answer.status, end.answer.body) == (400, b'{"reason":"x"}')
    assert end.answer.headers["apns-id"] == "x"


def test_no_request_leaves_before_the_peers_settings() -> None:
    assert not Core().room(0)
    assert Pair(max_concurrent_streams=1).client.room(0)


def test_the_peers_stream_count_is_obeyed() -> None:
    pair = Pair(max_concurrent_streams=1)
    pair.client.start(HEADERS, b"", None)
    assert not pair.client.room(0)
    pair.pump()
    pair.answer(1)
    pair.server.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 3})
    pair.pump()
    for _ in range(3):
        assert pair.client.room(0)
        pair.client.start(HEADERS, b"", None)
    assert not pair.client.room(0)


def test_above_goaway_nothing_was_processed_and_below_it_nobody_knows() -> None:
    pair = Pair()
    for _ in range(5):
        pair.client.start(HEADERS, b"x", None)
    pair.pump()
    pair.answer(1)
    pair.server.close_connection(last_stream_id=5)
    pair.pump()
    assert pair.faults() == {7: (Kind.NEVER_SENT, Cause.GOAWAY_ABOVE), 9: (Kind.NEVER_SENT, Cause.GOAWAY_ABOVE)}
    assert not pair.client.room(0)
    pair.ended += pair.client.lost(Cause.LOST)
    assert pair.faults()[3] == (Kind.UNKNOWN, Cause.GOAWAY_BELOW)
    assert pair.faults()[5] == (Kind.UNKNOWN, Cause.GOAWAY_BELOW)


def test_a_graceful_goodbye_lets_what_is_under_way_end() -> None:
    pair = Pair()
    pair.client.start(HEADERS, b"x", None)
    pair.pump()
    pair.ended += pair.client.receive(frame(7, 0, 0, b"\x7f\xff\xff\xff\x00\x00\x00\x00"))
    pair.answer(1)
    pair.pump()
    assert [isinstance(end.answer, Reply) for end in pair.ended] == [True]


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (ErrorCodes.REFUSED_STREAM, (Kind.NEVER_SENT, Cause.REFUSED)),
        (ErrorCodes.CANCEL, (Kind.UNKNOWN, Cause.RESET)),
        (ErrorCodes.INTERNAL_ERROR, (Kind.UNKNOWN, Cause.RESET)),
        (ErrorCodes.NO_ERROR, (Kind.UNKNOWN, Cause.RESET)),
    ],
)
def test_only_a_refused_stream_was_certainly_left_alone(code: ErrorCodes, fault: tuple[Kind, Cause]) -> None:
    pair = Pair()
    pair.client.start(HEADERS, b"x", None)
    pair.pump()
    pair.server.reset_stream(1, code)
    pair.pump()
    assert pair.faults() == {1: fault}
    assert pair.client.room(0)


def test_a_lost_connection_leaves_all_unknown() -> None:
    pair = Pair()
    for _ in range(3):
        pair.client.start(HEADERS, b"x", None)
    assert {end.answer.kind for end in pair.client.lost(Cause.LOST) if isinstance(end.answer, TransportFault)} == {
        Kind.UNKNOWN
    }
    assert not pair.client.streams


@settings(max_examples=60, deadline=None)
@given(
    bodies=st.lists(st.binary(max_size=5_000), min_size=1, max_size=40),
    window=st.integers(1, 70_000),
    chunk=st.integers(1, 4_000),
)
def test_every_body_arrives_whole_through_any_window(bodies: list[bytes], window: int, chunk: int) -> None:
    pair = Pair(initial_window_size=window)
    waiting = list(bodies)
    sent: dict[int, bytes] = {}
    for _ in range(10_000):
        while waiting and pair.client.room(len(waiting[0])):
            body = waiting.pop(0)
            sent[pair.client.start(HEADERS, body, None).id] = body
        pair.pump(chunk)
        for stream in [found for found in sent if found in pair.client.streams]:
            if pair.requests[stream]["body"] == sent[stream]:
                pair.answer(stream, 410, b"gone" * 200)
        if not waiting and not pair.client.streams:
            break
    pair.pump(chunk)
    assert {stream: pair.requests[stream]["body"] for stream in sent} == sent
    assert len(pair.ended) == len(bodies)
    assert all(isinstance(end.answer, Reply) and end.answer.body == b"gone" * 200 for end in pair.ended)


def test_six_thousand_error_answers_with_bodies_stall_nothing() -> None:
    pair = Pair(max_concurrent_streams=100)
    for _ in range(60):
        streams = [pair.client.start(HEADERS, b"x" * 300, None).id for _ in range(100)]
        pair.pump()
        for stream in streams:
            pair.answer(stream, 410, b"y" * 4_000)
        pair.pump()
    assert len(pair.ended) == 6_000
    assert not pair.client.streams


def test_a_dropped_stream_is_reset_and_its_late_answer_ignored() -> None:
    pair = Pair()
    stream = pair.client.start(HEADERS, b"x", None)
    pair.client.drop(stream)
    assert frame(3, 0, 1, b"\0\0\0\x08") in pair.client.take_output()
    assert pair.client.receive(frame(1, 0x5, 1, b"\x88")) == []
    assert pair.client.receive(frame(0, 0x1, 1, b"late")) == []


def test_an_interim_answer_is_not_the_answer() -> None:
    pair = Pair()
    pair.client.start(HEADERS, b"", None)
    pair.pump()
    assert pair.client.receive(frame(1, 0x4, 1, b"\x08\x03103")) == []
    (end,) = pair.client.receive(frame(1, 0x5, 1, b"\x88"))
    assert isinstance(end.answer, Reply)
    assert end.answer.status == 200


def test_a_block_in_pieces_with_padding_and_priority_is_read() -> None:
    pair = Pair()
    pair.client.start(HEADERS, b"", None)
    pair.pump()
    padded = b"\x02" + b"\x00\x00\x00\x00\x10" + b"\x88" + b"\0\0"
    assert pair.client.receive(frame(1, 0x1 | 0x8 | 0x20, 1, padded)) == []
    (end,) = pair.client.receive(frame(9, 0x4, 1, b"\x00\x01a\x01b"))
    assert isinstance(end.answer, Reply)
    assert end.answer.headers == {"a": "b"}


@pytest.mark.parametrize(
    "data",
    [
        frame(1, 0x5, 99, b"\x88"),  # a stream that never was
        frame(1, 0x5, 2, b"\x88"),
        frame(5, 0x4, 1, b"\0\0\0\2\x82"),  # a push
        frame(8, 0, 0, b"\0\0\0\0"),  # a window update of nothing
        frame(8, 0, 0, b"\x7f\xff\xff\xff"),  # a window beyond 2^31
        frame(4, 0, 0, b"12345"),
        frame(6, 0, 0, b"short"),
        frame(7, 0, 0, b"\0"),
        frame(9, 0x4, 1, b""),  # a continuation of nothing
        frame(1, 0x1, 1, b"\x88") + frame(6, 0, 0, b"12345678"),  # an interrupted block
        frame(1, 0x5, 1, b"\xbe"),  # an entry of a table we never granted
        frame(0, 0x8, 1, b"\xff"),  # more padding than payload
        b"\x00\x40\x01" + b"\0" * 6,  # a frame beyond 16 KiB
        frame(3, 0, 1, b"\0"),
    ],
)
def test_a_peer_that_breaks_the_rules_is_left(data: bytes) -> None:
    pair = Pair()
    pair.client.start(HEADERS, b"", None)
    pair.pump()
    with pytest.raises(Broken):
        pair.client.receive(data)


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_garbage_never_does_more_than_end_the_connection(data: bytes) -> None:
    pair = Pair()
    pair.client.start(HEADERS, b"x", None)
    pair.pump()
    try:
        pair.client.receive(data)
    except Broken:
        assert len(pair.client.lost(Cause.PROTOCOL)) <= 1


def test_a_ping_is_answered_and_ours_is_counted() -> None:
    pair = Pair()
    pair.client.ping()
    assert pair.client.pings_open == 1
    pair.pump()
    assert pair.client.pings_open == 0
    pair.client.receive(frame(6, 0, 0, b"12345678"))
    assert frame(6, 0x1, 0, b"12345678") in pair.client.take_output()
