"""Columns as texts: every value arrives where it belongs, or none does."""

import pytest

from dispatcher.ledger.columns import (
    integers,
    optional_bytes,
    optional_integers,
    optional_texts,
    texts,
)


def test_integers_are_array_literals() -> None:
    assert integers([1, -2, 3]) == "{1,-2,3}"
    assert integers([]) == "{}"
    assert optional_integers([1, None]) == "{1,NULL}"


def test_a_text_that_would_shift_the_others_is_refused() -> None:
    assert texts(["a", "b"]) == "a\x1fb"
    assert texts([]) == ""
    for values in (["a\x1fb"], ["a", "b\x1f"], ["\x1f", "a"]):
        with pytest.raises(ValueError, match="control character"):
            texts(values)


def test_absent_texts_have_a_mark_of_their_own() -> None:
    assert optional_texts(["a", None, ""]) == "a\x1f\x1e\x1f\x1e"


def test_a_column_without_any_bytes_is_left_out() -> None:
    assert optional_bytes([None, None]) is None
    assert optional_bytes([None, b"x"]) == [None, b"x"]
