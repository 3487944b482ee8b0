"""Query parameters and answers of the routes for looking: figures, deliveries, providers, dead letters."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from dispatcher.api.checks import ClassName, Id, TimeText
from dispatcher.domain.clock import rfc3339
from dispatcher.domain.histogram import quantile_s
from dispatcher.ports.operations import ListedDelivery
from dispatcher.ports.webhooks import Webhook

STATES = ("scheduled", "held", "open", "suppressed", "expired", "exhausted", "confirmed", "recalled")


class StatsParams(Struct, forbid_unknown_fields=True, kw_only=True):
    """``by``: some of class, path, platform, strategy, time, separated by commas. ``step``: 1m, 1h or 1d."""

    from_: TimeText | None = field(name="from", default=None)
    to: TimeText | None = None
    by: Annotated[str, Meta(max_length=64)] = ""
    step: Annotated[str, Meta(pattern=r"^1[mhd]$(?!\n)")] | None = None
    class_: ClassName | None = field(name="class", default=None)


class ProofTime(Struct, kw_only=True):
    """From acceptance to proof, of those proven; right within a tenth."""

    count: int
    p50_s: float | None
    p95_s: float | None


def proof_time(counts: dict[int, int]) -> ProofTime:
    """From a histogram."""
    return ProofTime(count=sum(counts.values()), p50_s=quantile_s(counts, 0.5), p95_s=quantile_s(counts, 0.95))


class Funnel(Struct, kw_only=True):
    """How far deliveries got, each stage within the one before; what is still open counts as accepted only.

    ``attempted``: something left for a provider, or a phone fetched it by itself; ``delivered``: a device's receipt or
    the carrier's; ``opened``: the device said so. ``accepted`` is null where the grouping cannot tell.
    """

    accepted: int | None
    attempted: int
    delivered: int
    opened: int


class StatsRow(Struct, kw_only=True):
    """Figures of one group. What the grouping cannot tell is null: acceptances have neither path, platform nor
    strategy yet. ``open`` = accepted - settled. ``path`` is the one whose proof settled a delivery, and for
    ``outcomes`` and ``sms_segments`` the one that was tried."""

    class_: str | None = field(name="class", default=None)
    path: str | None = None
    platform: str | None = None
    strategy: str | None = None
    version: int | None = None
    at: str | None = None
    accepted: int | None = None
    settled: int = 0
    open: int | None = None
    funnel: Funnel
    ends: dict[str, int]
    confirmed: dict[str, int]
    time_to_proof: ProofTime
    sms_segments: dict[str, int]
    outcomes: dict[str, dict[str, int]]


class StatsOut(Struct, kw_only=True):
    """Everything is counted where its message was accepted; outcomes and segments where the attempt was made."""

    from_: str = field(name="from")
    to: str
    step: str
    as_of: str
    by: list[str]
    totals: StatsRow
    rows: list[StatsRow]


class DeliveriesParams(Struct, forbid_unknown_fields=True, kw_only=True):
    """``before``: a page's ``next``. ``from`` and ``to`` are times of acceptance."""

    user_id: Id | None = None
    device_id: Id | None = None
    class_: ClassName | None = field(name="class", default=None)
    state: Annotated[str, Meta(max_length=128)] | None = None
    from_: TimeText | None = field(name="from", default=None)
    to: TimeText | None = None
    before: Annotated[str, Meta(pattern=r"^[0-9a-f]{20}$(?!\n)")] | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class DeliveryOut(Struct, kw_only=True):
    """One delivery."""

    delivery_id: str
    message_id: str
    user_id: str
    class_: str = field(name="class")
    state: str
    proof: str
    confirmed_by: str | None
    confirmed_at: str | None
    accepted_at: str
    settled_at: str | None
    strategy: str | None
    version: int | None
    rule: str | None
    platform: str | None
    devices: list[str]


class DeliveriesOut(Struct):
    """Newest first. ``next`` null: there is no more; a page may be short though there is."""

    deliveries: list[DeliveryOut]
    next: str | None


def _time(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)


def delivery_out(row: ListedDelivery, delivery_id: str) -> DeliveryOut:
    """As the API shows it."""
    return DeliveryOut(
        delivery_id=delivery_id,
        message_id=row.message_id,
        user_id=row.user_id,
        class_=row.klass,
        state=row.state,
        proof=row.proof.name.lower(),
        confirmed_by=row.confirmed_by,
        confirmed_at=_time(row.confirmed_at),
        accepted_at=rfc3339(row.accepted_at),
        settled_at=_time(row.settled_at),
        strategy=row.strategy,
        version=row.version,
        rule=row.rule,
        platform=row.platform,
        devices=list(row.devices),
    )


class DeadLetterParams(Struct, forbid_unknown_fields=True, kw_only=True):
    """``kind``: deliveries, or webhooks that were given up (all on one page). ``before``: a page's ``next``."""

    kind: Literal["delivery", "webhook"] = "delivery"
    class_: ClassName | None = field(name="class", default=None)
    user_id: Id | None = None
    from_: TimeText | None = field(name="from", default=None)
    to: TimeText | None = None
    before: Annotated[str, Meta(pattern=r"^[0-9a-f]{20}$(?!\n)")] | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class DeadLetterOut(Struct, kw_only=True, tag_field="kind", tag="delivery"):
    """A delivery that every step was tried for, without proof. ``replayed_as``: the new message's id."""

    id: str
    message_id: str
    user_id: str
    class_: str = field(name="class")
    at: str
    accepted_at: str
    reason: str = "exhausted"
    rule: str | None
    replayed_as: str | None


class DeadWebhookOut(Struct, kw_only=True, tag_field="kind", tag="webhook"):
    """A webhook that failed for a day, or whose receiver is gone: so many ``events`` wait until it is replayed."""

    id: str
    url: str
    at: str
    failing_since: str
    reason: str
    events: int


def dead_webhook(webhook: Webhook) -> DeadWebhookOut:
    """One that was given up."""
    return DeadWebhookOut(
        id=webhook.webhook_id,
        url=webhook.url,
        at=rfc3339(webhook.paused_at or 0),
        failing_since=rfc3339(webhook.failing_since or 0),
        reason=webhook.paused_reason or "",
        events=webhook.waiting,
    )


class DeadLettersOut(Struct):
    """Newest first."""

    dead_letters: list[DeadLetterOut | DeadWebhookOut]
    next: str | None


class ReplayedOut(Struct, kw_only=True):
    """The message under its new id; ``duplicate``: it had been replayed before."""

    id: str
    message_id: str
    accepted_at: str
    duplicate: bool
