"""Apple's error reasons and their statuses.

Source: "Handling notification responses from APNs", developer.apple.com/documentation/usernotifications.
"""

import json
import time

from providers.sandbox.wire.exchange import Answer, Header

STATUS_OF = {
    "BadCollapseId": 400,
    "BadDeviceToken": 400,
    "BadExpirationDate": 400,
    "BadMessageId": 400,
    "BadPriority": 400,
    "BadTopic": 400,
    "DeviceTokenNotForTopic": 400,
    "DuplicateHeaders": 400,
    "IdleTimeout": 400,
    "InvalidPushType": 400,
    "MissingDeviceToken": 400,
    "MissingTopic": 400,
    "PayloadEmpty": 400,
    "TopicDisallowed": 400,
    "BadCertificate": 403,
    "BadCertificateEnvironment": 403,
    "ExpiredProviderToken": 403,
    "Forbidden": 403,
    "InvalidProviderToken": 403,
    "MissingProviderToken": 403,
    "UnrelatedKeyIdInToken": 403,
    "BadEnvironmentKeyIdInToken": 403,
    "BadPath": 404,
    "MethodNotAllowed": 405,
    "ExpiredToken": 410,
    "Unregistered": 410,
    "PayloadTooLarge": 413,
    "TooManyProviderTokenUpdates": 429,
    "TooManyRequests": 429,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    "Shutdown": 503,
}
USUAL_REASON = {
    400: "BadDeviceToken",
    403: "InvalidProviderToken",
    404: "BadPath",
    405: "MethodNotAllowed",
    410: "Unregistered",
    413: "PayloadTooLarge",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}


def failure(
    apns_id: bytes,
    reason: str,
    *,
    status: int | None = None,
    timestamp_ms: int | None = None,
    retry_after: int | None = None,
    now: float | None = None,
) -> Answer:
    """An error answer; 410 always carries a timestamp in milliseconds, by default *now* (seconds)."""
    code = status or STATUS_OF.get(reason, 500)
    document: dict[str, str | int] = {"reason": reason}
    if code == 410:
        moment = time.time() if now is None else now
        document["timestamp"] = int(moment * 1000) if timestamp_ms is None else timestamp_ms
    headers: tuple[Header, ...] = ((b"apns-id", apns_id), (b"content-type", b"application/json"))
    if retry_after is not None:
        headers = (*headers, (b"retry-after", b"%d" % retry_after))
    return Answer(code, headers, json.dumps(document, separators=(",", ":")).encode(), reason)
