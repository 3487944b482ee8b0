"""Apps side by side: their rules at the entry, API keys, provider credentials, block lists."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from litestar import delete, get, post, put
from msgspec import UNSET

from dispatcher.api.access import Backend, HttpRequest, Person, backend_of, caller_of, person_of
from dispatcher.api.answers import Answer, answer, core_of, no_content, path_id
from dispatcher.api.app_changes import change_app as change_app_of
from dispatcher.api.bodies import decode, read_query
from dispatcher.api.checks import check_zone, read_time
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.core import Core
from dispatcher.api.preconditions import condition_of, tagged
from dispatcher.api.schemas.apps import (
    AppChange,
    AppIn,
    AppOut,
    AppsOut,
    BlockIn,
    BlockOut,
    BlockParams,
    BlocksOut,
    KeyIn,
    KeyOut,
    KeysOut,
    NewKeyOut,
    app_out,
    block_out,
    key_members,
)
from dispatcher.api.schemas.shared import NoParams
from dispatcher.errors import Kind, Problem
from dispatcher.ports.directory import App, AuditEntry
from dispatcher.ports.operations import Block

MAX_BLOCKS = 10_000
_ADMIN = scopes(Scope.ADMIN)


def _admin(summary: str, **more: Any) -> Contract:
    return Contract(summary=summary, tag="Apps", scopes=_ADMIN, **{"query": NoParams, **more})


async def note(core: Core, caller: Backend, action: str, subject: str, **detail: Any) -> None:
    """Into the app's audit."""
    entry = AuditEntry(at=core.clock(), who=caller.name, action=action, subject=subject, detail=detail)
    await core.audit.record(caller.app, entry)


@get(
    "/v1/apps",
    opt=Contract(
        summary="Apps", tag="Apps", scopes=scopes(*Scope), any_app=True, query=NoParams, answers={200: AppsOut}
    ).opt(),
)
async def apps(request: HttpRequest) -> Answer:
    """An operator's, or the API key's own."""
    read_query(request.scope["query_string"], NoParams)
    caller = caller_of(request)
    found = await core_of(request).apps.apps()
    if isinstance(caller, Person):
        found = [app for app in found if caller.session.operator.sees(app.app_id)]
    else:
        found = [app for app in found if app.app_id == caller.app]
    return answer(AppsOut([app_out(app) for app in found]))


async def _seen(request: HttpRequest) -> App:
    """The app that the path names, as far as the caller may see it; Problem 404."""
    core, caller = core_of(request), caller_of(request)
    wanted = path_id(request, "app_id")
    sees = caller.session.operator.sees(wanted) if isinstance(caller, Person) else wanted == caller.app
    app = await core.apps.app(wanted) if sees else None
    if app is None:
        raise Problem.not_found("app")
    return app


@get(
    "/v1/apps/{app_id:str}",
    opt=Contract(
        summary="One app",
        tag="Apps",
        scopes=scopes(*Scope),
        any_app=True,
        query=NoParams,
        answers={200: AppOut},
        problems=(404,),
        tagged=True,
    ).opt(),
)
async def one_app(request: HttpRequest) -> Answer:
    """With its ETag."""
    read_query(request.scope["query_string"], NoParams)
    app = await _seen(request)
    return tagged(app_out(app), app.etag)


@post(
    "/v1/apps",
    opt=_admin("Make an app", any_app=True, body=AppIn, answers={201: AppOut}, problems=(409,), tagged=True).opt(),
)
async def create_app(request: HttpRequest) -> Answer:
    """Admins of all apps only."""
    core, person = core_of(request), person_of(request)
    if person.session.operator.apps is not None:
        raise Problem(Kind.FORBIDDEN, "only an admin of all apps makes apps")
    read_query(request.scope["query_string"], NoParams)
    wanted = decode(await request.body(), AppIn)
    check_zone("time_zone", wanted.time_zone)
    app = App(app_id=wanted.app_id, name=wanted.name or wanted.app_id, time_zone=wanted.time_zone)
    try:
        await core.apps.create_app(app, core.clock())
    except KeyError:
        raise Problem.conflict(f"there is an app {wanted.app_id!r} already") from None
    await note(core, replace(person, app=app.app_id), "app.create", app.app_id)
    return tagged(app_out(app), app.etag, 201)


@put(
    "/v1/apps/{app_id:str}",
    opt=_admin(
        "Change an app", any_app=True, body=AppChange, answers={200: AppOut}, problems=(404,), conditional=True
    ).opt(),
)
async def change_app(request: HttpRequest) -> Answer:
    """Name, zone, classes, rates and the locale of templates; what is left out stays.

    With If-Match, 412 where somebody changed it since. Without it, what two admins say of different fields both stands.
    """
    core, caller, condition = core_of(request), backend_of(request), condition_of(request)
    read_query(request.scope["query_string"], NoParams)
    app = await _seen(request)
    change = decode(await request.body(), AppChange)
    check_zone("time_zone", change.time_zone if change.time_zone is not UNSET else None)
    values: dict[str, Any] = {
        name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not UNSET
    }
    if isinstance(values.get("classes"), list):
        values["classes"] = sorted(set(values["classes"]))
    changed = await change_app_of(core.apps, app, values, condition)
    await note(core, replace(caller, app=app.app_id), "app.update", app.app_id, **values)
    return tagged(app_out(changed), changed.etag)


