"""The fact catalogue: everything a rule may look at, in one place.

The validator, the compiler, `GET /v1/facts`, the console's help and the documentation page are all driven from
`CATALOGUE`. The order is fixed within one release only: rows of facts (see `strategies.facts`) follow it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType

import msgspec


class Type(StrEnum):
    """The CEL type of a fact."""

    STRING = "string"
    BOOL = "bool"
    INT = "int"
    DOUBLE = "double"


class Known(StrEnum):
    """When a fact is known: at planning (and at every step), or only when a step's turn comes."""

    PLANNING = "planning"
    STEP = "step"


class Group(StrEnum):
    """Whom a fact is about: what is read once per message, per user, per device, or shared by all."""

    MESSAGE = "message"
    USER = "user"
    DEVICE = "device"
    SHARED = "shared"


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One fact: its dotted name, type, meaning and a sample. `values` lists all it can be, where that is fixed."""

    name: str
    type: Type
    group: Group
    description: str
    sample: str | bool | int | float
    known: Known = Known.PLANNING
    values: tuple[str, ...] = ()


PATHS = ("longconn", "apns", "fcm", "poll", "sms")
"""The concrete paths. `push` in a document stands for the device's own vendor path."""
VENDOR_PATHS = ("apns", "fcm")
WRITTEN_PATHS = ("longconn", "push", "apns", "fcm", "poll", "sms")
PLATFORMS = ("ios", "android", "harmony", "web", "none")
PRIORITIES = ("high", "normal", "low")
PRESENCES = ("online", "reconnecting", "offline")

_S, _B, _I, _D = Type.STRING, Type.BOOL, Type.INT, Type.DOUBLE


def _fact(
    group: Group,
    name: str,
    kind: Type,
    sample: str | bool | float,
    description: str,
    *,
    values: tuple[str, ...] = (),
    known: Known = Known.PLANNING,
) -> Fact:
    return Fact(name=name, type=kind, group=group, description=description, sample=sample, values=values, known=known)


def _message_facts() -> list[Fact]:
    group = Group.MESSAGE
    return [
        _fact(group, "message.class", _S, "chat", "The message's class: chat, call, otp, or any other name."),
        _fact(group, "message.priority", _S, "normal", "The message's priority.", values=PRIORITIES),
        _fact(group, "message.ttl_s", _I, 86400, "Seconds the message may take, as dispatched."),
        _fact(group, "message.has_notification", _B, True, "It has something to show (a title or a body)."),
        _fact(group, "message.collapse_key", _S, "c42", "The collapse key; empty when the message has none."),
        _fact(
            group,
            "message.age_s",
            _D,
            12.5,
            "Seconds since it was accepted, when the step's turn comes.",
            known=Known.STEP,
        ),
    ]


def _user_facts() -> list[Fact]:
    group = Group.USER
    return [
        _fact(group, "user.locale", _S, "zh-CN", "The user's locale; empty when unknown."),
        _fact(group, "user.local_hour", _I, 21, "The hour of the day (0 to 23) where the user is."),
        _fact(group, "user.in_quiet_hours", _B, False, "The user's quiet hours are on now, in the user's zone."),
        _fact(group, "user.sms_opt_in", _B, True, "The user said yes to SMS."),
        _fact(group, "user.sms_opted_out", _B, False, "The user said no to SMS (saying nothing is not saying no)."),
        _fact(group, "user.muted", _B, False, "The user muted the class of this message."),
        _fact(group, "user.has_phone", _B, True, "A phone number is known."),
        _fact(group, "user.phone_verified", _B, True, "The phone number is verified for this user."),
        _fact(
            group,
            "user.phone_country",
            _S,
            "86",
            'The number\'s calling code in digits ("86", "1", "44"), not a country\'s letters; empty when unknown.',
        ),
        _fact(group, "user.devices", _I, 2, "How many devices the user has."),
    ]


