"""What an SMS costs: segments, counted as carriers bill them (3GPP TS 23.038, TS 23.040).

GSM-7: 160 septets alone, 153 each when joined; characters of the extension table take two septets and are never torn.
One character outside both tables makes the whole text UCS-2: 70 code units alone, 67 joined; a surrogate pair is never
torn either. https://www.twilio.com/docs/glossary/what-sms-character-limit
"""

from enum import StrEnum
from typing import NamedTuple

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("\f^{}\\[~]|€")
_GSM7 = BASIC | EXTENSION


class Encoding(StrEnum):
    """How a text travels."""

    GSM7 = "GSM-7"
    UCS2 = "UCS-2"


_ALONE = {Encoding.GSM7: 160, Encoding.UCS2: 70}
_JOINED = {Encoding.GSM7: 153, Encoding.UCS2: 67}


class Size(NamedTuple):
    """*units*: septets or UTF-16 code units."""

    encoding: Encoding
    units: int
    segments: int


def encoding_of(text: str) -> Encoding:
    """GSM-7 where every character has a place in its tables."""
    return Encoding.GSM7 if _GSM7.issuperset(text) else Encoding.UCS2


def _widths(text: str, encoding: Encoding) -> list[int]:
    if encoding is Encoding.GSM7:
        return [2 if char in EXTENSION else 1 for char in text]
    return [2 if char > "\uffff" else 1 for char in text]


def measure(text: str) -> Size:
    """Encoding, units and segments of *text*; an empty one still takes a segment."""
    encoding = encoding_of(text)
    widths = _widths(text, encoding)
    units = sum(widths)
    if units <= _ALONE[encoding]:
        return Size(encoding, units, 1)
    room = _JOINED[encoding]
    segments, free = 1, room
    for width in widths:
        if width > free:
            segments, free = segments + 1, room
        free -= width
    return Size(encoding, units, segments)


def cut(text: str, segments: int) -> str:
    """The longest beginning of *text*, with an ellipsis, that takes at most *segments*; the text where it fits.

    The ellipsis is three dots where the one character would make a GSM-7 text UCS-2.
    """
    if segments < 1:
        raise ValueError("an SMS takes at least one segment")
    if measure(text).segments <= segments:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if measure(_ended(text[:middle])).segments <= segments:
            low = middle
        else:
            high = middle - 1
    return _ended(text[:low].rstrip())


def _ended(text: str) -> str:
    return text + ("..." if encoding_of(text) is Encoding.GSM7 else "…")
