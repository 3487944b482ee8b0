"""Whether a path can be taken now: never costs a wait, keeps its reason."""

from __future__ import annotations

from strategies.catalogue import INDEX, PATHS
from strategies.facts import Row, vendor_path
from strategies.ladder import Reason

_PLATFORM = INDEX["device.platform"]
_PRESENCE = INDEX["device.presence"]
_RECONNECTING = INDEX["device.reconnecting_s"]
_APNS = INDEX["device.token.apns"]
_FCM = INDEX["device.token.fcm"]
_TOKENS = {"apns": _APNS, "fcm": _FCM}
_CLASS = INDEX["message.class"]
_MUTED = INDEX["user.muted"]
_HAS_PHONE = INDEX["user.has_phone"]
_VERIFIED = INDEX["user.phone_verified"]
_OPTED_OUT = INDEX["user.sms_opted_out"]
_SMS_LEFT = INDEX["budget.sms_left"]
_HEALTHY = {path: INDEX[f"path.{path}.healthy"] for path in PATHS}

FACTS_READ: dict[str, tuple[str, ...]] = {
    "longconn": ("device.platform", "device.presence", "path.longconn.healthy"),
    "apns": ("device.platform", "device.token.apns", "path.apns.healthy", "user.muted"),
    "fcm": ("device.platform", "device.token.fcm", "path.fcm.healthy", "user.muted"),
    "poll": ("path.poll.healthy",),
    "sms": (
        "message.class",
        "path.sms.healthy",
        "user.has_phone",
        "user.phone_verified",
        "user.sms_opted_out",
        "user.muted",
    ),
}
"""The facts that availability looks at, beside those that change all the time (see `past_grace`, `budget_gone`)."""
FACTS_READ["push"] = tuple(dict.fromkeys((*FACTS_READ["apns"], *FACTS_READ["fcm"])))


def own_path(path: str, facts: Row) -> str:
    """`push` as the device's own vendor path where it has one; other paths as they are."""
    if path != "push":
        return path
    return vendor_path(facts[_PLATFORM], facts[_APNS], facts[_FCM]) or "push"


def past_grace(facts: Row, grace_ms: int) -> bool:
    """A reconnecting device whose grace is over counts as offline."""
    lost_s = facts[_RECONNECTING]
    return facts[_PRESENCE] == "reconnecting" and lost_s is not None and float(lost_s) * 1000 >= grace_ms


def budget_gone(facts: Row) -> bool:
    """The app's SMS budget is used up (an unknown one is left to the guard that reserves)."""
    left = facts[_SMS_LEFT]
    return left is not None and int(left) <= 0


def unavailable(path: str, facts: Row, grace_ms: int = 20_000) -> Reason | None:
    """Why a path cannot be taken now, or None.

    What is unknown does not stop an attempt (the attempt will tell), except for SMS, which needs a number known to be
    there and verified. A user's no to SMS stops all classes but otp, which the user has just asked for.
    """
    path = own_path(path, facts)
    if path == "sms":
        return _sms(facts)
    if path == "push":
        return Reason.NO_DEVICE if facts[_PLATFORM] == "none" else Reason.NO_VENDOR_PATH
    if path != "poll" and facts[_PLATFORM] == "none":
        return Reason.NO_DEVICE
    if path in _TOKENS and facts[_TOKENS[path]] is not True:
        return Reason.NO_TOKEN
    if path in _TOKENS and facts[_MUTED] is True:
        return Reason.MUTED
    if path == "longconn" and (facts[_PRESENCE] == "offline" or past_grace(facts, grace_ms)):
        return Reason.OFFLINE
    if facts[_HEALTHY[path]] is False:
        return Reason.CIRCUIT_OPEN
    return None


def _sms(facts: Row) -> Reason | None:
    if facts[_HAS_PHONE] is not True:
        return Reason.NO_PHONE
    if facts[_VERIFIED] is not True:
        return Reason.UNVERIFIED_NUMBER
    if facts[_OPTED_OUT] is True and facts[_CLASS] != "otp":
        return Reason.OPTED_OUT
    if facts[_MUTED] is True:
        return Reason.MUTED
    if facts[_HEALTHY["sms"]] is False:
        return Reason.CIRCUIT_OPEN
    return Reason.BUDGET_EXHAUSTED if budget_gone(facts) else None
