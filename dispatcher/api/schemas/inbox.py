"""Inbox queries and receipts."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from dispatcher.api.bodies import join
from dispatcher.api.checks import DurationText, Id, TimeText, read_duration, read_time
from dispatcher.domain.clock import MINUTE, SECOND, Millis
from dispatcher.domain.paths import Path
from dispatcher.domain.receipt import EVENTS
from dispatcher.domain.requests import (
    DEFAULT_INBOX_LIMIT,
    MAX_INBOX_LIMIT,
    MAX_RECEIPTS,
    InboxQuery,
    ReceiptItem,
    Window,
)
from dispatcher.errors import Problem

#: The longest wait a caller may ask for; the API itself waits MAX_API_WAIT of it, the gateway all.
MAX_WAIT: Millis = MINUTE
MAX_API_WAIT: Millis = 5 * SECOND


class InboxParams(Struct, forbid_unknown_fields=True, kw_only=True):
    """Query of an inbox pull. ``user_id`` with an API key or an operator's session, ``unmask`` with the latter only."""

    limit: Annotated[int, Meta(ge=1, le=MAX_INBOX_LIMIT)] = DEFAULT_INBOX_LIMIT
    before: Id | None = None
    after: Id | None = None
    wait: DurationText | None = None
    window: Window = Window.RECENT
    user_id: Id | None = None
    unmask: bool = False


class InboxMessage(Struct, kw_only=True):
    """One message as the phone stores it."""

    cursor: str
    delivery_id: str
    message_id: str
    class_: str
    notification: dict[str, Any] | None
    data: dict[str, Any] | None
    sent_at: str


class InboxOut(Struct, kw_only=True):
    """One page. ``next`` goes into ``before`` (or ``after``), ``poll_after`` says when to come back.

    ``masked`` is there for operators only: whether what notifications and data say is hidden.
    """

    messages: list[dict[str, Any]]
    next: str | None
    more: bool
    unread: int
    poll_after: str
    masked: bool | UnsetType = UNSET


class ReceiptIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """One piece of evidence: delivery_id or message_id, and what happened."""

    event: Literal["delivered", "displayed", "opened"]
    delivery_id: Id | None = None
    message_id: Id | None = None
    via: Literal["longconn", "apns", "fcm", "poll"] | None = None
    attempt_id: Id | None = None
    at: TimeText | None = None
    user_id: Id | None = None
    device_id: Id | None = None


class ReceiptsIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """Up to 500."""

    receipts: Annotated[list[ReceiptIn], Meta(max_length=MAX_RECEIPTS)]


class CountsOut(Struct, kw_only=True):
    """The three sum up to what was sent."""

    accepted: int
    unknown: int
    duplicate: int


def to_inbox_query(params: InboxParams) -> tuple[InboxQuery, Millis]:
    """The query and how long this API waits; Problem 422."""
    wait = 0
    if params.wait is not None:
        wait = min(read_duration("wait", params.wait, least=0, most=MAX_WAIT), MAX_API_WAIT)
    if params.before is not None and params.after is not None:
        raise Problem.invalid("before", "not together with after")
    query = InboxQuery(limit=params.limit, before=params.before, after=params.after, window=params.window)
    return query, wait


_HIDDEN = "•••"


def for_operator(page: bytes, *, masked: bool) -> dict[str, Any]:
    """A page as an operator sees it: members stay, what they say is hidden."""
    shown: dict[str, Any] = msgspec.json.decode(page)
    if masked:
        for message in shown["messages"]:
            message.update({name: _hidden(message.get(name)) for name in ("notification", "data")})
    return {**shown, "masked": masked}


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _hidden(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_hidden(one) for one in value]
    return None if value is None else _HIDDEN


def to_receipt(receipt: ReceiptIn, field: str, user_id: str, device_id: str | None) -> ReceiptItem:
    """One receipt of *user_id*; Problem 422."""
    if receipt.delivery_id is None and receipt.message_id is None:
        raise Problem.invalid(join(field, "delivery_id"), "delivery_id or message_id is required")
    return ReceiptItem(
        user_id=user_id,
        device_id=device_id,
        event=EVENTS[receipt.event],
        delivery_id=receipt.delivery_id,
        message_id=receipt.message_id,
        via=Path(receipt.via) if receipt.via is not None else None,
        attempt_id=receipt.attempt_id,
        at=read_time(join(field, "at"), receipt.at) if receipt.at is not None else None,
    )
