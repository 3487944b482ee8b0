"""Cutting texts to what a vendor takes, never inside a character."""

import unicodedata
from collections.abc import Callable
from typing import Any

ELLIPSIS = "…"
_JOINER = "\u200d"


def mend(text: str) -> str:
    """Joins surrogate pairs and replaces lone surrogates by U+FFFD, so that the text has a UTF-8 form."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def mend_all(value: Any) -> Any:
    """:func:`mend` for every text inside a JSON value, keys included."""
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, dict):
        return {mend(key) if isinstance(key, str) else key: mend_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mend_all(item) for item in value]
    return value


def _joins(char: str) -> bool:
    """Whether *char* belongs to the one before it on the screen."""
    return char == _JOINER or unicodedata.category(char) in {"Mn", "Me", "Mc"} or "\U0001f3fb" <= char <= "\U0001f3ff"


def shorten(text: str, fits: Callable[[str], bool]) -> str:
    """The longest beginning of *text* that fits together with an ellipsis; the text itself where it fits.

    *fits* is monotonous: what fits still fits when shorter. Empty where not even the ellipsis fits.
    """
    if fits(text):
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(text[:middle] + ELLIPSIS):
            low = middle
        else:
            high = middle - 1
    while 0 < low < len(text) and (_joins(text[low]) or text[low - 1] == _JOINER):
        low -= 1
    cut = text[:low].rstrip() + ELLIPSIS
    return cut if fits(cut) else ""
