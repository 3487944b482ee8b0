"""Facts for the strategy engine, gathered in one read a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.device import Device, Platform, Profile
from dispatcher.domain.message import Message
from dispatcher.domain.paths import Path
from dispatcher.pipeline.learning import facts_told, told
from dispatcher.pipeline.limits import BudgetReader
from dispatcher.pipeline.quiet_hours import local_hour, quiet_until, zone_of
from dispatcher.ports.learning import Learning, LearningSettings, SegmentRates, UserRates
from dispatcher.ports.presence import Line, Presence, Presences
from dispatcher.ports.profiles import Profiles
from dispatcher.ports.shared_facts import SharedFacts
from strategies.catalogue import Group
from strategies.facts import FactValue, Row, group_row, join, vendor_path, with_push
from strategies.limits import Rate

_CONNECTED = frozenset({Line.SYNCING, Line.ONLINE})
_OWN = ("healthy", "success_rate", "p95_s")
NO_DEVICE = Device(device_id="", epoch=0, platform=Platform.NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a batch's users. *learning* None: histories were not asked for."""

    profiles: Mapping[str, Profile]
    lines: Mapping[str, Sequence[Presence]]
    learning: LearningSettings | None = None
    rates: Mapping[str, UserRates] = field(default_factory=dict)
    segments: SegmentRates = field(default_factory=dict)

    def line(self, user_id: str, device_id: str | None) -> Presence | None:
        """The device's line, lost ones included."""
        return next((line for line in self.lines.get(user_id, ()) if line.device_id == device_id), None)

    def learned(self, profile: Profile, device: Device) -> Mapping[str, FactValue]:
        """The facts that receipts taught of a device."""
        if self.learning is None:
            return {}
        rates = self.rates.get(profile.user_id, {}).get(device.device_id)
        return facts_told(told(profile, device, rates, self.segments, self.learning))


class Shared:
    """Facts that are the same for all: how paths fare, and what is left of a budget. *spent*: segments by window."""

    __slots__ = ("_rows", "default_zone", "spent", "values")

    def __init__(
        self,
        values: Mapping[str, FactValue] | None = None,
        *,
        default_zone: str = "UTC",
        spent: Mapping[Millis, int] | None = None,
    ) -> None:
        self.values = values or {}
        self.default_zone = default_zone
        self.spent = spent or {}
        self._rows: dict[Rate | None, Row] = {}

    def row(self, budget: Rate | None) -> Row:
        """These facts under one strategy's budget; made once."""
        found = self._rows.get(budget)
        if found is None:
            values = dict(self.values)
            if budget is not None and budget.window_ms in self.spent:
                values["budget.sms_left"] = max(budget.count - self.spent[budget.window_ms], 0)
            found = self._rows[budget] = group_row(Group.SHARED, values)
        return found


class FactReader:
    """Reads users, their lines and histories; makes rows of them."""

    def __init__(
        self, profiles: Profiles, presences: Presences, learning: Learning, paths: SharedFacts, budgets: BudgetReader
    ) -> None:
        self._profiles = profiles
        self._presences = presences
        self._learning = learning
        self.paths = paths
        self._budgets = budgets

    async def know(
        self, app: str, user_ids: Sequence[str], now: Millis, learning: LearningSettings | None = None
    ) -> Known:
        """One read for profiles, one for presence; with *learning* one for histories."""
        profiles = await self._profiles.get(app, user_ids)
        lines = await self._presences.of_users(app, user_ids, now)
        if learning is None or not learning.enabled:
            return Known(profiles=profiles, lines=lines, learning=learning)
        return Known(
            profiles=profiles,
            lines=lines,
            learning=learning,
            rates=await self._learning.of_users(app, user_ids),
            segments=await self._learning.segments(app, now),
        )

    async def shared(self, app: str, budgets: Sequence[Rate], now: Millis, default_zone: str) -> Shared:
        """What is the same for all; read a few times a second whoever asks how often."""
        values: dict[str, FactValue] = {}
        for path, health in (await self.paths.paths(app, now)).items():
            values[f"path.{path}.healthy"] = health.healthy
            if health.success_rate is not None:
                values[f"path.{path}.success_rate"] = health.success_rate
            if health.p95_s is not None:
                values[f"path.{path}.p95_s"] = health.p95_s
        windows = {budget.window_ms for budget in budgets}
        spent = {window: await self._budgets.spent(app, window, now) for window in windows}
        known = {window: count for window, count in spent.items() if count is not None}
        return Shared(values, default_zone=default_zone, spent=known)


def row(
    message: Message,
    profile: Profile,
    device: Device,
    line: Presence | None,
    shared: Shared,
    now: Millis,
    *,
    learned: Mapping[str, FactValue] | None = None,
    budget: Rate | None = None,
) -> Row:
    """The facts of one device, for planning or for a step's turn. *budget*: of the strategy that asks."""
    return join(
        _message_row(message, now),
        _user_row(message.klass, profile, shared.default_zone, now),
        _device_row(device, line, now, learned or {}, shared.values),
        shared.row(budget),
    )


def connected(line: Presence | None) -> bool:
    """Whether a frame put on the line's node now can reach the device."""
    return line is not None and line.line in _CONNECTED


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
    return group_row(
        Group.USER,
        {
            "user.locale": profile.locale or "",
            "user.local_hour": local_hour(zone_of(profile, default_zone), now),
            "user.in_quiet_hours": quiet_until(profile, default_zone, now) is not None,
            "user.sms_opt_in": profile.sms_opt_in is True,
            "user.sms_opted_out": profile.sms_opt_in is False,
            "user.muted": klass in profile.muted_classes,
            "user.has_phone": profile.phone is not None and profile.phone_usable_from <= now,
            "user.phone_verified": profile.phone_verified,
            "user.phone_country": profile.phone_country or "",
            "user.devices": len(profile.devices),
        },
    )


def _device_row(
    device: Device,
    line: Presence | None,
    now: Millis,
    learned: Mapping[str, FactValue],
    paths: Mapping[str, FactValue],
) -> Row:
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
        **learned,
    }
    if line is not None:
        if connected(line):
            values["device.presence"] = "online"
            values["device.foreground"] = line.foreground
        elif line.line is Line.LOST:
            values["device.presence"] = "reconnecting"
            values["device.reconnecting_s"] = max(now - line.since, 0) / SECOND
    if paths:
        own = vendor_path(device.platform.value, values["device.token.apns"], values["device.token.fcm"])
        values |= {name: value for fact in _OWN if (value := paths.get(name := f"path.{own}.{fact}")) is not None}
    return group_row(Group.DEVICE, with_push(values) if learned or paths else values)
