"""Who there is: apps, API keys, users, devices, tokens; and what operators change: strategies, audit.

Everything is scoped by app. Every write of a user or device raises the user's ``rev`` and returns the new profiles, so
that the caller can write them through to the hot store.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from dispatcher.domain.clock import Millis
from dispatcher.domain.device import Device, Platform, Profile, PushToken
from dispatcher.domain.etag import ALWAYS, Condition, etag_of
from dispatcher.domain.ids import DeliveryRef
from dispatcher.domain.paths import Path
from dispatcher.ports.learning import LearningSettings
from strategies.learn import Pin


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    app_id: str
    name: str
    time_zone: str = "UTC"
    #: operator settings of the app: sms templates, default_locale, retention by class ...
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        """Of all that may be changed."""
        return etag_of(self.name, self.time_zone, self.settings)


def credentials_etag(path: Path, changed_at: Millis) -> str:
    """Tells two states of an app's credentials apart without a word about them."""
    return etag_of(path, changed_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A backend's key; the secret itself is only in the answer to its creation."""

    key_id: str
    app_id: str
    name: str
    scopes: frozenset[str]
    created_at: Millis
    revoked_at: Millis | None = None


class Apps(Protocol):
    """Apps, keys and credentials."""

    async def create_app(self, app: App, now: Millis, *, strategy: str | None = None) -> None:
        """With version 1 of its ``default`` strategy (*strategy*; None: the shipped one). KeyError: the id is taken."""

    async def apps(self) -> list[App]: ...

    async def app(self, app_id: str) -> App | None: ...

    async def create_key(self, app_id: str, name: str, scopes: Sequence[str], now: Millis) -> tuple[ApiKey, str]:
        """The key and its secret text, shown once; stored hashed. KeyError: no such app."""

    async def key_by_secret(self, secret: str) -> ApiKey | None:
        """The live key behind a bearer text; None for unknown or revoked ones."""

    async def keys(self, app_id: str) -> list[ApiKey]: ...

    async def revoke_key(self, app_id: str, key_id: str, now: Millis) -> bool: ...

    async def change_app(self, app: App, *, standing: App) -> None:
        """Name, zone and settings, where the app still is as *standing*; raises ``Stale``."""

    async def set_credentials(
        self, app_id: str, path: Path, sealed: bytes, now: Millis, condition: Condition = ALWAYS
    ) -> Millis:
        """Sealed provider credentials (write-only from outside); when they were changed, which is later than ever
        before. *condition* is held against :func:`credentials_etag`."""

    async def credentials(self, app_id: str, path: Path) -> bytes | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChange:
    """Fields to set; a key absent from ``values`` stays as it is. Keys: phone (sealed bytes or None), phone_hash,
    phone_country, phone_verified, locale, time_zone, quiet_from, quiet_to, sms_opt_in, muted_classes."""

    app: str
    user_id: str
    values: Mapping[str, Any]
    #: a changed number gets no SMS before this; a first number is usable at once
    changed_phone_usable_from: Millis
    by: str = ""  #: who, for the audit


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRegistration:
    """A device as its client reports it."""

    app: str
    user_id: str
    device_id: str
    platform: Platform
    tokens: Sequence[PushToken]
    alerts_enabled: bool
    app_version: str | None
    os_version: str | None
    manufacturer: str | None
    locale: str | None
    time_zone: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A device's user and epoch; ``moved_from``: the user it was taken from just now, by a move or a logout."""

    user_id: str
    epoch: int
    moved_from: str | None
    profiles: Sequence[Profile]  #: of every user whose devices changed


@dataclass(frozen=True, slots=True, kw_only=True)
class UserQuery:
    """Which users to list, by id: those whose id begins with ``beginning``, with this number, or with this device."""

    beginning: str = ""
    phone_hash: bytes | None = None
    device_id: str | None = None
    after: str | None = None  #: a page goes on behind this id
    limit: int = 50


class Directory(Protocol):
    """Users and devices."""

    async def erased_since(self, since: Millis) -> Mapping[tuple[str, str], Millis]:
        """Users erased since then and when, by app."""

    async def erase_again(self, since: Millis) -> None:
        """Repeats those erasures, for what was archived since."""

    async def list_users(self, app: str, query: UserQuery) -> list[Profile]:
        """By id."""

    async def list_devices(
        self, app: str, *, user_id: str | None, beginning: str, after: str | None, limit: int
    ) -> list[tuple[str, Device]]:
        """(user_id, device) by device id: a user's, those whose id begins so, behind *after*."""

    async def profiles(self, app: str, user_ids: Sequence[str]) -> dict[str, Profile]:
        """One query; unknown users are absent."""

    async def put_user(self, change: UserChange, now: Millis) -> tuple[Profile, bool]:
        """Creates or changes; True where it is new. Audited as ``user.update``."""

    async def in_flight(self, app: str, user_id: str, now: Millis) -> list[DeliveryRef]:
        """Their deliveries in messages that are not archived whole, scheduled ones too."""

    async def delete_user(
        self, app: str, user_id: str, by: str, now: Millis, *, known_as: str | None = None, in_flight: bool = False
    ) -> bool:
        """Erases the user, devices, tokens and message contents addressed to them only. Audited as ``user.erase``.

        *known_as*: what stands for them and their devices in the audit from now on; None: their names. *in_flight*:
        something is on its way to them, so they are erased though the ledger holds nothing yet.
        """

    async def bind(self, app: str, device_id: str, user_id: str, now: Millis) -> Binding:
        """Binds a device to a user: the same user keeps the epoch, another raises it and the old user's tokens die."""

    async def register(self, registration: DeviceRegistration, now: Millis) -> tuple[Binding, bool]:
        """Creates or changes a device; True where it is new. A token value seen on another device of the app with the
        same path leaves that one (history kept)."""

    async def device(self, app: str, device_id: str) -> tuple[str, Device] | None:
        """(user_id, device)."""

    async def owners(self, app: str, device_ids: Sequence[str]) -> dict[str, str]:
        """user_id by device_id; unknown ones are absent."""

    async def remove_device(self, app: str, device_id: str, now: Millis) -> Binding | None:
        """Logout; None where unknown."""

    async def kill_token(
        self, app: str, device_id: str, path: Path, value: str, environment: str | None, *, since: Millis, reason: str
    ) -> Profile | None:
        """The provider's verdict: deactivates the token only where it was registered before *since* (invariant 6)."""

    async def seen(self, app: str, device_ids: Sequence[str], now: Millis) -> None:
        """Bulk update of last_seen, at most once an hour a device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyVersion:
    """A published or drafted document."""

    name: str
    version: int | None  #: None: the draft
    document: str
    etag: str
    published_at: Millis | None = None
    by: str = ""
    percent: int = 100
    state: str = "draft"  #: draft, live, partial, retired


#: Called inside the transaction with the document and what is published under other names; raises to refuse.
Judge = Callable[[str, Sequence[StrategyVersion]], None]


class StrategyStore(Protocol):
    """Strategy documents by app and name. The shipped default is version 1 of ``default`` in every new app."""

    async def published(self, app: str) -> list[StrategyVersion]:
        """Live versions of all names, partial ones after the one they are tried against."""

    async def revision(self) -> int:
        """Rises with every publish anywhere: workers compare it to reload."""

    async def draft(self, app: str, name: str) -> StrategyVersion | None: ...

    async def put_draft(
        self, app: str, name: str, document: str, *, if_match: str | None, by: str, now: Millis
    ) -> StrategyVersion:
        """Raises ``StaleDraft`` (412) on a lost race and ``MissingPrecondition`` (428) where If-Match is due."""

    async def publish(
        self, app: str, name: str, *, percent: int, by: str, now: Millis, judge: Judge | None = None
    ) -> StrategyVersion:
        """Turns the draft into the next version; the draft is gone then. Raises ``NoDraft``, or what *judge* raises;
        then nothing was changed."""

    async def rollback(
        self, app: str, name: str, version: int, *, by: str, now: Millis, judge: Judge | None = None
    ) -> StrategyVersion:
        """Makes an earlier version's document live again, as a new version to all. KeyError: there is none."""

    async def versions(self, app: str, name: str) -> list[StrategyVersion]: ...

    async def version(self, app: str, name: str, version: int) -> StrategyVersion | None: ...

    async def delete(self, app: str, name: str, *, by: str, now: Millis) -> bool:
        """Removes a strategy from the live set; its versions stay readable. ``default`` cannot go."""

    async def learning(self, app: str) -> LearningSettings:
        """Whether the app learns from receipts, and what its operators pinned; never changed without a new revision."""

    async def switch_learning(self, app: str, enabled: bool, *, by: str, now: Millis) -> None:
        """Audited as ``learning.switch``."""

    async def pin(self, app: str, key: str, pin: Pin | None, *, by: str, now: Millis) -> bool:
        """Sets a value by hand, or with None takes it away (False where there was none); audited as ``learning.pin``
        and ``learning.unpin``. *key*: see :class:`~dispatcher.ports.learning.LearningSettings`."""


class StaleDraft(Exception):
    """If-Match named an older draft."""


class MissingPrecondition(Exception):
    """The name exists, so If-Match is required."""


class NoDraft(Exception):
    """Nothing to publish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    at: Millis
    who: str
    action: str
    subject: str
    detail: Mapping[str, Any]


class Audit(Protocol):
    """Who changed what."""

    async def record(self, app: str, entry: AuditEntry) -> None: ...

    async def entries(self, app: str, *, before: int | None, limit: int) -> list[tuple[int, AuditEntry]]: ...