def _device_facts() -> list[Fact]:
    group = Group.DEVICE
    facts = [
        _fact(group, "device.platform", _S, "ios", "The platform; none: a user without a device.", values=PLATFORMS),
        _fact(group, "device.manufacturer", _S, "Apple", "The maker, as the device says; empty when unknown."),
        _fact(group, "device.os_version", _S, "19.1", "The system's version, as the device says."),
        _fact(group, "device.app_version", _S, "8.1.0", "The app's version, as the device says."),
        _fact(group, "device.alerts_enabled", _B, True, "The person lets the app show notifications."),
        _fact(
            group,
            "device.presence",
            _S,
            "online",
            "The long connection; reconnecting: lost less than the grace ago.",
            values=PRESENCES,
        ),
        _fact(group, "device.reconnecting_s", _D, 4.0, "Seconds since the connection was lost, while reconnecting."),
        _fact(group, "device.foreground", _B, False, "The app is on the screen now."),
        _fact(group, "device.last_seen_s", _D, 320.0, "Seconds since the device was last heard of."),
        _fact(group, "device.token.apns", _B, True, "A live APNs token is known."),
        _fact(group, "device.token.fcm", _B, False, "A live FCM token is known."),
    ]
    for path in WRITTEN_PATHS:
        own = "its vendor path" if path == "push" else path
        facts += [
            _fact(group, f"device.ack_rate.{path}", _D, 0.93, f"Share of attempts on {own} it proved, recent first."),
            _fact(group, f"device.p95_s.{path}", _D, 3.4, f"Seconds in which it proves 95 of 100 on {own}."),
        ]
    return [*facts, *_path_facts(group, "push", "the device's vendor path")]


def _path_facts(group: Group, path: str, words: str) -> list[Fact]:
    return [
        _fact(group, f"path.{path}.healthy", _B, True, f"The circuit of {words} lets attempts through."),
        _fact(group, f"path.{path}.success_rate", _D, 0.998, f"Share of recent attempts on {words} handed over."),
        _fact(group, f"path.{path}.p95_s", _D, 2.1, f"Seconds to proof of 95 of 100 on {words}, all devices."),
    ]


def _shared_facts() -> list[Fact]:
    group = Group.SHARED
    facts = [fact for path in PATHS for fact in _path_facts(group, path, path)]
    return [*facts, _fact(group, "budget.sms_left", _I, 18500, "SMS segments left in the app's budget.")]


CATALOGUE: tuple[Fact, ...] = (*_message_facts(), *_user_facts(), *_device_facts(), *_shared_facts())
"""Every fact, in row order: message, user, device, shared."""

INDEX: Mapping[str, int] = MappingProxyType({fact.name: place for place, fact in enumerate(CATALOGUE)})
"""A fact's place in a row."""

FINGERPRINT = blake2b(",".join(INDEX).encode(), digest_size=4).hexdigest()
"""Tells whether a recorded row was written with these facts in this order."""


def render_markdown() -> str:
    """The documentation page of the catalogue."""
    lines = ["# Facts", "", "What a rule's `when` and a step's `if` may look at. Types are CEL's.", ""]
    titles = {
        Group.MESSAGE: "Of the message",
        Group.USER: "Of the user",
        Group.DEVICE: "Of the device",
        Group.SHARED: "Of the paths and the budget",
    }
    for group, title in titles.items():
        lines += [f"## {title}", "", "| fact | type | meaning | sample | known |", "|---|---|---|---|---|"]
        for fact in CATALOGUE:
            if fact.group is group:
                values = f" One of: {', '.join(fact.values)}." if fact.values else ""
                sample = msgspec.json.encode(fact.sample).decode()
                known = "at planning" if fact.known is Known.PLANNING else "only at a step (`if`)"
                lines.append(f"| `{fact.name}` | {fact.type} | {fact.description}{values} | `{sample}` | {known} |")
        lines.append("")
    return "\n".join(lines)
