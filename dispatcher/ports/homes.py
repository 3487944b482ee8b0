"""What is in flight: homes (payloads and state vectors) and waves (what is due together).

Failure policy of this border: every call is safe to repeat. A claim that is never settled comes back after its lease;
a settlement whose cursor moved on is ignored member by member.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Struct

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Cursor, DeliveryState, End, Phase, Proof
from dispatcher.domain.ids import DeliveryRef
from dispatcher.domain.message import Lane, Message
from dispatcher.domain.paths import Path
from dispatcher.domain.plan import DeliveryPlan
from dispatcher.domain.receipt import Receipt

#: The track number of a member that is not planned yet.
NO_TRACK = 255


class Queue(Struct, frozen=True, gc=False):
    """Who consumes a wave: ``plan``, ``sweep``, or a path; and in which lane."""

    name: str
    lane: Lane

    def __str__(self) -> str:
        return f"{self.name}.{self.lane}"


class Recipient(Struct, frozen=True, kw_only=True, gc=False):
    """One delivery as admitted: its place, which message of the home, for whom, and where in their inbox."""

    place: int
    message: int  #: index into the home's messages
    user_id: str
    seq: int
    prev_seq: int
    devices: tuple[str, ...] | None = None  #: named in the request; None: all of the user's


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A home on its way into the hot store."""

    home: int
    app: str
    lane: Lane
    messages: Mapping[int, Message]
    recipients: Sequence[Recipient]
    due: Millis  #: when to plan; later than now for a rebuilt delivery
    size: int  #: places, holes included
    #: recipients that have ended already: recalled before their time, or proven before the hot store was lost
    ended: Mapping[int, "Ended"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a delivery stands that is admitted with nothing left to do."""

    end: End
    proof: Proof = Proof.NONE
    confirmed_by: Path | None = None
    confirmed_at: Millis | None = None


class Members(Struct, frozen=True, gc=False):
    """References that travel together: one home, one cursor, many (place, track)."""

    home: int
    cursor: Cursor
    members: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Members taken under a lease, with what is needed to work on them."""

    app: str
    queue: Queue
    members: Members
    due: Millis
    lane: Lane
    #: when the members' latest attempts were made, in their order; None where none was
    attempted_at: Sequence[Millis | None] = ()
    lease: Millis = 0  #: until when it is ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a home holds for some of its places."""

    app: str
    lane: Lane
    messages: Mapping[int, Message]
    recipients: Mapping[int, Recipient]
    plans: Mapping[int, DeliveryPlan]


class Move(Struct, frozen=True, kw_only=True, gc=False):
    """One track's step forward, by compare-and-set on ``before``."""

    place: int
    track: int
    before: Cursor
    after: Cursor
    until: Proof = Proof.DELIVERED
    path: Path | None = None  #: of the attempt just made, where one was
    tried: bool = False  #: the attempt really left
    attempted_at: Millis | None = None


class Planned(Struct, frozen=True, kw_only=True, gc=False):
    """One delivery's plan and the cursors its tracks start from."""

    place: int
    plan: DeliveryPlan
    starts: Sequence[Cursor]
    untils: Sequence[Proof]


class Wave(Struct, frozen=True, kw_only=True, gc=False):
    """Members due together on one queue."""

    queue: Queue
    due: Millis
    members: Members


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """All that follows from one claim's work, written in one go."""

    home: int
    app: str
    lane: Lane
    planned: Sequence[Planned] = ()
    moves: Sequence[Move] = ()
    ends: Mapping[int, End] = field(default_factory=dict)  #: by place
    waves: Sequence[Wave] = ()
    journal: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What the store made of a settlement."""

    moved: int
    lost: int  #: moves whose cursor had moved on, ends that were dominated
    ended: Mapping[int, End]  #: places that ended here, exhausted ones included
    sms_due: Sequence[tuple[int, int]]  #: (place, track) put into the sms queue just now
    ready: Sequence[Queue]  #: queues with work due now
    late: int = 0  #: attempts that left after proof was applied (invariant 4)


class Applied(Struct, frozen=True, kw_only=True, gc=False):
    """What one receipt did. ``known`` False: no such delivery here (archived, or of another life)."""

    known: bool
    new: bool = False
    confirmed: bool = False  #: this receipt settled the delivery
    late: bool = False  #: it lifted expired or exhausted
    path: Path | None = None  #: the path it is credited to
    inferred: bool = False
    attempted_at: Millis | None = None
    archived: bool = False  #: the ledger's row needs it too
    track: int = NO_TRACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Settled deliveries on their way to the ledger. ``turn`` and ``entries`` are the store's own."""

    turn: int
    entries: int
    refs: Sequence[DeliveryRef]


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What one home holds of the places asked for. *plans*: of those that are planned."""

    states: Mapping[int, DeliveryState]
    plans: Mapping[int, DeliveryPlan]


class Homes(Protocol):
    """Homes and waves."""

    async def admit(self, admission: Admission, now: Millis) -> None:
        """Stores payloads and a plan wave. Repeating it changes nothing."""

    async def claim(
        self,
        queue: Queue,
        now: Millis,
        *,
        limit: int,
        lease_ms: Millis,
        shards: Sequence[int] | None = None,
        without: Collection[str] = (),
    ) -> list[Claim]:
        """Takes up to *limit* members that are due, round-robin over apps, each under a lease.

        *without*: apps whose members are left alone for a moment (a quarter of a second, whoever claims).

        A claim needs: proof below the step's ``until``, no end, the expected cursor. What lacks one is dropped.
        Members past their ttl are claimed too; the caller ends them.
        """

    async def settle(self, settlement: Settlement, now: Millis) -> Settled:
        """Writes the work's result; see :class:`Settlement`."""

    async def unlease(self, claim: Claim, members: Sequence[tuple[int, int]], now: Millis) -> None:
        """Gives back the lease of members that a settlement put off untried: their next claim has one of its own."""

    async def contents(self, home: int, places: Sequence[int] | None) -> Contents | None:
        """Payloads and plans of *places* (None: all); None where the home is not here."""

    async def states(self, home: int, places: Sequence[int]) -> Mapping[int, DeliveryState]:
        """State of *places*; empty where the home is not here."""

    async def glances(self, wanted: Mapping[int, Sequence[int]], *, plans: bool) -> Mapping[int, Glance]:
        """Places of several homes in one round trip; homes that are not here are absent. *plans*: those too."""

    async def apply(self, receipts: Sequence[Receipt], now: Millis) -> list[Applied]:
        """Applies receipts in one script a shard; same length and order as *receipts*."""

    async def end(self, refs: Sequence[DeliveryRef], end: End, now: Millis) -> list[bool]:
        """Ends deliveries from outside (recall, erasure); True where it was still open."""

    async def forget(self, home: int, places: Sequence[int], messages: Sequence[int]) -> None:
        """Takes users and devices out of places and the content out of messages (erasure); what they need to end and be
        counted stays. The places are remembered, for what of them is still on its way: :meth:`forgotten`."""

    async def forgotten(self, shard: int) -> Mapping[int, frozenset[int]]:
        """Places by home that :meth:`forget` was told of in the last two days."""

    async def hasten(self, app: str, lane: Lane, members: Members, now: Millis) -> None:
        """Makes waiting members due now: their step is known to have failed."""

    async def next_due(self, now: Millis) -> tuple[Mapping[Queue, Sequence[int]], Millis | None]:
        """Queues with due work and their shards; and the next moment at which anything is due."""

    async def standing(self, shard: int) -> Mapping[int, frozenset[tuple[int, int, Cursor]]]:
        """Every member that stands in some wave of a shard, by home: (place, track, cursor). For the audit."""

    async def take_settled(self, shard: int, limit: int) -> Taken:
        """Deliveries that ended and are not archived yet.

        They stay listed until :meth:`archived`. One archiver a shard at a time.
        """

    async def archived(self, shard: int, taken: Taken, settled: Mapping[DeliveryRef, tuple[End, Proof]]) -> list[int]:
        """Marks them as archived and unlists what was taken; returns homes that are now empty and were dropped.

        *settled*: end and proof as they were archived; what changed meanwhile (a late proof, a recall) is listed again
        instead. A repeated call changes nothing.
        """

    async def append_journal(self, entries: Sequence[tuple[int, bytes]]) -> None:
        """Appends (home, entry) pairs to the journal."""

    async def take_journal(self, shard: int, limit: int) -> list[tuple[int, bytes]]:
        """The oldest journal entries as (home, entry); they stay until :meth:`trim_journal`."""

    async def trim_journal(self, shard: int, entries: Sequence[tuple[int, bytes]]) -> None:
        """Drops the oldest *entries*, as :meth:`take_journal` gave them; repeating it drops nothing more."""

    async def journal_of(self, home: int) -> list[bytes]:
        """Entries of *home* that have not reached the ledger yet."""


def in_phase(cursor: Cursor, phase: Phase) -> Cursor:
    """The same step and attempt in another phase."""
    return Cursor(cursor.step, cursor.attempt, phase)
