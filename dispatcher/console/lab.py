"""Addresses of the console that the phone lab's script calls: the operator's session here, the phones' tokens there."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import JSONResponse
from nicegui import app

from dispatcher.console.api import Api, ApiError
from dispatcher.console.frame import context
from dispatcher.console.sessions import COOKIE_KEY

_MOST_BYTES = 65_536
_MODELS = {"ios": ("Apple", "19.1"), "android": ("Xiaomi", "16")}
Action = Callable[[Api, dict[str, Any]], Awaitable[dict[str, Any]]]


def lab_route(name: str) -> Callable[[Action], Action]:
    """``POST /lab/<name>`` with JSON for signed-in operators; the guard before it refuses other sites."""

    def decorate(action: Action) -> Action:
        @app.post(f"/lab/{name}", include_in_schema=False)
        async def answer(request: Request) -> JSONResponse:
            api = context().sessions.find(request.session.get(COOKIE_KEY))
            if api is None:
                return JSONResponse({"detail": "Your session has ended. Sign in again."}, 401)
            try:
                if int(request.headers.get("content-length") or _MOST_BYTES + 1) > _MOST_BYTES:
                    return JSONResponse({"detail": "Too much at once."}, 413)
                body = await request.json()
                return JSONResponse(await action(api, body if isinstance(body, dict) else {}))
            except ApiError as error:
                return JSONResponse({"detail": error.sentence()}, error.status or 503)
            except (KeyError, TypeError, ValueError):
                return JSONResponse({"detail": "The request cannot be read."}, 400)

        return action

    return decorate


@lab_route("phones")
async def add_phone(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    """A virtual phone: its user with a number, a device token minted by the API, the device registered with it."""
    user_id, platform = str(body["user_id"]), str(body["platform"])
    number = str(body.get("number") or "") or None
    device_id = f"lab-{platform}-{secrets.token_hex(4)}"
    profile: dict[str, Any] = {"sms_opt_in": bool(body.get("sms", True))}
    if number:
        profile |= {"phone": number, "phone_verified": True}
    await api.put(f"/v1/users/{quote(user_id, safe='')}", profile)
    minted = await _mint(api, user_id, device_id)
    push_token = secrets.token_hex(32) if platform == "ios" else f"lab:{secrets.token_urlsafe(80)}"
    device = {"device_id": device_id, "user_id": user_id, "platform": platform, "push_token": push_token}
    await _register(api, {**device, "token": minted["token"], "alerts": True})
    return {**device, "number": number, "token": minted["token"], "gateway": minted["gateways"][0], "alerts": True}


@lab_route("tokens")
async def mint(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    """A fresh device token for a phone of the lab."""
    return {"token": (await _mint(api, str(body["user_id"]), str(body["device_id"])))["token"]}


@lab_route("devices")
async def change_device(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    """The phone tells of itself anew: its alert permission."""
    await _register(api, body)
    return {}


@lab_route("logout")
async def log_out(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    """The phone leaves: its tokens and sessions die."""
    address = f"/v1/devices/{quote(str(body['device_id']), safe='')}"
    await api.call("DELETE", address, token=str(body["token"]))
    return {}


@lab_route("receipts")
async def receipt(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    """What the app proves by itself after a push, with the phone's own token."""
    reply = await api.call("POST", "/v1/receipts", json={"receipts": body["receipts"]}, token=str(body["token"]))
    found: dict[str, Any] = reply.json()
    return found


@lab_route("inbox")
async def pull(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    """The phone polls: what came since its cursor, which also proves everything before."""
    query = {"after": body.get("cursor"), "limit": 50}
    reply = await api.call("GET", "/v1/inbox", query=query, token=str(body["token"]))
    found: dict[str, Any] = reply.json()
    return found


@lab_route("arrivals")
async def arrivals(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    """Pushes and texts that reached the phones of this page in the simulators."""
    watch = context().sandbox
    tokens = [str(token) for token in body.get("tokens") or ()][:50]
    numbers = [str(number) for number in body.get("numbers") or ()][:50]
    if api.operator is None or not api.operator.is_admin:
        raise ApiError(403, "missing_scope", "The phone lab is for admins: texts and pushes are shown unmasked.")
    texts = {number: await watch.texts(number) for number in dict.fromkeys(numbers)}
    return {"pushes": await watch.pushes(tokens), "texts": texts}


async def _mint(api: Api, user_id: str, device_id: str) -> dict[str, Any]:
    minted: dict[str, Any] = await api.post(
        "/v1/device-tokens", {"user_id": user_id, "device_id": device_id, "ttl": "4h"}
    )
    return minted


async def _register(api: Api, phone: dict[str, Any]) -> None:
    platform = str(phone["platform"])
    push = (
        {
            "path": "apns",
            "kind": "device",
            "value": phone["push_token"],
            "environment": "production",
            "topic": "com.example.im",
        }
        if platform == "ios"
        else {"path": "fcm", "kind": "registration", "value": phone["push_token"]}
    )
    manufacturer, os_version = _MODELS.get(platform, ("Pushpath", "1"))
    body = {
        "user_id": phone["user_id"],
        "platform": platform,
        "tokens": [push] if platform in _MODELS else [],
        "alerts_enabled": bool(phone.get("alerts", True)),
        "manufacturer": manufacturer,
        "os_version": os_version,
        "app_version": "1.0-lab",
    }
    address = f"/v1/devices/{quote(str(phone['device_id']), safe='')}"
    await api.call("PUT", address, json=body, token=str(phone["token"]))
