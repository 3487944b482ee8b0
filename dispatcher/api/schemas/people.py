"""Bodies of the user and device routes."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from dispatcher.api.checks import (
    E164,
    ClassName,
    ClockText,
    DurationText,
    Id,
    Locale,
    ZoneName,
    check_zone,
)
from dispatcher.domain.clock import Millis, rfc3339
from dispatcher.domain.device import Device, Platform, PushToken
from dispatcher.domain.paths import Path
from dispatcher.errors import FieldError, Problem
from dispatcher.ports.directory import DeviceRegistration

_KINDS = {"apns": ("device", "voip"), "fcm": ("registration", "fid")}
Version = Annotated[str, Meta(min_length=1, max_length=64)]


class QuietHours(Struct, forbid_unknown_fields=True, kw_only=True):
    """A window in the user's own zone; it may span midnight."""

    from_: ClockText = msgspec.field(name="from")
    to: ClockText


class UserIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is left out stays as it is; null takes it away."""

    phone: E164 | UnsetType | None = UNSET
    phone_verified: bool | UnsetType = UNSET
    locale: Locale | UnsetType | None = UNSET
    time_zone: ZoneName | UnsetType | None = UNSET
    quiet_hours: QuietHours | UnsetType | None = UNSET
    sms_opt_in: bool | UnsetType | None = UNSET
    muted_classes: Annotated[list[ClassName], Meta(max_length=100)] | UnsetType = UNSET


class UserOut(Struct, kw_only=True):
    """The number shows its country and last digits only."""

    user_id: str
    phone: str | None
    phone_verified: bool
    locale: str | None
    time_zone: str | None
    quiet_hours: QuietHours | None
    sms_opt_in: bool | None
    muted_classes: list[str]
    devices: list[str]


class TokenIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """One vendor address. ``voip`` is a PushKit token: messages of class ``call`` go to it, others never do."""

    path: Literal["apns", "fcm"]
    kind: Literal["device", "voip", "registration", "fid"]
    value: Annotated[str, Meta(pattern=r"^[!-~]{1,4096}$(?!\n)", min_length=1, max_length=4_096)]
    environment: Literal["production", "sandbox"] | None = None
    topic: Annotated[str, Meta(pattern=r"^[!-~]{1,255}$(?!\n)")] | None = None


class DeviceIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """A device as its client reports it, whole: what is left out is not known."""

    user_id: Id
    platform: Literal["ios", "android", "harmony", "web"]
    tokens: Annotated[list[TokenIn], Meta(max_length=10)] = []
    alerts_enabled: bool = True
    app_version: Version | None = None
    os_version: Version | None = None
    manufacturer: Version | None = None
    locale: Locale | None = None
    time_zone: ZoneName | None = None


class TokenOut(Struct, kw_only=True):
    """A vendor address with its middle left out."""

    path: str
    kind: str
    value: str
    environment: str | None
    topic: str | None
    state: str
    since: str
    ended_at: str | None = None
    reason: str | None = None  #: why it is dead or stale


class PresenceOut(Struct, kw_only=True):
    """``online``, ``syncing``, ``parked`` (a long-poll waits), ``reconnecting`` (lost just now) or ``offline``."""

    state: str
    foreground: bool = False
    since: str | None = None


class DeviceRow(Struct, kw_only=True):
    """A device in a list: as the ledger has it, without its line."""

    device_id: str
    user_id: str
    platform: str
    tokens: list[TokenOut]
    alerts_enabled: bool
    app_version: str | None
    os_version: str | None
    manufacturer: str | None
    locale: str | None
    time_zone: str | None
    last_seen: str | None


class DeviceOut(DeviceRow, kw_only=True):
    """A device with what became of its tokens, its line, and what was learned from its receipts."""

    presence: PresenceOut
    learned: dict[str, Any]


class DeviceTokenIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """For whom to mint. Another user than the device's moves it at once."""

    user_id: Id
    device_id: Id
    ttl: DurationText | None = None


class DeviceTokenOut(Struct, kw_only=True):
    """A device token, shown once."""

    token: str
    expires_at: str
    gateways: list[str]


class UsersOut(Struct):
    """By user_id. ``next`` goes into ``before``; null on the last page."""

    users: list[UserOut]
    next: str | None


class DevicesOut(Struct):
    """By device_id. ``next`` goes into ``before``; null on the last page."""

    devices: list[DeviceRow]
    next: str | None


class TokensOut(Struct):
    """Newest first, the last ended ones too."""

    tokens: list[TokenOut]


class UsersParams(Struct, forbid_unknown_fields=True, kw_only=True):
    """``query``: the beginning of a user_id, or a whole number (+86...), or a whole device_id."""

    query: Id | None = None
    before: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class DevicesParams(Struct, forbid_unknown_fields=True, kw_only=True):
    """``query``: the beginning of a device_id."""

    user_id: Id | None = None
    query: Id | None = None
    before: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


def token_out(token: PushToken) -> TokenOut:
    """With its middle left out."""
    return TokenOut(
        path=token.path,
        kind=token.kind,
        value=token.masked,
        environment=token.environment,
        topic=token.topic,
        state=token.state,
        since=rfc3339(token.registered_at),
        ended_at=rfc3339(token.ended_at) if token.ended_at is not None else None,
        reason=token.reason,
    )


def _as_listed(user_id: str, device: Device) -> dict[str, Any]:
    return {
        "device_id": device.device_id,
        "user_id": user_id,
        "platform": device.platform,
        "tokens": [token_out(token) for token in device.tokens],
        "alerts_enabled": device.alerts_enabled,
        "app_version": device.app_version,
        "os_version": device.os_version,
        "manufacturer": device.manufacturer,
        "locale": device.locale,
        "time_zone": device.time_zone,
        "last_seen": rfc3339(device.last_seen) if device.last_seen else None,
    }


def device_row(user_id: str, device: Device) -> DeviceRow:
    """One line of a list."""
    return DeviceRow(**_as_listed(user_id, device))


def device_out(user_id: str, device: Device, presence: PresenceOut, learned: Mapping[str, Any]) -> DeviceOut:
    """The same with its line and what its receipts taught."""
    return DeviceOut(**_as_listed(user_id, device), presence=presence, learned=dict(learned))


def to_registration(app: str, device_id: str, device: DeviceIn, now: Millis) -> DeviceRegistration:
    """Checks what types cannot say; Problem 422."""
    faults = []
    for index, token in enumerate(device.tokens):
        if token.kind not in _KINDS[token.path]:
            kinds = " or ".join(_KINDS[token.path])
            faults.append(FieldError(f"tokens[{index}].kind", f"write {kinds} for {token.path}"))
        if token.path != "apns" and token.environment is not None:
            faults.append(FieldError(f"tokens[{index}].environment", "only for apns"))
    if faults:
        raise Problem.invalid_fields(faults)
    check_zone("time_zone", device.time_zone)
    return DeviceRegistration(
        app=app,
        user_id=device.user_id,
        device_id=device_id,
        platform=Platform(device.platform),
        tokens=[
            PushToken(
                path=Path(token.path),
                kind=token.kind,
                value=token.value,
                environment=(token.environment or "production") if token.path == "apns" else None,
                topic=token.topic,
                registered_at=now,
            )
            for token in device.tokens
        ],
        alerts_enabled=device.alerts_enabled,
        app_version=device.app_version,
        os_version=device.os_version,
        manufacturer=device.manufacturer,
        locale=device.locale,
        time_zone=device.time_zone,
    )