@get("/v1/keys", opt=_admin("API keys", answers={200: KeysOut}).opt())
async def keys(request: HttpRequest) -> Answer:
    """Never their texts."""
    read_query(request.scope["query_string"], NoParams)
    found = await core_of(request).apps.keys(backend_of(request).app)
    return answer(KeysOut([KeyOut(**key_members(key)) for key in found]))


@post("/v1/keys", opt=_admin("Make an API key", body=KeyIn, answers={201: NewKeyOut}).opt())
async def create_key(request: HttpRequest) -> Answer:
    """Its text is in this answer only."""
    core, caller = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = decode(await request.body(), KeyIn)
    key, secret = await core.apps.create_key(caller.app, wanted.name, sorted(set(wanted.scopes)), core.clock())
    await note(core, caller, "key.create", key.key_id, name=key.name, scopes=sorted(key.scopes))
    return answer(NewKeyOut(api_key=secret, **key_members(key)), 201)


@delete(
    "/v1/keys/{key_id:str}",
    status_code=200,
    opt=_admin("Revoke an API key", answers={204: None}, problems=(404,)).opt(),
)
async def revoke_key(request: HttpRequest) -> Answer:
    """In force everywhere within a second."""
    core, caller = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = path_id(request, "key_id")
    if not await core.apps.revoke_key(caller.app, wanted, core.clock()):
        raise Problem.not_found("key")
    await note(core, caller, "key.revoke", wanted)
    return no_content()


def _block_value(kind: str, value: str) -> str:
    """An address in its one spelling."""
    if kind == "user":
        return value
    try:
        return str(ip_network(value)) if "/" in value else str(ip_address(value))
    except ValueError:
        raise Problem.invalid("value", "write an address or a network such as 203.0.113.0/24") from None


@get("/v1/blocks", opt=_admin("Who is kept out", answers={200: BlocksOut}).opt())
async def blocks(request: HttpRequest) -> Answer:
    """Addresses and users of this app."""
    read_query(request.scope["query_string"], NoParams)
    found = await core_of(request).operations.blocks.blocks(backend_of(request).app)
    return answer(BlocksOut([block_out(block) for block in found]))


@put(
    "/v1/blocks",
    opt=_admin(
        "Keep an address or a user out", body=BlockIn, answers={201: BlockOut, 200: BlockOut}, conditional=True
    ).opt(),
)
async def put_block(request: HttpRequest) -> Answer:
    """Backends and phones at a blocked address, and phones of a blocked user, get 403 ``blocked`` within a second.

    Gateways read the list every second: within about two, lines of who stands on it are closed (``bye`` with code
    ``blocked`` and a time to come back of one to five minutes, then 1008), waiting polls answer 403, and new ones are
    refused. While the ledger is away the list last read holds.

    Operators are never kept out by it: somebody must be able to lift it. Messages to a blocked user are not affected:
    they wait in the inbox, and go over the other paths of the ladder.
    """
    core, caller, condition = core_of(request), backend_of(request), condition_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = decode(await request.body(), BlockIn)
    now = core.clock()
    until = read_time("until", wanted.until) if wanted.until is not None else None
    if until is not None and until <= now:
        raise Problem.invalid("until", "lies in the past")
    value = _block_value(wanted.kind, wanted.value)
    if len(await core.operations.blocks.blocks(caller.app)) >= MAX_BLOCKS:
        raise Problem.conflict(f"an app has at most {MAX_BLOCKS} blocks: lift some, or block a network")
    block = Block(kind=wanted.kind, value=value, reason=wanted.reason, until=until, by=caller.name, at=now)
    new = await core.operations.blocks.put_block(caller.app, block, condition)
    await note(core, caller, "block.set", f"{block.kind}:{block.value}", reason=block.reason)
    return tagged(block_out(block), block.etag, 201 if new else 200)


@delete(
    "/v1/blocks",
    status_code=200,
    opt=_admin("Lift a block", query=BlockParams, answers={204: None}, problems=(404,)).opt(),
)
async def lift_block(request: HttpRequest) -> Answer:
    """In force within a second."""
    core, caller = core_of(request), backend_of(request)
    params = read_query(request.scope["query_string"], BlockParams)
    value = _block_value(params.kind, params.value)
    if not await core.operations.blocks.lift_block(caller.app, params.kind, value):
        raise Problem.not_found("block")
    await note(core, caller, "block.lift", f"{params.kind}:{value}")
    return no_content()


ROUTES = (
    apps,
    one_app,
    create_app,
    change_app,
    keys,
    create_key,
    revoke_key,
    blocks,
    put_block,
    lift_block,
)
