"""Bodies of the strategy and operations routes."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from dispatcher.api.core import DocumentFault


class PublishIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """To which share of users; all where left out."""

    percent: Annotated[int, Meta(ge=1, le=100)] = 100


class PublishOut(Struct, kw_only=True):
    """The version that is live now."""

    name: str
    version: int
    percent: int


class StrategyOut(Struct, kw_only=True):
    """One live version, and whether a draft of it waits."""

    name: str
    version: int | None
    percent: int
    state: str
    published_at: str | None
    by: str
    etag: str
    draft: bool


class StrategiesOut(Struct):
    """All names with a live version."""

    strategies: list[StrategyOut]


class DraftOut(Struct, kw_only=True):
    """A stored draft."""

    name: str
    state: str
    etag: str


class VersionOut(Struct, kw_only=True):
    """One published version."""

    version: int
    published_at: str | None
    by: str
    percent: int
    state: str


class VersionsOut(Struct):
    """Newest first."""

    versions: list[VersionOut]


class ValidationOut(Struct):
    """Every fault with line and column, from 1."""

    valid: bool
    errors: list[DocumentFault]


class AuditParams(Struct, forbid_unknown_fields=True, kw_only=True):
    """``before``: a page's ``next``."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    before: Annotated[int, Meta(ge=1)] | None = None


class AuditOut(Struct, kw_only=True):
    """One change."""

    at: str
    who: str
    action: str
    subject: str
    detail: dict[str, Any]


class AuditPage(Struct):
    """Newest first."""

    entries: list[AuditOut]
    next: str | None


class ReadyOut(Struct):
    """By part: ``ok`` or what is wrong."""

    status: str
    checks: dict[str, str]
