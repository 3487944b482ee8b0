"""A carrier's status in our words: ranked, because callbacks come out of order, twice, or never."""

from dataclasses import dataclass
from enum import StrEnum


class BadSignature(ValueError):
    """The callback is not from the carrier; it changes nothing."""


class NumberVerdict(StrEnum):
    """What an error says about the number itself."""

    SUPPRESS = "suppress"  #: opted out: nothing more until lifted (START)
    BAD_NUMBER = "bad_number"  #: no phone that takes texts


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierStatus:
    """One status callback. A higher *rank* wins; a *terminal* one never goes back."""

    status: str
    rank: int
    terminal: bool
    proof: bool  #: the carrier says the phone has it
    error: str | None = None
    segments: int | None = None
    number: NumberVerdict | None = None
    reference: str | None = None  #: the carrier's id of the text
