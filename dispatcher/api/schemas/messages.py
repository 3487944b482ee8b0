"""Bodies of the dispatch routes."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from dispatcher.api.bodies import join
from dispatcher.api.checks import ClassName, DurationText, Id, TimeText, read_duration, read_time
from dispatcher.domain.clock import Millis, rfc3339
from dispatcher.domain.message import Priority
from dispatcher.domain.requests import (
    DEFAULT_TTL,
    MAX_AHEAD,
    MAX_BATCH_MESSAGES,
    MAX_CONTENT_BYTES,
    MAX_RECIPIENTS,
    MAX_TTL,
    Accepted,
    DispatchRequest,
    content_bytes,
)
from dispatcher.errors import FieldError, Problem, ProblemBody
from dispatcher.pipeline.recall import Recalled

#: Names that push payloads keep for themselves.
RESERVED_DATA = frozenset({"pushpath", "aps"})


class To(Struct, forbid_unknown_fields=True, kw_only=True):
    """Recipients: users, or single devices of theirs. One delivery a user, also when several devices are named."""

    user_ids: Annotated[list[Id], Meta(max_length=MAX_RECIPIENTS)] = []
    device_ids: Annotated[list[Id], Meta(max_length=MAX_RECIPIENTS)] = []


class Notification(Struct, forbid_unknown_fields=True, kw_only=True):
    """What the phone shows."""

    title: Annotated[str, Meta(max_length=1_000)] | UnsetType | None = UNSET
    body: Annotated[str, Meta(max_length=4_000)] | UnsetType | None = UNSET
    badge: Annotated[int, Meta(ge=0, le=2_147_483_647)] | UnsetType | None = UNSET
    sound: Annotated[str, Meta(max_length=255)] | UnsetType | None = UNSET
    image: Annotated[str, Meta(pattern="^https?://", max_length=2_048)] | UnsetType | None = UNSET


class Sms(Struct, forbid_unknown_fields=True, kw_only=True):
    """Without text an SMS says "{title}: {body}"."""

    text: Annotated[str, Meta(min_length=1, max_length=1_600)] | None = None


class MessageIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """One message to dispatch. One of notification, data and template is required."""

    message_id: Id
    to: To
    class_: ClassName = msgspec.field(default="chat", name="class")
    notification: Notification | None = None
    data: dict[str, Any] | None = None
    sms: Sms | None = None
    template: Id | None = None
    params: dict[str, Any] | None = None
    priority: Priority = Priority.NORMAL
    ttl: DurationText | None = None
    collapse_key: Id | None = None
    strategy: Id | None = None
    not_before: TimeText | None = None
    dry_run: bool = False


class BatchIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """Up to 1,000 messages; each is read and answered on its own."""

    messages: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_BATCH_MESSAGES)]


class BatchInSchema(Struct, forbid_unknown_fields=True, kw_only=True):
    """Up to 1,000 messages; each is read and answered on its own."""

    messages: Annotated[list[MessageIn], Meta(min_length=1, max_length=MAX_BATCH_MESSAGES)]


class Named(Struct):
    """As much of a message that could not be read as is needed to say which one it was."""

    message_id: Any = None


class AcceptedOut(Struct, kw_only=True):
    """The ledger holds it."""

    message_id: str
    accepted_at: str
    recipients: int
    duplicate: bool


class BatchResult(Struct, kw_only=True, omit_defaults=True):
    """What became of one message of a batch: the fields of its own answer, or ``error``."""

    message_id: str | None
    status: int
    accepted_at: str | None = None
    recipients: int | list[dict[str, Any]] | None = None  #: of a dry run the plans
    duplicate: bool | None = None
    error: ProblemBody | None = None


class BatchOut(Struct):
    """In the order of the request."""

    results: list[BatchResult]


class DryRunOut(Struct):
    """What planning would decide; nothing was stored or sent."""

    recipients: list[dict[str, Any]]


class RecalledOut(Struct, kw_only=True):
    """The recall is written; what is pending dies. ``pending``: deliveries that were still open.

    A text cannot be taken back: ``sms_sent`` names users whose SMS is out, ``sms_possible`` whose was leaving just now.
    """

    message_id: str
    state: str = "recalled"
    deliveries: int = 0
    pending: int = 0
    sms_sent: list[str] = []
    sms_possible: list[str] = []


def recalled_out(recalled: Recalled) -> RecalledOut:
    """As the caller sees it."""
    return RecalledOut(
        message_id=recalled.message_id,
        deliveries=recalled.deliveries,
        pending=recalled.pending,
        sms_sent=list(recalled.sms_sent),
        sms_possible=list(recalled.sms_possible),
    )


def accepted_out(accepted: Accepted) -> AcceptedOut:
    """As the caller sees it."""
    return AcceptedOut(
        message_id=accepted.message_id,
        accepted_at=rfc3339(accepted.accepted_at),
        recipients=accepted.recipients,
        duplicate=accepted.duplicate,
    )


def to_dispatch(message: MessageIn, now: Millis, prefix: str = "") -> DispatchRequest:
    """Checks what types cannot say and fills in the defaults; Problem 422 names every field at fault."""
    user_ids = tuple(dict.fromkeys(message.to.user_ids))
    device_ids = tuple(dict.fromkeys(message.to.device_ids))
    notification = None if message.notification is None else msgspec.to_builtins(message.notification)
    faults = [FieldError(join(prefix, field), text) for field, text in _faults(message, user_ids, device_ids)]
    size = content_bytes(notification, message.data)
    if size > MAX_CONTENT_BYTES:
        field = "notification" if content_bytes(notification, None) > MAX_CONTENT_BYTES else "data"
        fault = f"notification and data are {size} bytes together, at most {MAX_CONTENT_BYTES} go"
        faults.append(FieldError(join(prefix, field), fault))
    ttl, not_before = DEFAULT_TTL, None
    try:
        if message.ttl is not None:
            ttl = read_duration(join(prefix, "ttl"), message.ttl, least=1, most=MAX_TTL)
        if message.not_before is not None:
            not_before = read_time(join(prefix, "not_before"), message.not_before)
            if not_before > now + MAX_AHEAD:
                raise Problem.invalid(join(prefix, "not_before"), "at most 30 days ahead")
    except Problem as problem:
        faults.extend(problem.errors)
    if faults:
        raise Problem.invalid_fields(faults)
    return DispatchRequest(
        message_id=message.message_id,
        user_ids=user_ids,
        device_ids=device_ids,
        klass=message.class_,
        notification=notification,
        data=message.data,
        sms_text=message.sms.text if message.sms is not None else None,
        template=message.template,
        params=message.params or {},
        priority=message.priority,
        ttl_ms=ttl,
        collapse_key=message.collapse_key,
        strategy=message.strategy,
        not_before=not_before,
        dry_run=message.dry_run,
    )


def _faults(message: MessageIn, user_ids: tuple[str, ...], device_ids: tuple[str, ...]) -> list[tuple[str, str]]:
    faults = []
    if not user_ids and not device_ids:
        faults.append(("to", "name at least one user or device"))
    if len(user_ids) + len(device_ids) > MAX_RECIPIENTS:
        faults.append(("to", f"at most {MAX_RECIPIENTS} recipients a message"))
    if message.notification is None and message.data is None and message.template is None:
        faults.append(("notification", "one of notification, data and template is required"))
    shown = message.notification
    if shown is not None and all(part in {UNSET, None} for part in (shown.title, shown.body, shown.badge, shown.sound)):
        faults.append(("notification", "say at least one of title, body, badge, sound"))
    faults.extend((f"data.{name}", "the name is reserved") for name in sorted(RESERVED_DATA & set(message.data or ())))
    if message.params and message.template is None:
        faults.append(("params", "only with a template"))
    return faults
