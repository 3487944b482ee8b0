"""Accepted messages and settled deliveries in the ledger: what must never be lost.

Failure policy: a call either committed or raised; nothing here is best effort.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.ids import DeliveryRef
from dispatcher.domain.message import Lane, Message
from dispatcher.domain.paths import Path


class LedgerUnavailable(Exception):
    """The ledger cannot be reached now; nothing is known to be written, and a retry of the same call helps."""


class Verdict(StrEnum):
    """What accepting one message came to."""

    NEW = "new"
    DUPLICATE = "duplicate"  #: same id, same content, within 7 days
    CONFLICT = "conflict"  #: same id, other content


class Submission(Struct, frozen=True, kw_only=True, gc=False):
    """One message on its way into the ledger: its recipients take consecutive places from ``place``."""

    message: Message
    content_hash: bytes  #: 16 bytes over everything the backend sent
    home: int
    place: int
    index: int  #: of the message in its home
    user_ids: Sequence[str]
    #: device ids named in the request, by user; None: all of the user's
    device_ids: Mapping[str, Sequence[str]] | None = None
    due: Millis  #: when to plan it: now, or not_before


class Acceptance(Struct, frozen=True, kw_only=True, gc=False):
    """The ledger's word on one submission; for a duplicate, that of the first."""

    verdict: Verdict
    accepted_at: Millis
    home: int
    place: int
    recipients: int


class StoredMessage(Struct, frozen=True, kw_only=True, gc=False):
    """A message as the ledger holds it."""

    message: Message
    home: int
    place: int
    index: int
    user_ids: Sequence[str]
    device_ids: Mapping[str, Sequence[str]] | None
    due: Millis
    admitted: bool
    recalled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHome:
    """A home that is not fully archived, as needed to admit it (again)."""

    home: int
    app: str
    lane: Lane
    size: int
    due: Millis
    messages: Sequence[StoredMessage]
    settled: frozenset[int]  #: places already archived
    #: places whose proof the journal holds though they are not archived
    proven: Mapping[int, tuple[Proof, Path | None, Millis]]
    erased: frozenset[int] = frozenset()  #: places of users who were erased since


class SettledDelivery(Struct, frozen=True, kw_only=True, gc=False):
    """One settled delivery on its way into the ledger."""

    ref: DeliveryRef
    app: str
    user_id: str
    message_id: str
    klass: str
    seq: int
    end: End
    proof: Proof
    confirmed_by: Path | None
    confirmed_at: Millis | None
    accepted_at: Millis
    settled_at: Millis
    strategy: str | None
    version: int | None
    rule: str | None
    platform: str | None
    body: bytes  #: the message's JSON members, for the inbox's older windows
    tracks: bytes  #: JSON: [{device_id, platform, state, path, step, attempt, proof}]
    attempted: bool = False  #: whether anything left for a provider


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One entry of a user's older inbox."""

    seq: int
    ref: DeliveryRef
    message_id: str
    body: bytes


class Messages(Protocol):
    """Accepting, finding, rebuilding."""

    async def accept(self, submissions: Sequence[Submission], now: Millis) -> list[Acceptance | Exception]:
        """One transaction: keys with ON CONFLICT, rows sorted by key, then home and messages. Same order.

        A row that cannot be stored fails alone (the group is split and retried); its exception stands in its place.
        The very same submission again (same home and place) is NEW again, so a call whose answer was lost may be
        repeated.
        """

    async def mark_admitted(self, homes: Sequence[int]) -> None:
        """The hot store has them."""

    async def unadmitted(self, before: Millis, *, due_before: Millis, limit: int) -> list[StoredHome]:
        """Homes that the hot store does not have yet, due before *due_before*: scheduled ones, and those accepted
        before *before* (younger ones are being admitted just now)."""

    async def next_due(self, after: Millis, until: Millis) -> Millis | None:
        """When the next scheduled home comes due, in that time."""

    async def sharing(self, app: str, lane: Lane, since: Millis, until: Millis) -> int:
        """How many deliveries wait in homes that are due in that time and that the hot store does not have yet."""

    async def open_homes(self, after: int, limit: int, *, unadmitted: bool = False) -> list[StoredHome]:
        """Homes above *after* in id order that are admitted and not fully archived: for rebuilding.

        *unadmitted*: those that the hot store does not have yet too: for the books.
        """

    async def find(self, app: str, message_id: str) -> StoredMessage | None:
        """By client message id, within the keys' 7 days."""

    async def recall(self, app: str, message_id: str, now: Millis) -> StoredMessage | None:
        """Writes the recall; None where there is no such message."""


class Deliveries(Protocol):
    """Settled deliveries and journals."""

    async def archive(self, rows: Sequence[SettledDelivery], emptied: Sequence[int]) -> None:
        """Bulk insert; a row already there keeps the dominant end and the highest proof. *emptied*: homes done."""

    async def close_homes(self, homes: Sequence[int], now: Millis) -> None:
        """Every delivery of these homes is archived."""

    async def late_proof(
        self, ref: DeliveryRef, proof: Proof, by: Path | None, at: Millis, *, app: str, user_id: str
    ) -> tuple[bool, bool, bool]:
        """Raises an archived delivery's proof; answers (known, new, confirmed now)."""

    async def of_message(self, home: int, place: int, count: int) -> list[SettledDelivery]:
        """Archived deliveries of one message."""

    async def history(
        self, app: str, user_id: str, *, before: int | None, after_time: Millis, before_time: Millis, limit: int
    ) -> list[HistoryEntry]:
        """Newest first by seq, within a window of time."""

    async def find_for_user(self, app: str, user_id: str, message_ids: Sequence[str]) -> dict[str, DeliveryRef]:
        """By client message id, for one recipient."""

    async def append_journal(self, entries: Sequence[tuple[int, int, bytes]]) -> None:
        """(home, sequence, entry) rows; repeating one changes nothing."""

    async def journal(self, home: int) -> list[bytes]:
        """Journal entries of one home in order."""

    async def journals(self, homes: Sequence[int]) -> Mapping[int, Sequence[bytes]]:
        """Those of several in one query; homes without any are absent."""
