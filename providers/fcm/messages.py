"""The v1 JSON of one attempt, without I/O.

What needs proof goes as a data message: a notification shown by the system runs none of the app's code, so it brings no
receipt. It is the JSON that ``str(messaging.Message(...))`` of firebase-admin gives, which the tests compare.
https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.device import Platform
from dispatcher.domain.message import Priority
from providers.apns.requests import collapse_id, priority_of, push_type_of
from providers.base import Attempt
from providers.text import mend_all, shorten

LIMIT = 4096  #: bytes of data, and of what FCM hands on to APNs
MAX_TTL_S = 2_419_200
_APNS_OWN = 160  #: what FCM itself adds to an APNs payload (gcm.message_id and the like)
_FIELDS = ("title", "body", "image", "sound", "badge")
_RESERVED = frozenset({"from", "message_type", "collapse_key", "notification", "pushpath", "clear", "silent", *_FIELDS})
_RESERVED_BEGINNINGS = ("google.", "gcm.", "gcm_")

_encode = msgspec.json.Encoder().encode


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _encode(value).decode()


def _own_data(data: Mapping[str, Any]) -> dict[str, str]:
    """Values as texts. A key that FCM or we have taken stands under ``data.`` and its name."""
    return {
        (f"data.{key}" if key in _RESERVED or key.startswith(_RESERVED_BEGINNINGS) else key): _text(value)
        for key, value in data.items()
    }


def _data(attempt: Attempt, own: Mapping[str, Any] | None) -> dict[str, str]:
    message = attempt.message
    data = _own_data(own) if own else {}
    if attempt.clear:
        data["clear"] = "1"
    elif message.notification is not None:
        if attempt.silent:
            data["silent"] = "1"
        for name in _FIELDS:
            value = message.notification.get(name)
            if value is not None:
                data[name] = _text(value)
    data["pushpath"] = _encode(
        {"message_id": message.message_id, "delivery_id": attempt.delivery_id, "attempt_id": attempt.attempt_id}
    ).decode()
    return data


def _apns(attempt: Attempt, data: dict[str, str]) -> dict[str, Any]:
    """For iOS tokens of FCM: an alert that the app's service extension sees, else a background push."""
    push_type = push_type_of(attempt)
    headers = {
        "apns-collapse-id": collapse_id(attempt.message),
        "apns-expiration": str(max(0, attempt.expires_at // SECOND)),
        "apns-priority": priority_of(attempt, push_type),
        "apns-push-type": push_type.value,
    }
    notification = attempt.message.notification
    if notification is None or not attempt.shows_alert:
        return {"headers": headers, "payload": {"aps": {"content-available": 1}}}
    alert = {name: data[name] for name in ("title", "body") if data.get(name)}
    aps: dict[str, Any] = {"alert": alert, "mutable-content": 1}
    for name in ("badge", "sound"):
        if notification.get(name) is not None:
            aps[name] = notification[name]
    return {"headers": headers, "payload": {"aps": aps}}


def _blocks(attempt: Attempt, data: dict[str, str], now: Millis) -> dict[str, Any]:
    """What each platform gets beside the data; all of them where the platform is not known."""
    message = attempt.message
    ttl_s = min(MAX_TTL_S, max(0, (attempt.expires_at - now) // SECOND))
    urgent = (attempt.priority or message.priority) == Priority.HIGH and not attempt.silent
    blocks: dict[str, Any] = {}
    if attempt.platform in {None, Platform.ANDROID}:
        android = blocks["android"] = {"priority": "high" if urgent else "normal", "ttl": f"{ttl_s}s"}
        if message.collapse_key:  # a device holds four keys at most, so never one of our own making
            android["collapse_key"] = message.collapse_key
    if attempt.platform in {None, Platform.IOS}:
        blocks["apns"] = _apns(attempt, data)
    if attempt.platform in {None, Platform.WEB}:
        headers = {"TTL": str(ttl_s), "Urgency": "high" if urgent else "normal"}
        if message.collapse_key:
            headers["Topic"] = collapse_id(message)
        blocks["webpush"] = {"headers": headers}
    return blocks


def _size(data: dict[str, str], blocks: Mapping[str, Any]) -> int:
    size = len(_encode(data))
    if "apns" in blocks:
        size += len(_encode(blocks["apns"]["payload"])) + _APNS_OWN
    return size


def build(attempt: Attempt, now: Millis) -> dict[str, Any]:
    """The v1 ``message``. Too long ones lose the end of their body, then of their title, then image and own data
    (``more`` is "1" then: the whole message waits in the inbox)."""
    token = attempt.token
    if token is None:
        raise ValueError("an attempt on fcm needs a token")
    built: dict[str, Any] = {}
    built["fid" if token.kind == "fid" else "token"] = token.value
    data = _data(attempt, None if attempt.clear else attempt.message.data)
    try:
        size = len(_encode(data))
    except UnicodeEncodeError:
        data = mend_all(data)
        size = len(_encode(data))
    blocks = _blocks(attempt, data, now)
    if 2 * size + 512 > LIMIT and _size(data, blocks) > LIMIT:
        data, blocks = _cut(attempt, data, now)
    built["data"] = data
    return built | blocks


def encode(message: Mapping[str, Any]) -> bytes:
    """The request body; mends what has no UTF-8 form."""
    try:
        return _encode({"message": message})
    except UnicodeEncodeError:
        return _encode({"message": mend_all(message)})


def _cut(attempt: Attempt, data: dict[str, str], now: Millis) -> tuple[dict[str, str], dict[str, Any]]:
    small: dict[str, str] = {
        name: data[name] for name in ("title", "body", "badge", "clear", "silent", "pushpath") if name in data
    }
    small["more"] = "1"
    for trial in (dict(data), small):
        for name in ("body", "title"):
            if name not in trial:
                continue

            def fits(text: str, name: str = name, trial: dict[str, str] = trial) -> bool:
                trial[name] = text
                return _size(trial, _blocks(attempt, trial, now)) <= LIMIT

            trial[name] = shorten(trial[name], fits)
            if not trial[name]:
                del trial[name]
        blocks = _blocks(attempt, trial, now)
        if _size(trial, blocks) <= LIMIT:
            return trial, blocks
    return trial, blocks
