"""At most one SMS per (app, message, user): a unique row written before the request.

Fails closed: without the ledger's yes nothing is sent (silence beats double billing).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from dispatcher.domain.clock import Millis


class Refusal(StrEnum):
    """Why no SMS may go."""

    ALREADY_SENT = "already_sent"
    CAP_USER = "cap_user"
    CAP_NUMBER = "cap_number"
    CAP_PREFIX = "cap_prefix"
    BUDGET = "budget"
    SUPPRESSED_NUMBER = "suppressed_number"
    COALESCED = "coalesced"  #: an SMS of its conversation went within the window
    JOINED = "joined"  #: the same, and it waited already: it shares that SMS's status


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsCap:
    """A rolling cap: at most *count* in *window_ms*."""

    count: int
    window_ms: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Joiner:
    """A message of the same user and conversation that waits for proof. *attempt_id*: that its own SMS would have."""

    message_id: str
    attempt_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharer:
    """A message that joined another's SMS and shares its status."""

    message_id: str
    user_id: str
    attempt_id: str
    at: Millis


class SmsRequest(Struct, frozen=True, kw_only=True):
    """What is asked for. ``number_hash``: keyed, so the ledger never shows a number."""

    app: str
    message_id: str
    user_id: str
    attempt_id: str
    number_hash: bytes
    prefix: str  #: country code and the next digits, for prefix caps
    segments: int
    per_user: SmsCap | None = None
    per_number: SmsCap | None = None
    per_prefix: SmsCap | None = None
    budget: SmsCap | None = None  #: in segments
    coalesce_key: str | None = None
    coalesce_ms: Millis = 0
    joiners: Sequence[Joiner] = ()  #: who share its status if it may go
    klass: str = ""  #: these four: what figures tell its segments apart by
    platform: str = ""
    strategy: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsRow:
    """One text. ``state``: ``reserved`` (it may be leaving just now) or ``sent``; ``status``: the carrier's word."""

    user_id: str
    state: str
    status: str | None
    sent_at: Millis | None


class SmsGuard(Protocol):
    """SMS reservations, decided in one transaction."""

    async def reserve(self, request: SmsRequest, now: Millis) -> Refusal | None:
        """None: reserved, the request may leave. The same attempt asking again gets its own row back (None)."""

    async def joined_into(self, app: str, message_id: str, user_id: str) -> str | None:
        """The attempt whose SMS stands for this message too."""

    async def sharers(self, app: str, attempt_id: str) -> Sequence[Sharer]:
        """Those that joined this attempt's SMS, in order of time."""

    async def sent(self, app: str, attempt_id: str, provider_id: str | None, now: Millis) -> None:
        """The carrier took it."""

    async def release(self, app: str, attempt_id: str, reason: str) -> None:
        """The carrier refused it for good: it cost nothing."""

    async def status(
        self, app: str, attempt_id: str, status: str, rank: int, *, error: str | None, segments: int | None, now: Millis
    ) -> bool:
        """A carrier's status, ranked: a terminal one never goes back. True where it moved."""

    async def suppress_number(self, app: str, number_hash: bytes, reason: str, now: Millis) -> None:
        """Never again to this number, until lifted."""

    async def suppress_attempt(self, app: str, attempt_id: str, reason: str, now: Millis) -> None:
        """The same for the number that an attempt went to."""

    async def lift_suppression(self, app: str, number_hash: bytes) -> None:
        """START, or a corrected number."""

    async def of_message(self, app: str, message_id: str) -> Sequence[SmsRow]:
        """The texts of one message that went out or may be on their way, by user."""

    async def spent(self, app: str, *, window_ms: Millis, now: Millis) -> int:
        """Segments reserved and sent in the rolling window that ends now."""
