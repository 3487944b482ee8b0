"""Header compression against the hpack library: it encodes what we decode, and decodes what we encode."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.sandbox.wire.head import encode_head
from providers.sandbox.wire.header_table import HeaderBlockError, HeaderDecoder

tokens = st.binary(min_size=1, max_size=150)
Block = list[tuple[bytes, bytes]]
names = st.sampled_from([b"apns-id", b":path", b"x", b"authorization"]) | tokens
headers = st.lists(st.tuples(names, tokens), max_size=8)


@given(st.lists(headers, max_size=6), st.booleans())
def test_blocks_of_one_connection_decode_to_what_was_encoded(blocks: list[Block], huffman: bool) -> None:
    encoder, decoder = hpack.Encoder(), HeaderDecoder(100_000)
    for block in blocks:
        assert decoder.decode(encoder.encode(block, huffman=huffman)) == block


def test_table_sizes_follow_the_encoder() -> None:
    encoder, decoder = hpack.Encoder(), HeaderDecoder(100_000)
    block = [(b"a", b"1" * 40), (b"b", b"2" * 40)]
    for size in (4096, 100, 0, 200):
        encoder.header_table_size = size
        assert decoder.decode(encoder.encode(block)) == block
        assert decoder.decode(encoder.encode(block)) == block


@given(st.binary(max_size=100))
def test_garbage_raises_one_error_only(data: bytes) -> None:
    try:
        HeaderDecoder(1000).decode(data)
    except HeaderBlockError:
        return


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xff\x00",  # beyond the table
        b"\x3f\xff\x1f",  # a table larger than the setting
        b"\x82\x20",  # a size update inside
        b"\x00\x05ab",  # cut off
        b"\x00\x81\x00\x00",  # padding of zeros
        b"\x00\x84\xff\xff\xff\xff\x00",  # EOS
        b"\x7f\xff\xff\xff\xff\xff\x01",  # an endless integer
        b"\x00\x01a" + b"\x7f\x82\x07" + b"x" * 1025,  # list too large
    ],
)
def test_what_the_rfc_forbids(block: bytes) -> None:
    with pytest.raises(HeaderBlockError):
        HeaderDecoder(1000).decode(block)


@given(st.sampled_from([200, 201, 400, 403, 404, 410, 429, 500, 503]), headers)
def test_answers_decode_everywhere(status: int, fields: Block) -> None:
    decoded = hpack.Decoder(100_000).decode(encode_head(status, fields), raw=True)
    assert list(decoded) == [(b":status", b"%d" % status), *fields]
