"""Google's words and what they mean for token, attempt and circuit: one row a case.

https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
https://firebase.google.com/docs/cloud-messaging/error-codes
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from dispatcher.domain.clock import MINUTE, Millis
from dispatcher.domain.outcome import HandedOver, Outcome, Rejected, RetryLater, TokenDead
from providers.http2 import Reply

_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
#: What Google asks for where a 429 names no time.
QUOTA_WAIT: Millis = MINUTE


class Verdict(StrEnum):
    """What an answer asks of us."""

    DEAD = "dead"  #: the token
    OUR_FAULT = "our_fault"  #: this attempt fails for good, the token lives
    CONFIGURATION = "configuration"  #: the circuit opens, tokens are never touched
    ACCESS = "access"  #: our access token was refused: another, once
    BRAKE = "brake"  #: every worker waits
    LATER = "later"


class Row(NamedTuple):
    """*code*: FcmError's errorCode, ``BadRequest`` for its field violations, empty for neither."""

    status: int
    code: str
    verdict: Verdict


ROWS = (
    Row(400, "BadRequest", Verdict.OUR_FAULT),
    Row(400, "INVALID_ARGUMENT", Verdict.DEAD),
    Row(400, "", Verdict.OUR_FAULT),
    Row(401, "THIRD_PARTY_AUTH_ERROR", Verdict.CONFIGURATION),
    Row(401, "APNS_AUTH_ERROR", Verdict.CONFIGURATION),
    Row(401, "", Verdict.ACCESS),
    Row(403, "SENDER_ID_MISMATCH", Verdict.DEAD),
    Row(403, "", Verdict.CONFIGURATION),
    Row(404, "UNREGISTERED", Verdict.DEAD),
    Row(404, "", Verdict.CONFIGURATION),
    Row(413, "", Verdict.OUR_FAULT),
    Row(429, "QUOTA_EXCEEDED", Verdict.BRAKE),
    Row(429, "", Verdict.BRAKE),
    Row(500, "INTERNAL", Verdict.LATER),
    Row(500, "", Verdict.LATER),
    Row(503, "UNAVAILABLE", Verdict.LATER),
    Row(503, "", Verdict.LATER),
    Row(504, "", Verdict.LATER),
)
_VERDICTS: Mapping[tuple[int, str], Verdict] = {(row.status, row.code): row.verdict for row in ROWS}


class _Detail(msgspec.Struct):
    type: str = msgspec.field(name="@type", default="")
    code: str = msgspec.field(name="errorCode", default="")


class _Error(msgspec.Struct):
    status: str = ""
    details: list[_Detail] = []


class _Body(msgspec.Struct):
    error: _Error | None = None
    name: str = ""


_decode = msgspec.json.Decoder(_Body).decode


def code_of(reply: Reply) -> str:
    """``BadRequest`` where fields are named, else FcmError's code, else nothing (a front end's page, an empty body)."""
    try:
        error = _decode(reply.body).error
    except msgspec.MsgspecError:
        return ""
    details = error.details if error else []
    if any(detail.type == _BAD_REQUEST for detail in details):
        return "BadRequest"
    return next((detail.code for detail in details if detail.type == _FCM_ERROR), "")


def verdict_of(status: int, code: str) -> Verdict:
    """The row's verdict, else that of the status alone, else by its hundred."""
    found = _VERDICTS.get((status, code)) or _VERDICTS.get((status, ""))
    return found or (Verdict.LATER if status >= 500 else Verdict.OUR_FAULT)


def read(reply: Reply) -> tuple[Outcome, Verdict | None]:
    """What *reply* means for its attempt; the verdict is None for a yes."""
    if reply.status == 200:
        try:
            return HandedOver(_decode(reply.body).name or None), None
        except msgspec.MsgspecError:
            return HandedOver(None), None
    code = code_of(reply)
    verdict = verdict_of(reply.status, code)
    name = "INVALID_ARGUMENT" if code == "BadRequest" else code or f"status_{reply.status}"
    match verdict:
        case Verdict.DEAD:
            return TokenDead(name), verdict
        case Verdict.OUR_FAULT:
            return Rejected(name), verdict
        case Verdict.CONFIGURATION | Verdict.ACCESS:
            return Rejected(name, configuration=True), verdict
        case Verdict.BRAKE:
            return RetryLater(name, reply.retry_after_ms or QUOTA_WAIT, brake=True), verdict
        case Verdict.LATER:
            return RetryLater(name, reply.retry_after_ms), verdict
