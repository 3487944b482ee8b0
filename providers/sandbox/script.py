"""What an end is told to do wrong: the document of ``PUT /control/{end}`` and its state while it is in force."""

import fnmatch
import re
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from providers.sandbox.duration import seconds
from providers.sandbox.wire.exchange import Wire

Count = Annotated[int, Meta(ge=1)]
Status = Annotated[int, Meta(ge=200, le=599)]
SmsStatus = Literal["queued", "sending", "sent", "delivered", "undelivered", "failed", "canceled"]


class Fault(StrEnum):
    """How a matched request fails on the wire, beside or instead of an error answer."""

    SPLIT = "split"  #: the body in two DATA frames
    STALL = "stall"  #: headers and half of the body, then nothing
    RESET = "reset"  #: RST_STREAM
    CLOSE = "close"  #: the connection is cut
    SILENT = "silent"  #: processed by the vendor, never answered
    DROP = "drop"  #: logged, neither processed nor answered
    EMPTY = "empty"  #: an answer without a body
    NO_ID = "no_id"  #: an answer without its apns-id

    @property
    def wire(self) -> Wire:
        """The transport's share of it."""
        return Wire(self.value) if self.value in set(Wire) else Wire.WHOLE


class ErrorRule(Struct, frozen=True, forbid_unknown_fields=True):
    """One scripted error. Without status and reason, *wire* alone decides and the vendor takes the request."""

    match: str | None = None  #: shell-style pattern over the token or number; absent: all
    status: Status | None = None
    reason: str | None = None  #: the vendor's word (for Twilio: the error code); absent: the usual one of the status
    times: Count | None = None
    retry_after: Annotated[int, Meta(ge=0)] | None = None  #: seconds
    timestamp_ms: int | None = None  #: of APNs 410; absent: now
    wire: Fault | None = None
    field: str | None = None  #: FCM: the message field that a BadRequest detail names
    latency: str | None = None  #: instead of the end's


class ReceiptScript(Struct, frozen=True, forbid_unknown_fields=True):
    """What the carrier reports (SMS only), and how badly."""

    after: str | None = None
    status: SmsStatus | None = None
    error_code: int | None = None
    repeat: Annotated[int, Meta(ge=0, le=10)] | None = None  #: how often each callback is posted; 0: never
    reorder: bool | None = None  #: the final status first, then the earlier ones
    forge: bool | None = None  #: sign with a wrong key


class TokenEnvironment(Struct, frozen=True, forbid_unknown_fields=True):
    """APNs: tokens that *match* are good in one environment only."""

    match: str
    environment: Literal["production", "sandbox"]


class ScriptDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``PUT /control/{apns|fcm|sms}``. Fields without meaning for an end are accepted and do nothing there."""

    latency: str | None = None
    errors: list[ErrorRule] | None = None
    goaway_after: Count | None = None
    drop_rate: Annotated[float, Meta(ge=0, le=1)] | None = None
    receipt: ReceiptScript | None = None
    environments: list[TokenEnvironment] | None = None  #: APNs
    updates_counted_by: Literal["connection", "team"] | None = None  #: APNs: where too frequent JWT changes are counted
    streams: Count | None = None  #: concurrent streams of HTTP/2 connections opened from now on
    tls_delay: str | None = None  #: before each TLS handshake
    oauth_latency: str | None = None  #: FCM
    oauth_ttl: str | None = None  #: FCM: lifetime of access tokens


class ScriptError(ValueError):
    """The document is well-formed JSON but no script; *field* names the culprit as a path such as errors[0].times."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


_WHERE = re.compile(r"(?P<message>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)


def read_script(body: bytes) -> ScriptDocument:
    """Decode *body*; msgspec.DecodeError where it is no JSON, ScriptError where it is no script."""
    try:
        document = msgspec.json.decode(body, type=ScriptDocument)
    except msgspec.ValidationError as error:
        raise _named(str(error)) from None
    _durations(document)
    return document


def _named(text: str) -> ScriptError:
    found = _WHERE.fullmatch(text)
    message, path = (found["message"], (found["path"] or "").lstrip(".")) if found else (text, "")
    unknown = _UNKNOWN.fullmatch(message)
    if unknown:
        path = f"{path}.{unknown['name']}" if path else unknown["name"]
        message = f"unknown field {unknown['name']}"
    return ScriptError(path, message)


def _durations(document: ScriptDocument) -> None:
    texts = {name: getattr(document, name) for name in ("latency", "tls_delay", "oauth_latency", "oauth_ttl")}
    if document.receipt is not None:
        texts["receipt.after"] = document.receipt.after
    for place, rule in enumerate(document.errors or []):
        texts[f"errors[{place}].latency"] = rule.latency
    for field, text in texts.items():
        try:
            _seconds(text)
        except ValueError as error:
            raise ScriptError(field, str(error)) from None


def _seconds(text: str | None, otherwise: float = 0.0) -> float:
    return otherwise if text is None else seconds(text)


class _Counted:
    """A rule and how often it may still be used."""

    __slots__ = ("left", "matches", "rule")

    def __init__(self, rule: ErrorRule) -> None:
        self.rule = rule
        self.left = rule.times
        self.matches = re.compile(fnmatch.translate("*" if rule.match is None else rule.match)).match


class Script:
    """A document in force. Replacing it starts all counts again."""

    def __init__(self, document: ScriptDocument | None = None) -> None:
        self.document = document or ScriptDocument()
        self.latency_s = _seconds(self.document.latency)
        self.drop_rate = self.document.drop_rate or 0.0
        self.goaway_after = self.document.goaway_after
        self.tls_delay_s = _seconds(self.document.tls_delay)
        self.oauth_latency_s = _seconds(self.document.oauth_latency)
        self.oauth_ttl_s = _seconds(self.document.oauth_ttl, 3599.0)
        self.receipt = self.document.receipt or ReceiptScript()
        self.receipt_after_s = _seconds(self.receipt.after, 1.0)
        self._rules = [_Counted(rule) for rule in self.document.errors or []]
        self._environments = [
            (re.compile(fnmatch.translate(item.match)).match, item.environment)
            for item in self.document.environments or []
        ]

    def error_for(self, target: str) -> ErrorRule | None:
        """The first rule for *target* with uses left, and one use of it."""
        for counted in self._rules:
            if counted.left != 0 and counted.matches(target):
                if counted.left is not None:
                    counted.left -= 1
                return counted.rule
        return None

    def environment_of(self, token: str) -> str | None:
        """The only environment in which *token* is good; None: both."""
        return next((environment for matches, environment in self._environments if matches(token)), None)

    def rule_latency_s(self, rule: ErrorRule | None) -> float:
        """Seconds before the answer to a request that *rule* matched."""
        return self.latency_s if rule is None else _seconds(rule.latency, self.latency_s)
