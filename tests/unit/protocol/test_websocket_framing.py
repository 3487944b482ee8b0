"""RFC 6455 framing, both directions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.protocol.close_codes import Advice, CloseCode, advice_for, may_be_received
from dispatcher.protocol.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FAULT,
    PING,
    PONG,
    TEXT,
    FrameReader,
    WireEvent,
    close_payload,
    encode_frame,
    read_close,
    whole_text,
)

MASK = b"\x37\xfa\x21\x3d"


def server_reader(limit: int = 65_536) -> FrameReader:
    return FrameReader(masked=True, limit=limit)


def masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    return encode_frame(opcode, payload, MASK, fin=fin)


def fault_of(events: list[WireEvent]) -> int:
    opcode, payload = events[-1]
    assert opcode == FAULT
    return read_close(payload)[0]


def test_the_rfcs_own_masked_hello_is_read() -> None:
    assert server_reader().feed(bytes.fromhex("818537fa213d7f9f4d5158")) == [(TEXT, b"Hello")]


def test_the_rfcs_own_fragmented_hello_is_read() -> None:
    reader = FrameReader(masked=False, limit=100)
    assert reader.feed(bytes.fromhex("010348656c")) == []
    assert reader.feed(bytes.fromhex("80026c6f")) == [(TEXT, b"Hello")]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just(TEXT), st.text(max_size=300).map(str.encode)),
            st.tuples(st.just(BINARY), st.binary(max_size=70_000)),
            st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125)),
        ),
        max_size=6,
    ),
    st.lists(st.integers(1, 4_000), min_size=1, max_size=20),
    st.booleans(),
    st.binary(min_size=4, max_size=4),
)
def test_messages_arrive_whole_however_the_bytes_are_cut(messages: Any, cuts: Any, from_client: Any, mask: Any) -> None:
    reader = FrameReader(masked=from_client, limit=1 << 20)
    stream = b"".join(encode_frame(opcode, payload, mask if from_client else None) for opcode, payload in messages)
    events: list[WireEvent] = []
    at = turn = 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        events += reader.feed(stream[at : at + size])
        at += size
        turn += 1
    assert events == messages


@given(st.text(min_size=1, max_size=60), st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_text_fragmented_inside_characters_with_pings_between_stays_one_message(text: str, cuts: Any) -> None:
    payload = text.encode()
    parts: list[bytes] = []
    at = 0
    for cut in cuts:
        parts.append(payload[at : at + cut])
        at += cut
    parts.append(payload[at:])
    reader = server_reader()
    events: list[WireEvent] = []
    for index, part in enumerate(parts):
        events += reader.feed(masked(CONTINUATION if index else TEXT, part, fin=index == len(parts) - 1))
        if index < len(parts) - 1:
            events += reader.feed(masked(PING, b"between"))
    assert events[-1] == (TEXT, payload)
    assert [event for event in events if event[0] == PING] == [(PING, b"between")] * (len(parts) - 1)


@given(st.binary(max_size=400), st.booleans())
def test_garbage_never_raises_and_nothing_follows_its_end(garbage: Any, from_client: Any) -> None:
    reader = FrameReader(masked=from_client, limit=500)
    events = reader.feed(garbage)
    if events and events[-1][0] in {CLOSE, FAULT}:
        assert reader.feed(masked(TEXT, b"late")) == []


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        pytest.param(encode_frame(TEXT, b"naked"), CloseCode.PROTOCOL_FAULT, id="unmasked"),
        pytest.param(b"\xc1\x80" + MASK, CloseCode.PROTOCOL_FAULT, id="rsv1, as permessage-deflate would"),
        pytest.param(b"\xa1\x80" + MASK, CloseCode.PROTOCOL_FAULT, id="rsv2"),
        pytest.param(b"\x91\x80" + MASK, CloseCode.PROTOCOL_FAULT, id="rsv3"),
        pytest.param(b"\x83\x80" + MASK, CloseCode.PROTOCOL_FAULT, id="unknown data opcode"),
        pytest.param(b"\x8b\x80" + MASK, CloseCode.PROTOCOL_FAULT, id="unknown control opcode"),
        pytest.param(b"\x09\x80" + MASK, CloseCode.PROTOCOL_FAULT, id="fragmented ping"),
        pytest.param(b"\x89\xfe\x00\x7e" + MASK + b"x" * 126, CloseCode.PROTOCOL_FAULT, id="ping of 126 bytes"),
        pytest.param(masked(CONTINUATION, b"?"), CloseCode.PROTOCOL_FAULT, id="continuation of nothing"),
        pytest.param(masked(TEXT, b"a", fin=False) + masked(TEXT, b"b"), CloseCode.PROTOCOL_FAULT, id="text in text"),
        pytest.param(b"\x82\xfe\x00\x05" + MASK + b"x" * 5, CloseCode.PROTOCOL_FAULT, id="length not shortest (16)"),
        pytest.param(b"\x82\xff" + (5).to_bytes(8, "big") + MASK, CloseCode.PROTOCOL_FAULT, id="length not shortest"),
        pytest.param(b"\x82\xff\x80" + bytes(7) + MASK, CloseCode.PROTOCOL_FAULT, id="length with its top bit"),
        pytest.param(masked(TEXT, b"\xff"), CloseCode.BAD_UTF8, id="bad UTF-8"),
        pytest.param(masked(TEXT, "\ud800".encode("utf-8", "surrogatepass")), CloseCode.BAD_UTF8, id="a surrogate"),
        pytest.param(masked(TEXT, "é".encode()[:1]), CloseCode.BAD_UTF8, id="half a character"),
        pytest.param(masked(TEXT, b"\xce\xba\xff", fin=False), CloseCode.BAD_UTF8, id="bad in a fragment, at once"),
        pytest.param(masked(CLOSE, b"\x03"), CloseCode.PROTOCOL_FAULT, id="half a close code"),
        pytest.param(masked(CLOSE, b"\x03\xe8\xff"), CloseCode.BAD_UTF8, id="close reason in bad UTF-8"),
    ],
)
def test_a_broken_stream_ends_with_its_code(stream: Any, code: int) -> None:
    assert fault_of(server_reader().feed(stream)) == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535])
def test_close_codes_that_may_not_be_sent_are_a_fault(code: int) -> None:
    assert not may_be_received(code)
    assert fault_of(server_reader().feed(masked(CLOSE, close_payload(code)))) == CloseCode.PROTOCOL_FAULT


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_every_other_close_code_is_heard(code: int) -> None:
    ((opcode, payload),) = server_reader().feed(masked(CLOSE, close_payload(code, "why")))
    assert (opcode, read_close(payload)) == (CLOSE, (code, "why"))


def test_an_empty_close_reads_as_no_code() -> None:
    ((opcode, payload),) = server_reader().feed(masked(CLOSE, b""))
    assert (opcode, read_close(payload)[0]) == (CLOSE, CloseCode.NO_CODE)


def test_too_big_is_known_from_the_header_alone() -> None:
    head = b"\x82\xff" + (1 << 20).to_bytes(8, "big")
    assert fault_of(server_reader().feed(head)) == CloseCode.TOO_BIG


def test_fragments_together_may_not_pass_the_limit() -> None:
    reader = server_reader(limit=100)
    assert reader.feed(masked(BINARY, bytes(60), fin=False)) == []
    assert fault_of(reader.feed(masked(CONTINUATION, bytes(41)))) == CloseCode.TOO_BIG


def test_the_limit_itself_fits() -> None:
    assert server_reader(limit=100).feed(masked(BINARY, bytes(100))) == [(BINARY, bytes(100))]


def test_what_came_before_a_fault_is_still_heard() -> None:
    events = server_reader().feed(masked(TEXT, b"first") + masked(PING, b"p") + b"\xc1\x80" + MASK)
    assert [event[0] for event in events] == [TEXT, PING, FAULT]


def test_a_close_reason_is_cut_at_a_characters_edge() -> None:
    payload = close_payload(4003, "é" * 100)
    assert len(payload) <= 125
    assert read_close(payload)[1] == "é" * 61


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (1001, Advice.RECONNECT),
        (1012, Advice.RECONNECT),
        (1006, Advice.RECONNECT),
        (4008, Advice.RECONNECT),
        (1008, Advice.RETRY_LATER),
        (1013, Advice.RETRY_LATER),
        (4003, Advice.RETRY_LATER),
        (4001, Advice.NEW_TOKEN),
        (4002, Advice.STOP),
        (4010, Advice.STOP),
        (4999, Advice.RECONNECT),
    ],
)
def test_a_close_code_says_what_the_peer_should_do(code: int, advice: Any) -> None:
    assert advice_for(code) is advice


@given(
    st.one_of(
        st.binary(max_size=40),
        st.builds(
            lambda first, payload, cut, more: (bytes([first]) + masked(TEXT, payload)[1:])[:cut] + more,
            st.sampled_from([0x81, 0x81, 0x82, 0x01, 0xC1, 0x88, 0x89]),
            st.one_of(st.binary(max_size=300), st.text(max_size=90).map(str.encode)),
            st.sampled_from([None, None, -1, 5]),
            st.sampled_from([b"", b"", b"\x81", b"\x89\x80abcd"]),
        ),
    )
)
def test_what_passes_without_a_reader_is_what_a_reader_would_say(data: bytes) -> None:
    text = whole_text(data, 200)
    reader = server_reader(200)
    events = reader.feed(data)
    if text is not None:
        assert events == [(TEXT, text)]
        assert reader.idle
    elif len(events) == 1 and events[0][0] == TEXT and reader.idle:
        assert not events[0][1] or not events[0][1].isascii() or len(data) > len(masked(TEXT, events[0][1]))


@pytest.mark.parametrize("size", [1, 125, 126, 65_535, 65_536])
def test_whole_messages_of_every_length_form_are_found(size: int) -> None:
    data = masked(TEXT, b"a" * size)
    assert whole_text(data, 65_535) == (b"a" * size if size <= 65_535 else None)
    assert whole_text(data, size - 1) is None
    assert whole_text(b"\x81\xfe\x00\x05" + MASK + b"abcde", 65_535) is None  # not the shortest form
