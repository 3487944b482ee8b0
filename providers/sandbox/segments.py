"""How many SMS segments a text takes (3GPP TS 23.038 and 23.040).

The simulator counts on its own, on purpose: it is the judge of the sender's count.
"""

from typing import NamedTuple

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")


class Segments(NamedTuple):
    """*units* are septets (GSM-7) or UTF-16 code units (UCS-2)."""

    encoding: str
    units: int
    number: int


def segments(text: str) -> Segments:
    """One character outside GSM-7 makes the whole text UCS-2; no character is split over two segments."""
    if all(character in _BASIC or character in _EXTENSION for character in text):
        return _split("GSM-7", [2 if character in _EXTENSION else 1 for character in text], 160, 153)
    return _split("UCS-2", [2 if ord(character) > 0xFFFF else 1 for character in text], 70, 67)


def _split(encoding: str, sizes: list[int], single: int, each: int) -> Segments:
    units = sum(sizes)
    if units <= single:
        return Segments(encoding, units, 1)
    count, room = 1, each
    for size in sizes:
        if size > room:
            count, room = count + 1, each
        room -= size
    return Segments(encoding, units, count)
