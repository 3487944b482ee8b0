"""Facts for a trial: taken from a device and its user as the API shows them, written and read as YAML."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import yaml

from dispatcher.console.api import Api, ApiError, read_time
from dispatcher.console.words import PATHS

_PRESENCE = {"online": "online", "syncing": "online", "parked": "online", "reconnecting": "reconnecting"}


def facts_text(facts: Mapping[str, Any]) -> str:
    """One fact a line."""
    return yaml.safe_dump(dict(facts), sort_keys=False, allow_unicode=True)


def read_facts(text: str) -> dict[str, Any]:
    """What :func:`facts_text` wrote, edited by a person. Raises YAMLError."""
    found = yaml.safe_load(text or "{}")
    if not isinstance(found, dict):
        raise yaml.YAMLError("write one fact a line: name: value")
    return {str(name): value for name, value in found.items()}


async def facts_of_device(api: Api, device_id: str, klass: str) -> dict[str, Any]:
    """What planning would see now of a device and its user, as far as the API shows it. Raises ApiError."""
    device = await api.get(f"/v1/devices/{quote(device_id, safe='')}")
    user, providers = await asyncio.gather(_user(api, device["user_id"]), api.get("/v1/providers"))
    return device_facts(device, user, providers["providers"], klass, datetime.now(UTC))


async def _user(api: Api, user_id: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = await api.get(f"/v1/users/{quote(user_id, safe='')}")
    except ApiError as error:
        if error.status == 404:
            return {}
        raise
    return found


def device_facts(
    device: Mapping[str, Any],
    user: Mapping[str, Any],
    providers: Sequence[Mapping[str, Any]],
    klass: str,
    now: datetime,
) -> dict[str, Any]:
    """The facts by their dotted names; what is not known is left out, as the engine expects it."""
    live = {token["path"] for token in device["tokens"] if token["state"] == "active"}
    presence = _PRESENCE.get(device["presence"]["state"], "offline")
    facts: dict[str, Any] = {
        "message.class": klass,
        "message.priority": "normal",
        "message.ttl_s": 86_400,
        "message.has_notification": True,
        "message.collapse_key": "",
        "user.locale": user.get("locale") or "",
        "user.in_quiet_hours": False,
        "user.sms_opt_in": user.get("sms_opt_in") is True,
        "user.sms_opted_out": user.get("sms_opt_in") is False,
        "user.muted": klass in (user.get("muted_classes") or ()),
        "user.has_phone": bool(user.get("phone")),
        "user.phone_verified": bool(user.get("phone_verified")),
        "user.devices": len(user.get("devices") or (device,)),
        "device.platform": device["platform"],
        "device.manufacturer": device.get("manufacturer") or "",
        "device.os_version": device.get("os_version") or "",
        "device.app_version": device.get("app_version") or "",
        "device.alerts_enabled": device["alerts_enabled"],
        "device.presence": presence,
        "device.foreground": bool(device["presence"].get("foreground")),
        "device.token.apns": "apns" in live,
        "device.token.fcm": "fcm" in live,
    }
    if device.get("last_seen"):
        facts["device.last_seen_s"] = round((now - read_time(device["last_seen"])).total_seconds(), 1)
    for path, learned in (device.get("learned") or {}).items():
        if path in PATHS and isinstance(learned, Mapping):
            for name in ("ack_rate", "p95_s"):
                if learned.get(name) is not None:
                    facts[f"device.{name}.{path}"] = learned[name]
    for provider in providers:
        facts[f"path.{provider['path']}.healthy"] = provider["circuit"] != "open" and not provider["paused"]
    return facts
