"""What operators look at and switch: figures, listings, blocks, replays, and who the operators are.

Failure policy: reads raise where the ledger is away (503 at the door); nothing here is guessed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.etag import ALWAYS, Condition, etag_of
from dispatcher.domain.ids import DeliveryRef
from dispatcher.domain.paths import Path


class Role(StrEnum):
    """What a person may do; each may do what the one before may."""

    VIEWER = "viewer"  #: look at everything that is masked
    EDITOR = "editor"  #: change strategies and templates
    ADMIN = "admin"  #: change everything, unmask


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A person with an account. *apps*: the apps they may see; None: all, also those made later."""

    login: str
    role: Role
    apps: tuple[str, ...] | None
    created_at: Millis
    disabled_at: Millis | None = None
    changed_at: Millis = 0

    @property
    def etag(self) -> str:
        """Of all that may be changed, the password by when."""
        return etag_of(self.role, self.apps, self.disabled_at, self.changed_at)

    def sees(self, app: str) -> bool:
        """Whether *app* is one of theirs."""
        return self.apps is None or app in self.apps


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody signed in."""

    session_id: str
    operator: Operator
    signed_in_at: Millis
    expires_at: Millis


class Operators(Protocol):
    """Accounts and sessions. Passwords are hashed by whoever calls; texts of tokens are stored hashed."""

    async def operators(self) -> list[Operator]:
        """All, by login."""

    async def put_operator(
        self,
        login: str,
        role: Role,
        apps: Sequence[str] | None,
        password_hash: str | None,
        now: Millis,
        condition: Condition = ALWAYS,
    ) -> bool:
        """Creates or changes, and enables again; True where new. KeyError: new, but without a password.

        Sessions of a changed operator go on with the new role; a new password ends them. Raises
        ``Stale``.
        """

    async def disable_operator(self, login: str, now: Millis) -> bool:
        """Ends the account and its sessions; False where there is no such live one."""

    async def password_hash(self, login: str) -> str | None:
        """Of a live operator."""

    async def open_session(self, login: str, signed_in_at: Millis, expires_at: Millis) -> tuple[Session, str]:
        """The session and its token text, shown once."""

    async def session_by_token(self, token: str, now: Millis) -> Session | None:
        """The live session behind a bearer text."""

    async def close_session(self, session_id: str) -> None:
        """Sign out."""


class Measure(IntEnum):
    """What a roll-up counts."""

    ACCEPTED = 1
    ENDED = 2  #: name: an End; told apart by how far it got
    PROOF = 3  #: name: a bucket of dispatcher.domain.histogram
    SMS_SEGMENTS = 4  #: name: an index into SMS_STATES, from 1
    OUTCOME = 5  #: name: an index into OUTCOMES, from 1


SMS_STATES = ("reserved", "sent", "released")
OUTCOMES = ("handed_over", "retry_later", "token_dead", "rejected", "not_connected", "unknown")


class Reached(IntEnum):
    """How far a delivery got; each includes the ones before. Roll-ups keep it beside the end (:data:`ENDS`)."""

    ACCEPTED = 0
    ATTEMPTED = 1  #: something left for a provider
    DELIVERED = 2  #: a receipt, or the phone fetched it
    OPENED = 3


#: In a roll-up the name of an ended delivery is its End + ENDS * Reached.
ENDS = 8


class Tier(IntEnum):
    """How fine a roll-up is."""

    MINUTES = 0
    HOURS = 1
    DAYS = 2

    @property
    def step(self) -> Millis:
        """The width of a bucket."""
        return (60_000, 3_600_000, 86_400_000)[self]


class By(StrEnum):
    """What figures can be told apart by."""

    CLASS = "class"
    PATH = "path"
    PLATFORM = "platform"
    STRATEGY = "strategy"
    TIME = "time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """So many of one measure. Members that were not asked for are empty."""

    measure: Measure
    name: int
    count: int
    klass: str = ""
    path: Path | None = None
    platform: str = ""
    strategy: str = ""
    version: int = 0
    at: Millis = 0
    reached: Reached = Reached.ACCEPTED


class RollUps(Protocol):
    """Figures without a scan."""

    async def figures(
        self, app: str, tier: Tier, since: Millis, until: Millis, by: Sequence[By], *, klass: str | None = None
    ) -> list[Figure]:
        """Sums over [since, until) in whole buckets of *tier*."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which deliveries to list. *ends*: empty: none that are archived; None: whatever end."""

    app: str
    user_id: str | None = None
    device_id: str | None = None
    klass: str | None = None
    ends: frozenset[End] | None = None
    since: Millis | None = None
    until: Millis | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDelivery:
    """One delivery as a list shows it. *state*: a word of the API's."""

    ref: DeliveryRef
    user_id: str
    message_id: str
    klass: str
    state: str
    proof: Proof
    confirmed_by: Path | None
    confirmed_at: Millis | None
    accepted_at: Millis
    settled_at: Millis | None = None
    strategy: str | None = None
    version: int | None = None
    rule: str | None = None
    platform: str | None = None
    devices: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMessage:
    """A message with recipients that are not archived, without its content. *places*: those of them, with the user."""

    home: int
    message_id: str
    klass: str
    accepted_at: Millis
    due: Millis
    admitted: bool
    recalled: bool
    places: Mapping[int, str]


class Listings(Protocol):
    """Pages of deliveries, newest first by their address, which never changes: arrivals shift no page."""

    async def settled(
        self, wanted: Wanted, before: DeliveryRef | None, limit: int
    ) -> tuple[list[ListedDelivery], DeliveryRef | None]:
        """Archived ones below *before*; and how deep was looked where it took too long to look at all."""

    async def open_messages(
        self, wanted: Wanted, before: DeliveryRef, homes: int
    ) -> tuple[list[OpenMessage], int | None]:
        """Of the newest *homes* that are not fully archived, what *wanted* may mean below *before*, newest home first.

        Also the oldest home looked into, where there are more; its ends are not looked at.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Who is kept out. *kind*: ``address`` (an address or a network) or ``user``."""

    kind: str
    value: str
    reason: str
    until: Millis | None
    by: str
    at: Millis

    @property
    def etag(self) -> str:
        """Of one setting of it."""
        return etag_of(self.reason, self.until, self.by, self.at)


class Blocks(Protocol):
    """Block lists, by app."""

    async def blocks(self, app: str) -> list[Block]:
        """All of the app's, lapsed ones left out by whoever asks."""

    async def put_block(self, app: str, block: Block, condition: Condition = ALWAYS) -> bool:
        """True where it is new. Raises ``Stale``."""

    async def lift_block(self, app: str, kind: str, value: str) -> bool:
        """False where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A dead letter that was sent again."""

    ref: DeliveryRef
    message_id: str  #: of the new message
    by: str
    at: Millis


class Replays(Protocol):
    """Which dead letters were replayed."""

    async def replays(self, app: str, refs: Sequence[DeliveryRef]) -> Mapping[DeliveryRef, Replay]:
        """Of these."""

    async def note_replay(self, app: str, replay: Replay) -> None:
        """The first one stays."""
