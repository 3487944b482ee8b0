"""One text at the carrier: its resource, its life and what its status callbacks say."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from email.utils import format_datetime
from typing import Any, NamedTuple

from providers.sandbox.script import ReceiptScript
from providers.sandbox.segments import segments
from providers.sandbox.sms_errors import DELIVERY_ERRORS, UNKNOWN_ERROR, VALIDITY_PASSED

API_VERSION = "2010-04-01"
PRICE_PER_SEGMENT = 0.0079
SENT_WITHIN_S = 0.2
"""A text leaves the queue this soon, or at half of ``receipt.after`` if that is sooner."""
REORDER_S = 0.05
ENDED = frozenset({"delivered", "undelivered", "failed", "canceled"})


class Step(NamedTuple):
    """*status* is reached *after_s* seconds from acceptance."""

    after_s: float
    status: str
    error_code: int | None = None


def life(receipt: ReceiptScript, after_s: float, error_code: int | None, validity_s: int | None) -> list[Step]:
    """What will become of a text taken now; *error_code* is a scripted delivery error.

    A text that would wait longer than its validity period fails with 30036 when that has passed.
    """
    if validity_s is not None and after_s > validity_s:
        return [Step(validity_s, "failed", VALIDITY_PASSED)]
    code = error_code or receipt.error_code
    final = DELIVERY_ERRORS.get(error_code, "undelivered") if error_code else receipt.status or "delivered"
    match final:
        case "queued":
            return []
        case "sending" | "sent" | "canceled":
            return [Step(after_s, final)]
        case "failed":
            return [Step(after_s, "failed", code or UNKNOWN_ERROR)]
        case "undelivered":
            return [Step(min(after_s / 2, SENT_WITHIN_S), "sent"), Step(after_s, "undelivered", code or UNKNOWN_ERROR)]
        case _:
            return [Step(min(after_s / 2, SENT_WITHIN_S), "sent"), Step(after_s, "delivered")]


@dataclass(slots=True, kw_only=True)
class Text:
    """Times are seconds since the epoch."""

    account_sid: str
    to: str
    sender: str | None
    service_sid: str | None
    body: str
    callback: str | None
    created: float
    status: str
    sid: str = field(default_factory=lambda: f"SM{secrets.token_hex(16)}")
    updated: float = 0.0
    sent: float | None = None
    error_code: int | None = None
    callbacks: list[dict[str, Any]] = field(default_factory=list)

    def reach(self, step: Step, now: float) -> None:
        """Move on; an ended text stays as it is."""
        if self.status in ENDED:
            return
        self.status, self.error_code, self.updated = step.status, step.error_code, now
        if step.status in ("sent", "delivered") and self.sent is None:
            self.sent = now

    @property
    def on_the_phone(self) -> bool:
        """Whether a phone would show it: it left the carrier and did not come back undelivered."""
        return self.status in ("sent", "delivered")

    def day(self) -> date:
        """The day (UTC) that DateSent filters compare with: sent, else created."""
        return datetime.fromtimestamp(self.created if self.sent is None else self.sent, UTC).date()

    def resource(self) -> dict[str, Any]:
        """The Message resource of the REST API; price stays null until the text left."""
        count = segments(self.body).number
        uri = f"/{API_VERSION}/Accounts/{self.account_sid}/Messages/{self.sid}"
        return {
            "account_sid": self.account_sid,
            "api_version": API_VERSION,
            "body": self.body,
            "date_created": _date(self.created),
            "date_sent": None if self.sent is None else _date(self.sent),
            "date_updated": _date(self.updated or self.created),
            "direction": "outbound-api",
            "error_code": self.error_code,
            "error_message": None if self.error_code is None else f"Error {self.error_code}",
            "from": self.sender,
            "messaging_service_sid": self.service_sid,
            "num_media": "0",
            "num_segments": str(count),
            "price": None if self.sent is None else f"-{count * PRICE_PER_SEGMENT:.5f}",
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {"media": f"{uri}/Media.json", "feedback": f"{uri}/Feedback.json"},
            "to": self.to,
            "uri": f"{uri}.json",
        }

    def form(self, step: Step) -> dict[str, str]:
        """The parameters of the status callback for *step*."""
        form = {
            "SmsSid": self.sid,
            "SmsStatus": step.status,
            "MessageStatus": step.status,
            "To": self.to,
            "MessageSid": self.sid,
            "AccountSid": self.account_sid,
            "From": self.sender or "",
            "ApiVersion": API_VERSION,
        }
        if self.service_sid:
            form["MessagingServiceSid"] = self.service_sid
        if step.error_code is not None:
            form["ErrorCode"] = str(step.error_code)
        return {name: value for name, value in form.items() if value}

    def shown(self) -> dict[str, Any]:
        """As ``GET /control/sms/outbox`` shows it."""
        size = segments(self.body)
        return {
            "sid": self.sid,
            "to": self.to,
            "from": self.sender,
            "body": self.body,
            "status": self.status,
            "at": datetime.fromtimestamp(self.created, UTC).isoformat(timespec="milliseconds"),
            "segments": size.number,
            "encoding": size.encoding,
            "callbacks": self.callbacks,
        }


def _date(moment: float) -> str:
    return format_datetime(datetime.fromtimestamp(moment, UTC))


class Texts:
    """Every text taken, up to *limit*; beyond it the oldest are forgotten and counted in ``dropped``."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_sid: dict[str, Text] = {}
        self._by_number: dict[str, list[Text]] = {}
        self.dropped = 0

    def add(self, text: Text) -> None:
        """Keep a new text."""
        self._by_sid[text.sid] = text
        self._by_number.setdefault(text.to, []).append(text)
        if len(self._by_sid) > self._limit:
            oldest = self._by_sid.pop(next(iter(self._by_sid)))
            rest = self._by_number[oldest.to]
            rest.remove(oldest)
            if not rest:
                del self._by_number[oldest.to]
            self.dropped += 1

    def get(self, sid: str) -> Text | None:
        """By sid."""
        return self._by_sid.get(sid)

    def newest_first(self, number: str | None, wanted: Callable[[Text], bool]) -> Iterator[Text]:
        """Those to *number* (None: to all) that are *wanted*."""
        texts = list(self._by_sid.values()) if number is None else self._by_number.get(number, [])
        return (text for text in reversed(texts) if wanted(text))
