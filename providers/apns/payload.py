"""What a phone gets through APNs, cut to Apple's limit.

https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification
"""

from typing import Any

import msgspec

from providers.apns.push_types import MAX_PAYLOAD
from providers.base import Attempt
from providers.text import mend_all, shorten

_LONGEST_SOUND = 128  #: characters; a longer name is no file of the app's
_encode = msgspec.json.Encoder().encode


def _aps(attempt: Attempt) -> dict[str, Any]:
    notification = attempt.message.notification
    if notification is None or not attempt.shows_alert:
        return {"content-available": 1}
    alert = {name: notification[name] for name in ("title", "body") if notification.get(name)}
    # mutable-content lets the app's service extension run: nothing else can bring a receipt of an alert.
    aps: dict[str, Any] = {"alert": alert, "mutable-content": 1}
    if notification.get("badge") is not None:
        aps["badge"] = notification["badge"]
    if notification.get("sound"):
        aps["sound"] = notification["sound"]
    return aps


def build(attempt: Attempt, limit: int = MAX_PAYLOAD) -> bytes:
    """The payload, of at most *limit* bytes; the message's own data stands beside ``aps`` and ``pushpath``, which it
    cannot replace.

    What is too long loses first the end of its body, then of its title, then its data (``pushpath.more`` says so: the
    whole message waits in the inbox).
    """
    message = attempt.message
    ours: dict[str, Any] = {
        "message_id": message.message_id,
        "delivery_id": attempt.delivery_id,
        "attempt_id": attempt.attempt_id,
    }
    if attempt.clear:
        ours["clear"] = True
    elif message.notification is not None and message.notification.get("image"):
        ours["image"] = message.notification["image"]
    own = {} if attempt.clear or not message.data else message.data
    payload = {**own, "aps": _aps(attempt), "pushpath": ours}
    try:
        encoded = _encode(payload)
    except UnicodeEncodeError:
        payload = mend_all(payload)
        encoded = _encode(payload)
    return encoded if len(encoded) <= limit else _cut(payload, limit)


def _cut(payload: dict[str, Any], limit: int) -> bytes:
    fitting = _shorten_alert(payload, limit)
    if fitting is not None:
        return fitting
    aps, ours = payload["aps"], payload["pushpath"]
    if len(str(aps.get("sound", ""))) > _LONGEST_SOUND:
        aps = {**aps, "sound": "default"}
    ours = {name: value for name, value in ours.items() if name != "image"}
    small = {"aps": aps, "pushpath": {**ours, "more": True}}
    return _shorten_alert(small, limit) or _encode(small)


def _shorten_alert(payload: dict[str, Any], limit: int) -> bytes | None:
    """The payload with its body, then its title cut; None where neither is enough."""
    alert = dict(payload["aps"].get("alert", {}))
    trial = {**payload, "aps": {**payload["aps"], "alert": alert}} if alert else payload
    for name in ("body", "title"):
        if name not in alert:
            continue

        def fits(text: str, name: str = name) -> bool:
            alert[name] = text
            return len(_encode(trial)) <= limit

        alert[name] = shorten(alert[name], fits)
        if not alert[name]:
            del alert[name]
    encoded = _encode(trial)
    return encoded if len(encoded) <= limit else None
