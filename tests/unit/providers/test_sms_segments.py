"""Segments as carriers bill them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.sandbox.segments import segments as of_the_simulator
from providers.sms.segments import BASIC, EXTENSION, Encoding, cut, encoding_of, measure


@pytest.mark.parametrize(
    ("text", "encoding", "units", "segments"),
    [
        ("", Encoding.GSM7, 0, 1),
        ("a" * 160, Encoding.GSM7, 160, 1),
        ("a" * 161, Encoding.GSM7, 161, 2),
        ("a" * 306, Encoding.GSM7, 306, 2),
        ("a" * 307, Encoding.GSM7, 307, 3),
        ("€" * 80, Encoding.GSM7, 160, 1),
        ("€" * 81, Encoding.GSM7, 162, 2),
        ("a" * 152 + "€" + "a" * 152, Encoding.GSM7, 306, 3),  # the euro is not torn: the first segment has 152
        ("中" * 70, Encoding.UCS2, 70, 1),
        ("中" * 71, Encoding.UCS2, 71, 2),
        ("中" * 134, Encoding.UCS2, 134, 2),
        ("中" * 135, Encoding.UCS2, 135, 3),
        ("a" * 69 + "中", Encoding.UCS2, 70, 1),
        ("😀" * 35, Encoding.UCS2, 70, 1),
        ("😀" * 36, Encoding.UCS2, 72, 2),
        ("😀" * 67, Encoding.UCS2, 134, 3),  # 33 pairs a segment: a pair is not torn
        ("it’s", Encoding.UCS2, 4, 1),
    ],
)
def test_a_text_costs_what_the_carrier_counts(text: str, encoding: Encoding, units: int, segments: int) -> None:
    assert measure(text) == (encoding, units, segments)


def test_the_tables_are_those_of_3gpp_23_038() -> None:
    assert len(BASIC) == 127  # 128 codes, one of them the escape
    assert len(EXTENSION) == 10
    assert not BASIC & EXTENSION


ALPHABET = st.text(alphabet=st.sampled_from([*sorted(BASIC | EXTENSION), "中", "😀", "’"]), max_size=800)


@given(ALPHABET)
def test_simulator_and_product_agree_on_the_price(text: str) -> None:
    assert measure(text).segments == max(1, of_the_simulator(text).number)


@given(ALPHABET, st.integers(1, 6))
def test_a_cut_text_fits_and_says_the_beginning(text: str, segments: int) -> None:
    short = cut(text, segments)
    assert measure(short).segments <= segments
    if short != text:
        assert measure(text).segments > segments
        beginning = short.removesuffix("…") if short.endswith("…") else short.removesuffix("...")
        assert text.startswith(beginning)


def test_three_dots_keep_a_gsm_text_cheap() -> None:
    assert cut("a" * 400, 1) == "a" * 157 + "..."
    assert encoding_of(cut("a" * 400, 1)) is Encoding.GSM7
    assert cut("中" * 400, 1) == "中" * 69 + "…"


def test_no_text_fits_no_segment() -> None:
    with pytest.raises(ValueError, match="at least one"):
        cut("a", 0)
