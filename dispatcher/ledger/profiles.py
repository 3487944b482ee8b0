"""Profiles: a user with devices and tokens, whole, in one query."""

from collections.abc import Iterable
from typing import Any

import msgspec

from dispatcher.domain.device import Device, Profile
from dispatcher.ledger.driver import Connection

#: Members in the order of dispatcher.domain.device.Device and PushToken, which are read from arrays.
_DEVICE = """
json_build_array(d.device_id, d.epoch, d.platform, coalesce((
    SELECT json_agg(json_build_array(t.path, t.kind, t.value, nullif(t.environment, ''), t.topic, t.state,
        t.registered_at, t.ended_at, t.reason) ORDER BY t.registered_at DESC, t.path)
    FROM device_tokens t WHERE t.app = d.app AND t.device_id = d.device_id
), '[]'::json), d.alerts_enabled, d.app_version, d.os_version, d.manufacturer, d.locale, d.time_zone, d.last_seen)
"""
#: Primary key of users, index devices_of_user, primary key of device_tokens.
_PROFILES = f"""
SELECT u.user_id, u.rev, u.phone, u.phone_country, u.phone_verified, u.phone_usable_from, u.locale, u.time_zone,
    u.quiet_from, u.quiet_to, u.sms_opt_in, u.muted_classes, (
        SELECT json_agg({_DEVICE} ORDER BY d.device_id)::text FROM devices d
        WHERE d.app = u.app AND d.user_id = u.user_id
    ) AS devices
FROM users u WHERE u.app = $1 AND u.user_id = ANY($2::text[])
"""  # noqa: S608
#: Primary keys of devices and device_tokens.
_ONE_DEVICE = f"SELECT d.user_id, ({_DEVICE})::text FROM devices d WHERE d.app = $1 AND d.device_id = $2"  # noqa: S608
_SOME_DEVICES = f"""
SELECT d.device_id, d.user_id, ({_DEVICE})::text FROM devices d WHERE d.app = $1 AND d.device_id = ANY($2::text[])
"""  # noqa: S608

_decode_devices = msgspec.json.Decoder(tuple[Device, ...]).decode
_decode_device = msgspec.json.Decoder(Device).decode


async def read_profiles(connection: Connection, app: str, user_ids: Iterable[str]) -> dict[str, Profile]:
    """Profiles by user; unknown ones are absent."""
    return {row[0]: _profile(app, row) for row in await connection.fetch(_PROFILES, app, list(user_ids))}


async def read_device(connection: Connection, app: str, device_id: str) -> tuple[str, Device] | None:
    """(user_id, device)."""
    row = await connection.fetchrow(_ONE_DEVICE, app, device_id)
    return None if row is None else (row[0], _decode_device(row[1]))


async def read_devices(connection: Connection, app: str, device_ids: Iterable[str]) -> dict[str, tuple[str, Device]]:
    """(user_id, device) by device id; unknown ones are absent."""
    rows = await connection.fetch(_SOME_DEVICES, app, list(device_ids))
    return {row[0]: (row[1], _decode_device(row[2])) for row in rows}


def _profile(app: str, row: Any) -> Profile:
    devices = row["devices"]
    return Profile(
        app=app,
        user_id=row["user_id"],
        rev=row["rev"],
        phone=row["phone"],
        phone_country=row["phone_country"],
        phone_verified=row["phone_verified"],
        phone_usable_from=row["phone_usable_from"],
        locale=row["locale"],
        time_zone=row["time_zone"],
        quiet_from=row["quiet_from"],
        quiet_to=row["quiet_to"],
        sms_opt_in=row["sms_opt_in"],
        muted_classes=tuple(row["muted_classes"]),
        devices=() if devices is None else _decode_devices(devices),
    )
