"""The v1 message JSON, judged as firebase.google.com/docs/reference/fcm/rest/v1/projects.messages describes it."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from providers.sandbox.fcm_errors import Violation

MAX_PAYLOAD = 4096
MAX_TTL_S = 2_419_200
TARGETS = ("token", "fid", "topic", "condition")
_TTL = re.compile(r"(\d{1,9})(?:\.\d{1,9})?s", re.ASCII)
_RESERVED_WORDS = frozenset({"from", "message_type"})
_RESERVED_PREFIXES = ("google.", "gcm.")

Check = Callable[[str, Any], Violation | None]


def _text(path: str, value: Any) -> Violation | None:
    return None if isinstance(value, str) else Violation(path, "must be a string")


def _boolean(path: str, value: Any) -> Violation | None:
    return None if isinstance(value, bool) else Violation(path, "must be a boolean")


def _anything(path: str, value: Any) -> Violation | None:
    return None if isinstance(value, dict) else Violation(path, "must be an object")


def _texts(path: str, value: Any) -> Violation | None:
    if not isinstance(value, dict):
        return Violation(path, "must be an object")
    return next(
        (Violation(f"{path}[{key}].value", "must be a string") for key in value if not isinstance(value[key], str)),
        None,
    )


def _data(path: str, value: Any) -> Violation | None:
    wrong = _texts(path, value)
    if wrong:
        return wrong
    for key in value:
        if key in _RESERVED_WORDS or key.startswith(_RESERVED_PREFIXES):
            return Violation(path, f"Invalid data payload key: {key}")
    return None


def _ttl(path: str, value: Any) -> Violation | None:
    found = _TTL.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return Violation(path, "must be a duration such as 3.5s")
    return None if int(found[1]) <= MAX_TTL_S else Violation(path, "must be at most 2419200s")


def _priority(path: str, value: Any) -> Violation | None:
    return None if value in ("NORMAL", "HIGH", "normal", "high") else Violation(path, "must be NORMAL or HIGH")


def _fields(known: Mapping[str, Check]) -> Check:
    def check(path: str, value: Any) -> Violation | None:
        if not isinstance(value, dict):
            return Violation(path, "must be an object")
        for name, item in value.items():
            inner = f"{path}.{name}"
            wrong = known[name](inner, item) if name in known else Violation(inner, "unknown name: cannot find field")
            if wrong:
                return wrong
        return None

    return check


_options = _fields({"analytics_label": _text})
_CHECKS: Mapping[str, Check] = {
    "name": _text,
    "token": _text,
    "fid": _text,
    "topic": _text,
    "condition": _text,
    "data": _data,
    "notification": _fields({"title": _text, "body": _text, "image": _text}),
    "fcm_options": _options,
    "android": _fields(
        {
            "collapse_key": _text,
            "priority": _priority,
            "ttl": _ttl,
            "restricted_package_name": _text,
            "data": _data,
            "notification": _anything,
            "fcm_options": _options,
            "direct_boot_ok": _boolean,
            "bandwidth_constrained_ok": _boolean,
            "restricted_satellite_ok": _boolean,
        }
    ),
    "webpush": _fields(
        {
            "headers": _texts,
            "data": _data,
            "notification": _anything,
            "fcm_options": _fields({"link": _text, "analytics_label": _text}),
        }
    ),
    "apns": _fields(
        {
            "headers": _texts,
            "payload": _anything,
            "fcm_options": _fields({"analytics_label": _text, "image": _text}),
            "live_activity_token": _text,
        }
    ),
}
_message = _fields(_CHECKS)


def target_of(body: Any) -> str | None:
    """The token (of either kind), topic or condition that *body* addresses, read leniently."""
    message = body.get("message") if isinstance(body, dict) else None
    if not isinstance(message, dict):
        return None
    return next((message[name] for name in TARGETS if isinstance(message.get(name), str)), None)


def violation(body: Any) -> Violation | None:
    """The first fault of a request body; None where FCM would take it."""
    if not isinstance(body, dict):
        return Violation("", "Invalid JSON payload received.")
    for name in body:
        if name not in ("message", "validate_only"):
            return Violation(name, "unknown name: cannot find field")
    message = body.get("message")
    if message is None:
        return Violation("message", "Message is required.")
    wrong = _message("message", message)
    if wrong:
        return wrong
    if sum(1 for name in TARGETS if message.get(name)) != 1:
        return Violation("message", "Exactly one of token, fid, topic or condition must be set.")
    if _size(message) > MAX_PAYLOAD:
        return Violation("message", "Message is too big: the payload has a limit of 4096 bytes")
    return None


def _size(message: Mapping[str, Any]) -> int:
    """Bytes of notification and data, the part that the 4096 bytes limit (the APNs block has Apple's limit)."""
    shared = [message[name] for name in ("data", "notification") if name in message]
    android = message.get("android", {})
    own = [android[name] for name in ("data", "notification") if name in android]
    blocks = [shared + own, [message.get("apns", {}).get("payload", {})]]
    return max(sum(_bytes(part) for part in block) for block in blocks)


def _bytes(part: Any) -> int:
    return len(json.dumps(part, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))
