"""Twilio's error codes: what the REST API answers, and what a message ends with.

Source: twilio.com/docs/api/errors, one page a code.
"""

import json
from http import HTTPStatus
from typing import NamedTuple

from providers.sandbox.wire.exchange import Answer, Header

JSON_TYPE: Header = (b"content-type", b"application/json; charset=utf-8")


class Word(NamedTuple):
    """HTTP status and sentence of an error of the REST API."""

    status: int
    message: str


WORDS = {
    20003: Word(401, "Authenticate"),
    20004: Word(405, "Method not allowed"),
    20404: Word(404, "The requested resource was not found"),
    20429: Word(429, "Too Many Requests"),
    20500: Word(500, "Internal Server Error"),
    20503: Word(503, "Service Unavailable"),
    21211: Word(400, "Invalid 'To' Phone Number"),
    21212: Word(400, "Invalid From Number"),
    21408: Word(400, "Permission to send an SMS has not been enabled for the region indicated by the 'To' number"),
    21602: Word(400, "Message body is required."),
    21603: Word(400, "A 'From' phone number is required."),
    21604: Word(400, "A 'To' phone number is required."),
    21606: Word(400, "The 'From' phone number provided is not a valid message-capable Twilio phone number"),
    21609: Word(400, "The 'StatusCallback' URL is not a valid URL."),
    21610: Word(400, "Attempt to send to unsubscribed recipient"),
    21614: Word(400, "'To' number is not a valid mobile number"),
    21617: Word(400, "The concatenated message body exceeds the 1600 character limit."),
    90007: Word(400, "Invalid validity period value"),
}
USUAL_CODE = {400: 21211, 401: 20003, 404: 20404, 405: 20004, 429: 20429, 500: 20500, 503: 20503}
#: What befalls a message that was taken: the status it ends with.
DELIVERY_ERRORS = {
    30001: "failed",  # queue overflow
    30002: "failed",  # account suspended
    30003: "undelivered",  # unreachable handset
    30004: "undelivered",  # blocked
    30005: "undelivered",  # unknown handset
    30006: "undelivered",  # landline
    30007: "undelivered",  # filtered
    30008: "undelivered",  # unknown
    30036: "failed",  # validity period passed
}
UNKNOWN_ERROR = 30008
VALIDITY_PASSED = 30036
EARLIEST_DELIVERY_ERROR = 30000
LATEST_DELIVERY_ERROR = 39999


def is_delivery_error(code: int) -> bool:
    """Whether *code* is told by the carrier later, not by the REST API at once."""
    return EARLIEST_DELIVERY_ERROR <= code <= LATEST_DELIVERY_ERROR


def failure(code: int, status: int | None = None, retry_after: int | None = None, message: str | None = None) -> Answer:
    """An error of the REST API."""
    word = WORDS.get(code, Word(HTTPStatus.BAD_REQUEST, f"Error {code}"))
    number = status or word.status
    document = {
        "code": code,
        "message": message or word.message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": number,
    }
    headers: tuple[Header, ...] = (JSON_TYPE,)
    if number == HTTPStatus.UNAUTHORIZED:
        headers = (*headers, (b"www-authenticate", b'Basic realm="Twilio API"'))
    if retry_after is not None:
        headers = (*headers, (b"retry-after", b"%d" % retry_after))
    return Answer(number, headers, json.dumps(document).encode(), str(code))
