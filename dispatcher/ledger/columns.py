"""Columns on their way to ``unnest``, as cheaply as this driver takes them.

asyncpg asks every element of an array twice whether it is a sequence itself, through an abstract base class: half a
microsecond an element, which is most of a bulk insert. A column as one text costs a tenth of that on this side and
little on the server's: integers as an array literal, texts joined by a separator that no id of ours can hold.
"""

from collections.abc import Sequence

SEPARATOR = "\x1f"
ABSENT = "\x1e"


def integers(values: Sequence[int]) -> str:
    """For ``$n::text::bigint[]``."""
    return "{" + ",".join(map(str, values)) + "}"


def optional_integers(values: Sequence[int | None]) -> str:
    """For ``$n::text::bigint[]``, with NULLs."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def texts(values: Sequence[str]) -> str:
    """For :func:`as_texts`; none of them empty. ValueError where one holds the separator."""
    joined = SEPARATOR.join(values)
    if joined.count(SEPARATOR) != max(len(values) - 1, 0):
        raise ValueError("a text holds a control character")
    return joined


def optional_texts(values: Sequence[str | None]) -> str:
    """For :func:`as_texts`; None and the empty text arrive as NULL."""
    return texts([value or ABSENT for value in values])


def optional_bytes(values: Sequence[bytes | None]) -> Sequence[bytes | None] | None:
    """For ``$n::bytea[]``; a column without any value is NULL as a whole, which ``unnest`` pads."""
    return values if any(value is not None for value in values) else None


def as_texts(parameter: int) -> str:
    """SQL that splits such a text again."""
    return f"string_to_array(${parameter}::text, E'\\x1f', E'\\x1e')"


def as_integers(parameter: int, kind: str = "bigint") -> str:
    """SQL that reads such an array literal."""
    return f"${parameter}::text::{kind}[]"
