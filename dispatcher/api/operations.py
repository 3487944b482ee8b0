"""What the operators' routes ask of the core; see :mod:`dispatcher.api.core` for how verbs refuse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dispatcher.domain.clock import Millis
from dispatcher.domain.etag import ALWAYS, Condition
from dispatcher.domain.ids import DeliveryRef
from dispatcher.domain.paths import Path
from dispatcher.ports.block_list import BlockList
from dispatcher.ports.carrier_health import Rest
from dispatcher.ports.circuits import PathView
from dispatcher.ports.credential_checks import Check
from dispatcher.ports.directory import credentials_etag
from dispatcher.ports.operations import (
    Blocks,
    By,
    Figure,
    ListedDelivery,
    Operators,
    Replay,
    Session,
    Tier,
    Wanted,
)
from dispatcher.ports.throttle import Brakes


@dataclass(frozen=True, slots=True, kw_only=True)
class AppDoor(BlockList):
    """An app's own rules at the entry, as they were a moment ago."""

    classes: frozenset[str] | None = None  #: which it may dispatch; None: any
    rate_per_key: int | None = None
    rate_per_device: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialView:
    """What may be shown of an app's credentials for a path. *about*: nothing secret."""

    path: Path
    changed_at: Millis | None
    about: Mapping[str, Any]
    check: Check | None = None  #: the last one

    @property
    def etag(self) -> str | None:
        """None where they are not set."""
        return None if self.changed_at is None else credentials_etag(self.path, self.changed_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierView:
    """One of an app's SMS carriers, the preferred one first. *rest*: it is asked last until that ends."""

    name: str
    about: Mapping[str, Any]
    rest: Rest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderView:
    """One provider of an app. *receipt_s*: median seconds from hand-over to proof lately; *quota*: requests a minute
    that the vendor allows, where it says."""

    path: Path
    name: str
    configured: bool
    view: PathView
    receipt_s: float | None
    receipt_p95_s: float | None
    brakes: Brakes = Brakes()  # noqa: RUF009 - frozen
    quota: int | None = None
    credentials: CredentialView | None = None
    carriers: Sequence[CarrierView] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A page. *next*: from where on; None: there is no more."""

    rows: Sequence[ListedDelivery]
    next: DeliveryRef | None


class Operations(Protocol):
    """Apps, operators, figures, switches."""

    @property
    def operators(self) -> Operators: ...
    @property
    def blocks(self) -> Blocks: ...

    async def door(self, app: str) -> AppDoor | None:
        """Read from the ledger, not remembered; None where there is no such app."""

    # Operators

    async def sign_in(self, login: str, password: str, address: str, now: Millis) -> tuple[Session, str]:
        """Problem 401 for a wrong login or password (which is not said), 429 after too many tries."""

    async def renew(self, session: Session, now: Millis) -> tuple[Session, str]:
        """A fresh token in place of the old one; Problem 401 once the sign-in itself is too long ago."""

    async def hash_password(self, password: str) -> str:
        """Slow on purpose."""

    async def unmask_user(self, app: str, user_id: str) -> str | None:
        """The number; None where there is none. Problem 404."""

    async def unmask_device(self, app: str, device_id: str) -> Mapping[str, Any]:
        """User and tokens in plain. Problem 404."""

    # Apps

    async def credentials(self, app: str) -> Sequence[CredentialView]:
        """All that are set."""

    async def put_credentials(
        self, app: str, path: Path, document: bytes, now: Millis, condition: Condition = ALWAYS
    ) -> tuple[CredentialView, bool]:
        """Checked first (Problem 422), sealed; True where new. Problem 409 for another project's or topic's; raises
        ``Stale``."""

    async def drop_credentials(self, app: str, path: Path) -> bool:
        """False where there are none."""

    async def check_credentials(self, app: str, path: Path, now: Millis) -> CredentialView | None:
        """Opens and reads what is stored and keeps what came of it; asks no vendor. None where there are none."""

    # Looking

    async def figures(
        self, app: str, tier: Tier, since: Millis, until: Millis, by: Sequence[By], *, klass: str | None
    ) -> list[Figure]:
        """From roll-ups."""

    async def listed(
        self, wanted: Wanted, states: frozenset[str] | None, before: DeliveryRef | None, limit: int, now: Millis
    ) -> Listed:
        """Open and archived ones, newest first. *states*: words of the API; None: all."""

    def delivery_id(self, app: str, user_id: str, ref: DeliveryRef) -> str:
        """As the world knows it."""

    # Providers

    async def providers(self, app: str, now: Millis) -> Sequence[ProviderView]:
        """All paths."""

    async def pause(self, app: str, path: Path, by: str, reason: str, now: Millis) -> None:
        """Nothing is sent on *path* until resumed."""

    async def resume(self, app: str, path: Path) -> None:
        """Ends a pause."""

    # Dead letters

    async def replays(self, app: str, refs: Sequence[DeliveryRef]) -> Mapping[DeliveryRef, Replay]:
        """Which of these were sent again."""

    async def replay(self, app: str, delivery_id: str, by: str, now: Millis) -> Mapping[str, Any]:
        """Dispatches an exhausted delivery's message again, to its user alone, under a new id.

        ``{id, message_id, accepted_at, duplicate}``; Problem 404 for what is none, 409 for what did not end exhausted.
        """
