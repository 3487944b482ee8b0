"""Facts for the strategy engine, gathered in one read a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dispatcher.domain.clock import SECOND, Millis, to_datetime
from dispatcher.domain.device import Device, Platform, Profile
from dispatcher.domain.message import Message
from dispatcher.domain.paths import Path
from dispatcher.ports.presence import Line, Presence, Presences
from dispatcher.ports.profiles import Profiles
from strategies.catalogue import Group
from strategies.facts import FactValue, Row, group_row, join, with_push

_CONNECTED = frozenset({Line.SYNCING, Line.ONLINE})
NO_DEVICE = Device(device_id="", epoch=0, platform=Platform.NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a batch's users."""

    profiles: Mapping[str, Profile]
    lines: Mapping[str, Sequence[Presence]]

    def line(self, user_id: str, device_id: str | None) -> Presence | None:
        """The device's line, lost ones included."""
        return next((line for line in self.lines.get(user_id, ()) if line.device_id == device_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Facts that are the same for all: circuits and the budget, by fact name."""

    values: Mapping[str, FactValue]
    default_zone: str = "UTC"


class FactReader:
    """Reads users and their lines; makes rows of them."""

    def __init__(self, profiles: Profiles, presences: Presences) -> None:
        self._profiles = profiles
        self._presences = presences

    async def know(self, app: str, user_ids: Sequence[str], now: Millis) -> Known:
        """One read for profiles, one for presence."""
        profiles = await self._profiles.get(app, user_ids)
        lines = await self._presences.of_users(app, user_ids, now)
        return Known(profiles=profiles, lines=lines)


def row(message: Message, profile: Profile, device: Device, line: Presence | None, shared: Shared, now: Millis) -> Row:
    """The facts of one device, for planning or for a step's turn."""
    return join(
        _message_row(message, now),
        _user_row(message.klass, profile, shared.default_zone, now),
        _device_row(profile, device, line, now),
        group_row(Group.SHARED, shared.values),
    )


def zone_of(profile: Profile, default: str) -> ZoneInfo:
    """The user's zone, else the latest device's, else the app's."""
    names = [profile.time_zone]
    names += [device.time_zone for device in sorted(profile.devices, key=lambda one: -one.last_seen)]
    for name in (*names, default, "UTC"):
        if name and (zone := _zone(name)) is not None:
            return zone
    return ZoneInfo("UTC")


def in_quiet_hours(profile: Profile, local: datetime) -> bool:
    """Whether *local* lies in the user's window: its start is inside, its end is not; it may span midnight."""
    if profile.quiet_from is None or profile.quiet_to is None or profile.quiet_from == profile.quiet_to:
        return False
    clock = local.strftime("%H:%M")
    if profile.quiet_from < profile.quiet_to:
        return profile.quiet_from <= clock < profile.quiet_to
    return clock >= profile.quiet_from or clock < profile.quiet_to


def connected(line: Presence | None) -> bool:
    """Whether a frame put on the line's node now can reach the device."""
    return line is not None and line.line in _CONNECTED


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _message_row(message: Message, now: Millis) -> Row:
    shown = message.notification or {}
    return group_row(
        Group.MESSAGE,
        {
            "message.class": message.klass,
            "message.priority": message.priority.value,
            "message.ttl_s": (message.expires_at - message.accepted_at) // SECOND,
            "message.has_notification": bool(shown.get("title") or shown.get("body")),
            "message.collapse_key": message.collapse_key or "",
            "message.age_s": (now - message.accepted_at) / SECOND,
        },
    )


def _user_row(klass: str, profile: Profile, default_zone: str, now: Millis) -> Row:
    local = to_datetime(now).astimezone(zone_of(profile, default_zone))
    return group_row(
        Group.USER,
        {
            "user.locale": profile.locale or "",
            "user.local_hour": local.hour,
            "user.in_quiet_hours": in_quiet_hours(profile, local),
            "user.sms_opt_in": profile.sms_opt_in is True,
            "user.sms_opted_out": profile.sms_opt_in is False,
            "user.muted": klass in profile.muted_classes,
            "user.has_phone": profile.phone is not None and profile.phone_usable_from <= now,
            "user.phone_verified": profile.phone_verified,
            "user.phone_country": profile.phone_country or "",
            "user.devices": len(profile.devices),
        },
    )


def _device_row(profile: Profile, device: Device, line: Presence | None, now: Millis) -> Row:
    values: dict[str, FactValue] = {
        "device.platform": device.platform.value,
        "device.manufacturer": device.manufacturer or "",
        "device.os_version": device.os_version or "",
        "device.app_version": device.app_version or "",
        "device.alerts_enabled": device.alerts_enabled,
        "device.presence": "offline",
        "device.foreground": False,
        "device.last_seen_s": max(now - device.last_seen, 0) / SECOND,
        "device.token.apns": device.token(Path.APNS) is not None,
        "device.token.fcm": device.token(Path.FCM) is not None,
    }
    if line is not None:
        if connected(line):
            values["device.presence"] = "online"
            values["device.foreground"] = line.foreground
        elif line.line is Line.LOST:
            values["device.presence"] = "reconnecting"
            values["device.reconnecting_s"] = max(now - line.since, 0) / SECOND
    return group_row(Group.DEVICE, with_push(values))
