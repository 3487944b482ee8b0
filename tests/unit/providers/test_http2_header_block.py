"""Our HPACK against the hpack library as the oracle."""

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from providers.http2 import header_block
from providers.http2.header_block import BadBlock, decode, integer, status_of

NAMES = st.sampled_from(
    [":path", ":authority", "authorization", "apns-topic", "apns-priority", "content-type", "apns-id", "x-other"]
)
HEADERS = st.lists(
    st.tuples(NAMES, st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=300)), max_size=8
)


@given(st.lists(HEADERS, min_size=1, max_size=30), st.integers(0, 30))
def test_another_hpack_reads_every_block_in_turn(requests: list[list[tuple[str, str]]], shrink_at: int) -> None:
    encoder, oracle = header_block.Encoder(), Decoder()
    for place, headers in enumerate(requests):
        if place == shrink_at:
            encoder.limit(0)
            oracle.max_allowed_table_size = 0
        fixed = [(":method", "POST"), (":scheme", "https"), *headers]
        assert [(str(name), str(value)) for name, value in oracle.decode(encoder.encode(fixed))] == fixed


def test_a_constant_costs_one_byte_the_second_time() -> None:
    encoder = header_block.Encoder()
    headers = [("authorization", "bearer " + "x" * 200), ("apns-topic", "com.example.im")]
    assert len(encoder.encode(headers)) > 200
    assert len(encoder.encode(headers)) == 2


@given(
    st.integers(100, 599), st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.binary(max_size=60)), max_size=4)
)
def test_answers_of_a_peer_without_a_table_are_read(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    peer = Encoder()
    peer.header_table_size = 0
    fields = [(b"x" + name.hex().encode(), value) for name, value in fields]
    block = peer.encode([(b":status", b"%d" % status), *fields])
    assert status_of(block) == status
    assert decode(block)[1:] == fields


@pytest.mark.parametrize("block", [b"", b"\x20", b"\xbe", b"\x40", b"\xff\xff\xff\xff\xff\xff", b"\x00\x01a\x01b"])
def test_what_is_no_answer_is_refused(block: bytes) -> None:
    with pytest.raises(BadBlock):
        status_of(block)


@pytest.mark.parametrize(("value", "bits", "encoded"), [(10, 5, b"\x0a"), (1337, 5, b"\x1f\x9a\x0a"), (42, 8, b"\x2a")])
def test_integers_are_those_of_rfc_7541_c_1(value: int, bits: int, encoded: bytes) -> None:
    assert integer(value, bits, 0) == encoded
