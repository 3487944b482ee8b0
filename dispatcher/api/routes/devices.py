"""Devices and their tokens: minting for a phone, registration, logout."""

from collections.abc import Sequence

from litestar import delete, get, post, put

from dispatcher.api.access import Caller, HttpRequest, Person, Phone, backend_of, caller_of
from dispatcher.api.answers import Answer, answer, core_of, no_content, path_id
from dispatcher.api.bodies import decode, read_query
from dispatcher.api.checks import read_duration
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.routes.apps import note
from dispatcher.api.schemas.people import (
    DeviceIn,
    DeviceOut,
    DeviceTokenIn,
    DeviceTokenOut,
    PresenceOut,
    device_out,
    to_registration,
)
from dispatcher.api.schemas.shared import NoParams
from dispatcher.domain.clock import SECOND, Millis, rfc3339
from dispatcher.domain.device import Device
from dispatcher.domain.device_token import MAX_TTL_S, DeviceIdentity
from dispatcher.errors import Kind, Problem
from dispatcher.ports.presence import Line, Presence

_DEVICES = scopes(Scope.DEVICES)
_MAX_TTL: Millis = MAX_TTL_S * SECOND
#: How long a lost line is shown as reconnecting: the grace a strategy has where it names none.
_GRACE: Millis = 20 * SECOND


def _own(caller: Caller, device_id: str, user_id: str | None = None) -> None:
    """403 where user or device is not the device token's."""
    if isinstance(caller, Phone) and (
        device_id != caller.identity.device_id or user_id not in {None, caller.identity.user_id}
    ):
        raise Problem(Kind.NOT_YOURS, "the device token is of another user or device")


@post(
    "/v1/device-tokens",
    opt=Contract(
        summary="Mint a device token",
        tag="Devices",
        scopes=_DEVICES,
        body=DeviceTokenIn,
        query=NoParams,
        answers={201: DeviceTokenOut},
    ).opt(),
)
async def mint(request: HttpRequest) -> Answer:
    """For another user than the device's it moves the device: the old user's tokens, sessions and pushes to it die.

    Whoever holds the token reads that user's inbox: where an operator asks for one, the audit names them.
    """
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = decode(await request.body(), DeviceTokenIn)
    ttl = _MAX_TTL if wanted.ttl is None else read_duration("ttl", wanted.ttl, least=SECOND, most=_MAX_TTL)
    now = core.clock()
    if isinstance(backend, Person):
        await note(core, backend, "device.token", wanted.device_id, user_id=wanted.user_id)
    binding = await core.directory.bind(backend.app, wanted.device_id, wanted.user_id, now)
    await core.rebound(backend.app, wanted.device_id, binding)
    identity = DeviceIdentity(
        app=backend.app,
        user_id=wanted.user_id,
        device_id=wanted.device_id,
        epoch=binding.epoch,
        expires_at=(now + ttl) // SECOND * SECOND,
    )
    token = core.device_tokens.mint(identity, now)
    gateways = list(core.settings.gateways)
    return answer(DeviceTokenOut(token=token, expires_at=rfc3339(identity.expires_at), gateways=gateways), 201)


def _presence(lines: Sequence[Presence], device_id: str, now: Millis) -> PresenceOut:
    line = next((line for line in lines if line.device_id == device_id), None)
    if line is None:
        return PresenceOut(state="offline")
    state = str(line.line)
    if line.line is Line.LOST:
        state = "reconnecting" if now - line.since < _GRACE else "offline"
    return PresenceOut(state=state, foreground=line.foreground and line.line is Line.ONLINE, since=rfc3339(line.since))


async def _shown(request: HttpRequest, app: str, user_id: str, device: Device) -> DeviceOut:
    core = core_of(request)
    now = core.clock()
    lines = (await core.presences.of_users(app, [user_id], now)).get(user_id, ())
    learned = await core.device_rates(app, user_id, device.device_id)
    return device_out(user_id, device, _presence(lines, device.device_id, now), learned)


@put(
    "/v1/devices/{device_id:str}",
    opt=Contract(
        summary="Register a device",
        tag="Devices",
        scopes=_DEVICES,
        phones=True,
        body=DeviceIn,
        query=NoParams,
        answers={201: DeviceOut, 200: DeviceOut},
    ).opt(),
)
async def put_device(request: HttpRequest) -> Answer:
    """201 new, 200 changed; 403 where user or device is not the device token's."""
    core, caller = core_of(request), caller_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = path_id(request, "device_id")
    _own(caller, wanted)
    device = decode(await request.body(), DeviceIn)
    _own(caller, wanted, device.user_id)
    now = core.clock()
    registration = to_registration(caller.app, wanted, device, now)
    binding, new = await core.directory.register(registration, now)
    await core.rebound(caller.app, wanted, binding)
    found = await core.directory.device(caller.app, wanted)
    if found is None:  # logged out in the same moment
        raise Problem.not_found("device")
    return answer(await _shown(request, caller.app, *found), 201 if new else 200)


@get(
    "/v1/devices/{device_id:str}",
    opt=Contract(
        summary="A device with its tokens, line and learned rates",
        tag="Devices",
        scopes=_DEVICES,
        phones=True,
        query=NoParams,
        answers={200: DeviceOut},
        problems=(404,),
    ).opt(),
)
async def get_device(request: HttpRequest) -> Answer:
    """Token values show their ends only."""
    core, caller = core_of(request), caller_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = path_id(request, "device_id")
    _own(caller, wanted)
    found = await core.directory.device(caller.app, wanted)
    if found is None:
        raise Problem.not_found("device")
    return answer(await _shown(request, caller.app, *found))


@delete(
    "/v1/devices/{device_id:str}",
    status_code=200,  # the answer says 204 itself; Litestar refuses that for a handler that returns one
    opt=Contract(
        summary="Log a device out",
        tag="Devices",
        scopes=_DEVICES,
        phones=True,
        query=NoParams,
        answers={204: None},
        problems=(404,),
    ).opt(),
)
async def delete_device(request: HttpRequest) -> Answer:
    """Its tokens, sessions and pending pushes die."""
    core, caller = core_of(request), caller_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = path_id(request, "device_id")
    _own(caller, wanted)
    binding = await core.directory.remove_device(caller.app, wanted, core.clock())
    if binding is None:
        raise Problem.not_found("device")
    await core.rebound(caller.app, wanted, binding)
    return no_content()


ROUTES = (mint, put_device, get_device, delete_device)
