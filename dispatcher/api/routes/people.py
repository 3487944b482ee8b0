"""Listing users and devices; what became of a device's tokens."""

from litestar import get

from dispatcher.api.access import HttpRequest, backend_of
from dispatcher.api.answers import Answer, answer, core_of, path_id
from dispatcher.api.bodies import read_query
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.core import Core
from dispatcher.api.routes.users import shown_user
from dispatcher.api.schemas.people import (
    DevicesOut,
    DevicesParams,
    TokensOut,
    UsersOut,
    UsersParams,
    device_row,
    token_out,
)
from dispatcher.api.schemas.shared import NoParams
from dispatcher.domain.device import Profile
from dispatcher.errors import Problem
from dispatcher.ports.directory import UserQuery

_USERS = scopes(Scope.USERS)
_DEVICES = scopes(Scope.DEVICES)


@get(
    "/v1/users",
    opt=Contract(
        summary="Users, searched",
        tag="Users",
        scopes=_USERS,
        query=UsersParams,
        answers={200: UsersOut},
    ).opt(),
)
async def list_users(request: HttpRequest) -> Answer:
    """Page by page in the order of their ids; numbers masked."""
    core, app = core_of(request), backend_of(request).app
    params = read_query(request.scope["query_string"], UsersParams)
    found = await _search(core, app, params)
    users = [shown_user(core, profile) for profile in found[: params.limit]]
    return answer(UsersOut(users, users[-1].user_id if len(found) > params.limit else None))


async def _search(core: Core, app: str, params: UsersParams) -> list[Profile]:
    query, wanted = params.query or "", params.limit + 1
    if query.startswith("+"):
        number = UserQuery(phone_hash=core.sealer.number_hash(query), after=params.before, limit=wanted)
        if found := await core.directory.list_users(app, number):
            return found
    found = await core.directory.list_users(app, UserQuery(beginning=query, after=params.before, limit=wanted))
    if not found and query and params.before is None:
        return await core.directory.list_users(app, UserQuery(device_id=query))
    return found


@get(
    "/v1/devices",
    opt=Contract(
        summary="Devices, searched",
        tag="Devices",
        scopes=_DEVICES,
        query=DevicesParams,
        answers={200: DevicesOut},
    ).opt(),
)
async def list_devices(request: HttpRequest) -> Answer:
    """Page by page in the order of their ids; of one user, or all."""
    core, app = core_of(request), backend_of(request).app
    params = read_query(request.scope["query_string"], DevicesParams)
    found = await core.directory.list_devices(
        app, user_id=params.user_id, beginning=params.query or "", after=params.before, limit=params.limit + 1
    )
    rows = [device_row(user_id, device) for user_id, device in found[: params.limit]]
    return answer(DevicesOut(rows, rows[-1].device_id if len(found) > params.limit else None))


@get(
    "/v1/devices/{device_id:str}/tokens",
    opt=Contract(
        summary="History of a device's tokens",
        tag="Devices",
        scopes=_DEVICES,
        query=NoParams,
        answers={200: TokensOut},
        problems=(404,),
    ).opt(),
)
async def token_history(request: HttpRequest) -> Answer:
    """Newest first, with when and why each ended; the last eight ended ones are kept."""
    read_query(request.scope["query_string"], NoParams)
    found = await core_of(request).directory.device(backend_of(request).app, path_id(request, "device_id"))
    if found is None:
        raise Problem.not_found("device")
    tokens = sorted(found[1].tokens, key=lambda token: -token.registered_at)
    return answer(TokensOut([token_out(token) for token in tokens]))


ROUTES = (list_users, list_devices, token_history)
