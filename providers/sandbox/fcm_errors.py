"""FCM v1's error answers: google.rpc.Status with an FcmError or a BadRequest detail.

Source: firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode and google.rpc error_details.proto.
"""

import json
from typing import Any, NamedTuple

from providers.sandbox.wire.exchange import Answer, Header

JSON_TYPE: Header = (b"content-type", b"application/json; charset=UTF-8")
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


class Word(NamedTuple):
    """HTTP status, google.rpc.Code and sentence of an FCM error code."""

    status: int
    code: str
    message: str


WORDS = {
    "INVALID_ARGUMENT": Word(400, "INVALID_ARGUMENT", "The registration token is not a valid FCM registration token"),
    "UNREGISTERED": Word(404, "NOT_FOUND", "Requested entity was not found."),
    "SENDER_ID_MISMATCH": Word(403, "PERMISSION_DENIED", "SenderId mismatch"),
    "THIRD_PARTY_AUTH_ERROR": Word(401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service"),
    "QUOTA_EXCEEDED": Word(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Send requests'"),
    "UNAVAILABLE": Word(503, "UNAVAILABLE", "The service is currently unavailable."),
    "INTERNAL": Word(500, "INTERNAL", "Internal error encountered."),
}
USUAL_REASON = {word.status: reason for reason, word in WORDS.items()}
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Violation(NamedTuple):
    """A fault of the payload: the field's path and what is wrong with it."""

    field: str
    description: str


def _status(
    status: int, code: str, message: str, details: list[dict[str, Any]], reason: str, retry_after: int | None = None
) -> Answer:
    error: dict[str, Any] = {"code": status, "message": message, "status": code}
    if details:
        error["details"] = details
    headers: tuple[Header, ...] = (JSON_TYPE,)
    if retry_after is not None:
        headers = (JSON_TYPE, (b"retry-after", b"%d" % retry_after))
    return Answer(status, headers, json.dumps({"error": error}).encode(), reason)


def verdict(reason: str, status: int | None = None, retry_after: int | None = None) -> Answer:
    """An FCM error code about the token, the project or the service, as an FcmError detail."""
    known = WORDS.get(reason)
    number = status or (known.status if known else 500)
    code = known.code if known and known.status == number else _CODES.get(number, "UNKNOWN")
    message = known.message if known else reason
    return _status(number, code, message, [{"@type": _FCM_ERROR, "errorCode": reason}], reason, retry_after)


def bad_payload(violation: Violation, status: int = 400) -> Answer:
    """INVALID_ARGUMENT about the message itself: a BadRequest detail names the field."""
    field, description = violation
    detail = {"@type": _BAD_REQUEST, "fieldViolations": [{"field": field, "description": description}]}
    message = f"Invalid value at '{field}': {description}" if field else description
    return _status(status, "INVALID_ARGUMENT", message, [detail], "INVALID_ARGUMENT")


def plain(status: int, message: str) -> Answer:
    """An error of Google's front end, without FCM's detail (a bad access token, a wrong path)."""
    code = _CODES.get(status, "UNKNOWN")
    return _status(status, code, message, [], code)
