"""Bodies of the routes for apps: their rules, keys, credentials, block lists."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from dispatcher.api.checks import ClassName, Id, Locale, TimeText, ZoneName
from dispatcher.api.contract import Scope
from dispatcher.domain.clock import rfc3339
from dispatcher.ports.directory import ApiKey, App
from dispatcher.ports.operations import Block

RateIn = Annotated[int, Meta(ge=1, le=1_000_000, description="requests a second")]
Name = Annotated[str, Meta(min_length=1, max_length=128)]


class AppIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """A new app; its ``default`` strategy comes with it."""

    app_id: Id
    name: Name | None = None
    time_zone: ZoneName = "UTC"


class AppChange(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is left out stays. ``classes``: which the app may dispatch, null: any. A rate of null: the setting's."""

    name: Name | UnsetType = UNSET
    time_zone: ZoneName | UnsetType = UNSET
    classes: Annotated[list[ClassName], Meta(min_length=1, max_length=200)] | UnsetType | None = UNSET
    rate_per_key: RateIn | UnsetType | None = UNSET
    rate_per_device: RateIn | UnsetType | None = UNSET
    default_locale: Locale | UnsetType | None = UNSET


class AppOut(Struct, kw_only=True):
    """One app."""

    app_id: str
    name: str
    time_zone: str
    classes: list[str] | None
    rate_per_key: int | None
    rate_per_device: int | None
    default_locale: str | None = None  #: of templates, where a recipient's language is not known
    etag: str  #: for If-Match, as in the header


class AppsOut(Struct):
    """By id."""

    apps: list[AppOut]


def app_out(app: App) -> AppOut:
    """As the API shows it."""
    rules = app.settings
    return AppOut(
        app_id=app.app_id,
        name=app.name,
        time_zone=app.time_zone,
        classes=rules.get("classes"),
        rate_per_key=rules.get("rate_per_key"),
        rate_per_device=rules.get("rate_per_device"),
        default_locale=rules.get("default_locale"),
        etag=app.etag,
    )


class KeyIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """A new API key."""

    name: Name
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=6)]


class KeyOut(Struct, kw_only=True):
    """A key without its text."""

    key_id: str
    name: str
    scopes: list[str]
    created_at: str
    revoked_at: str | None


class NewKeyOut(KeyOut, kw_only=True):
    """Its text is shown this once."""

    api_key: str


class KeysOut(Struct):
    """Oldest first, revoked ones too."""

    keys: list[KeyOut]


def key_members(key: ApiKey) -> dict[str, Any]:
    """Members of :class:`KeyOut`."""
    return {
        "key_id": key.key_id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "created_at": rfc3339(key.created_at),
        "revoked_at": rfc3339(key.revoked_at) if key.revoked_at is not None else None,
    }


class BlockIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """``value``: a user id, or an address or network (``203.0.113.7``, ``2001:db8::/32``). ``until`` null: for good."""

    kind: Literal["address", "user"]
    value: Id
    reason: Annotated[str, Meta(max_length=500)] = ""
    until: TimeText | None = None


class BlockParams(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which block."""

    kind: Literal["address", "user"]
    value: Id


class BlockOut(Struct, kw_only=True):
    """One block."""

    kind: str
    value: str
    reason: str
    until: str | None
    by: str
    at: str
    etag: str  #: for If-Match, as in the header


class BlocksOut(Struct):
    """By kind and value."""

    blocks: list[BlockOut]


def block_out(block: Block) -> BlockOut:
    """As the API shows it."""
    return BlockOut(
        kind=block.kind,
        value=block.value,
        reason=block.reason,
        until=rfc3339(block.until) if block.until is not None else None,
        by=block.by,
        at=rfc3339(block.at),
        etag=block.etag,
    )
