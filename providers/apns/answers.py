"""Apple's words and what they mean for token, attempt and circuit: one row a reason.

https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.outcome import HandedOver, Outcome, Rejected, RetryLater, TokenDead
from providers.http2 import Reply

#: How long a device gets nothing after TooManyRequests without Retry-After.
DEVICE_WAIT: Millis = 5 * SECOND


class Verdict(StrEnum):
    """What an answer asks of us."""

    DEAD = "dead"  #: in this environment; with a timestamp: unless registered after it
    OUR_FAULT = "our_fault"  #: this attempt fails for good, the token lives
    CONFIGURATION = "configuration"  #: the circuit opens, tokens are never touched
    AGED = "aged"  #: our provider token aged: the next one, once
    OTHER_CONNECTION = "other_connection"  #: keep the provider token, leave the connection
    SLOW_DEVICE = "slow_device"  #: nothing to this device for a while
    LATER = "later"  #: this attempt again, after Retry-After where given


class Row(NamedTuple):
    """One line of Apple's table."""

    status: int
    reason: str
    verdict: Verdict


ROWS = (
    Row(400, "BadCollapseId", Verdict.OUR_FAULT),
    Row(400, "BadDeviceToken", Verdict.DEAD),
    Row(400, "BadExpirationDate", Verdict.OUR_FAULT),
    Row(400, "BadMessageId", Verdict.OUR_FAULT),
    Row(400, "BadPriority", Verdict.OUR_FAULT),
    Row(400, "BadTopic", Verdict.OUR_FAULT),
    Row(400, "DeviceTokenNotForTopic", Verdict.OUR_FAULT),
    Row(400, "DuplicateHeaders", Verdict.OUR_FAULT),
    Row(400, "IdleTimeout", Verdict.LATER),
    Row(400, "InvalidPushType", Verdict.OUR_FAULT),
    Row(400, "MissingDeviceToken", Verdict.OUR_FAULT),
    Row(400, "MissingTopic", Verdict.OUR_FAULT),
    Row(400, "PayloadEmpty", Verdict.OUR_FAULT),
    Row(400, "TopicDisallowed", Verdict.OUR_FAULT),
    Row(403, "BadCertificate", Verdict.CONFIGURATION),
    Row(403, "BadCertificateEnvironment", Verdict.CONFIGURATION),
    Row(403, "BadEnvironmentKeyIdInToken", Verdict.CONFIGURATION),
    Row(403, "ExpiredProviderToken", Verdict.AGED),
    Row(403, "Forbidden", Verdict.CONFIGURATION),
    Row(403, "InvalidProviderToken", Verdict.CONFIGURATION),
    Row(403, "MissingProviderToken", Verdict.CONFIGURATION),
    Row(403, "UnrelatedKeyIdInToken", Verdict.CONFIGURATION),
    Row(404, "BadPath", Verdict.OUR_FAULT),
    Row(405, "MethodNotAllowed", Verdict.OUR_FAULT),
    Row(410, "ExpiredToken", Verdict.DEAD),
    Row(410, "Unregistered", Verdict.DEAD),
    Row(413, "PayloadTooLarge", Verdict.OUR_FAULT),
    Row(429, "TooManyProviderTokenUpdates", Verdict.OTHER_CONNECTION),
    Row(429, "TooManyRequests", Verdict.SLOW_DEVICE),
    Row(500, "InternalServerError", Verdict.LATER),
    Row(503, "ServiceUnavailable", Verdict.LATER),
    Row(503, "Shutdown", Verdict.OTHER_CONNECTION),
)

#: An answer without a reason we know is judged by its status; what is not listed by its hundred.
BY_STATUS: Mapping[int, Verdict] = {
    403: Verdict.CONFIGURATION,
    410: Verdict.DEAD,
    429: Verdict.LATER,
    4: Verdict.OUR_FAULT,
    5: Verdict.LATER,
}

_VERDICTS: Mapping[tuple[int, str], Verdict] = {(row.status, row.reason): row.verdict for row in ROWS}


class _Body(msgspec.Struct):
    reason: str | None = None
    timestamp: int | float | None = None


_decode = msgspec.json.Decoder(_Body).decode


def words_of(reply: Reply) -> tuple[str, Millis | None]:
    """Apple's reason and, for a 410, since when (milliseconds); an empty or foreign body has none."""
    try:
        body = _decode(reply.body)
    except msgspec.MsgspecError:
        return "", None
    return body.reason or "", None if body.timestamp is None else int(body.timestamp)


def verdict_of(status: int, reason: str) -> Verdict:
    """The row's verdict, else the status's."""
    found = _VERDICTS.get((status, reason)) or BY_STATUS.get(status) or BY_STATUS.get(status // 100)
    return found or Verdict.LATER


def read(reply: Reply, apns_id: str) -> tuple[Outcome, Verdict | None]:
    """What *reply* means for its attempt, and for the connection; None for a yes."""
    if reply.status == 200:
        return HandedOver(apns_id), None
    reason, timestamp = words_of(reply)
    verdict = verdict_of(reply.status, reason)
    name = reason or f"status_{reply.status}"
    match verdict:
        case Verdict.DEAD:
            return TokenDead(name, timestamp if reply.status == 410 else None), verdict
        case Verdict.OUR_FAULT:
            return Rejected(name), verdict
        case Verdict.CONFIGURATION | Verdict.AGED:
            return Rejected(name, configuration=True), verdict
        case Verdict.SLOW_DEVICE:
            return RetryLater(name, reply.retry_after_ms or DEVICE_WAIT, device=True), verdict
        case _:
            return RetryLater(name, reply.retry_after_ms), verdict
