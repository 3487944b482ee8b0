"""Bodies of the strategy and operations routes."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from dispatcher.api.checks import TimeText
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
    """One published version, and what it came to in the window that was asked for (null: nothing settled)."""

    version: int
    published_at: str | None
    by: str
    percent: int
    state: str
    figures: dict[str, Any] | None = None


class VersionsParams(Struct, forbid_unknown_fields=True, kw_only=True):
    """The window of the figures, by when deliveries were settled; the last 24 hours where left out.

    They are counted row by row, which takes its time over a busy day: ``figures`` false leaves them out.
    ``GET /v1/stats?by=strategy`` has much the same from roll-ups.
    """

    since: TimeText | None = None
    until: TimeText | None = None
    figures: bool = True


class RollbackIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which version's document is to be live again."""

    version: Annotated[int, Meta(ge=1, le=2_000_000_000)]


class RollbackOut(Struct, kw_only=True):
    """The version that is live for all now, with the document of ``of``."""

    name: str
    version: int
    percent: int
    of: int


class SimulateIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """A document against given facts, or against the traffic of a window.

    ``facts``: flat or nested by their dotted names. ``sample``: a share of the deliveries (at most 1), or how many of
    them (above 1).
    """

    strategy: dict[str, Any] | str
    facts: dict[str, Any] | None = None
    since: TimeText | None = None
    until: TimeText | None = None
    sample: Annotated[float, Meta(gt=0, le=1e9)] = 1.0
    segment_price: Annotated[float, Meta(ge=0, le=1e6)] = 0.0


class LearningIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """Whether `auto` waits and the ack-rate facts follow receipts."""

    enabled: bool


class PinIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """Values to use instead of learned ones; null leaves the learned one."""

    ack_rate: Annotated[float, Meta(ge=0, le=1)] | None = None
    p95_s: Annotated[float, Meta(gt=0, le=604_800)] | None = None


class PinOut(Struct, kw_only=True):
    """A pinned device or segment on one path."""

    key: str
    ack_rate: float | None
    p95_s: float | None


class LearningOut(Struct, kw_only=True):
    """The switch, the pins, and every segment's numbers by its key."""

    enabled: bool
    pins: list[PinOut]
    segments: dict[str, Any]


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
