"""Providers: how they fare, their switches, their credentials."""

from typing import Any

from litestar import delete, get, post, put

from dispatcher.api.access import HttpRequest, backend_of
from dispatcher.api.answers import Answer, answer, core_of, no_content, path_id
from dispatcher.api.bodies import check_text, decode, read_query
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.core import Core
from dispatcher.api.operations import CredentialView
from dispatcher.api.preconditions import condition_of, tagged
from dispatcher.api.routes.apps import note
from dispatcher.api.schemas.providers import (
    CREDENTIAL_PATHS,
    PATHS,
    CredentialOut,
    CredentialsOut,
    PauseIn,
    ProviderOut,
    ProvidersOut,
    credential_out,
    provider_out,
)
from dispatcher.api.schemas.shared import NoParams
from dispatcher.domain.paths import Path
from dispatcher.errors import Problem

_READ = scopes(Scope.READ)
_ADMIN = scopes(Scope.ADMIN)


def _reading(summary: str, **more: Any) -> Contract:
    return Contract(summary=summary, tag="Providers", scopes=_READ, query=NoParams, **more)


def _admin(summary: str, **more: Any) -> Contract:
    return Contract(summary=summary, tag="Providers", scopes=_ADMIN, query=NoParams, **more)


@get("/v1/providers", opt=_reading("Providers", answers={200: ProvidersOut}).opt())
async def providers(request: HttpRequest) -> Answer:
    """How each path of this app fares: circuit and switch, answers by reason and time to receipt of the last five
    minutes, health, what the vendor asked us to wait for, and how old the credentials are."""
    core, app = core_of(request), backend_of(request).app
    read_query(request.scope["query_string"], NoParams)
    now = core.clock()
    found = await core.operations.providers(app, now)
    return answer(ProvidersOut([provider_out(view, now) for view in found]))


def _path(request: HttpRequest) -> Path:
    found = PATHS.get(path_id(request, "path"))
    if found is None:
        raise Problem.not_found("path")
    return found


async def _provider(core: Core, app: str, path: Path) -> Answer:
    now = core.clock()
    found = await core.operations.providers(app, now)
    return answer(next(provider_out(view, now) for view in found if view.path is path))


@post(
    "/v1/providers/{path:str}/pause",
    status_code=200,
    opt=_admin(
        "Send nothing on a path", body=PauseIn, body_required=False, answers={200: ProviderOut}, problems=(404,)
    ).opt(),
)
async def pause(request: HttpRequest) -> Answer:
    """For this app only. New plans go round the path; what has no other step waits for it, up to its ttl."""
    core, caller = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    path = _path(request)
    body = await request.body()
    reason = decode(body, PauseIn).reason if body else ""
    await core.operations.pause(caller.app, path, caller.name, reason, core.clock())
    await note(core, caller, "provider.pause", path, reason=reason)
    return await _provider(core, caller.app, path)


@post(
    "/v1/providers/{path:str}/resume",
    status_code=200,
    opt=_admin("Send on a path again", answers={200: ProviderOut}, problems=(404,)).opt(),
)
async def resume(request: HttpRequest) -> Answer:
    """What waited goes out within seconds."""
    core, caller = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    path = _path(request)
    await core.operations.resume(caller.app, path)
    await note(core, caller, "provider.resume", path)
    return await _provider(core, caller.app, path)


def _credential_path(request: HttpRequest) -> Path:
    text = path_id(request, "path")
    if text not in CREDENTIAL_PATHS:
        raise Problem.invalid("path", f"write {', '.join(CREDENTIAL_PATHS[:-1])} or {CREDENTIAL_PATHS[-1]}")
    return Path(text)


@get("/v1/credentials", opt=_admin("Which credentials are set", answers={200: CredentialsOut}).opt())
async def credentials(request: HttpRequest) -> Answer:
    """Nothing secret is shown."""
    read_query(request.scope["query_string"], NoParams)
    core, app = core_of(request), backend_of(request).app
    views = {path: CredentialView(path=path, changed_at=None, about={}) for path in CREDENTIAL_PATHS}
    views |= {view.path: view for view in await core.operations.credentials(app)}
    return answer(CredentialsOut([credential_out(view, core.clock()) for view in views.values()]))


@get(
    "/v1/credentials/{path:str}",
    opt=_admin("A path's credentials, without them", answers={200: CredentialOut}, problems=(404,), tagged=True).opt(),
)
async def credential(request: HttpRequest) -> Answer:
    """When they were changed, and what of them is no secret."""
    read_query(request.scope["query_string"], NoParams)
    core, wanted = core_of(request), _credential_path(request)
    for view in await core.operations.credentials(backend_of(request).app):
        if view.path is wanted:
            return tagged(credential_out(view, core.clock()), view.etag or "")
    raise Problem.not_found("credentials")


@put(
    "/v1/credentials/{path:str}",
    opt=_admin(
        "Set a path's credentials",
        body=dict[str, Any],
        answers={201: CredentialOut, 200: CredentialOut},
        problems=(409,),
        conditional=True,
    ).opt(),
)
async def put_credentials(request: HttpRequest) -> Answer:
    """Checked, then sealed. Workers take them within ten seconds; an open circuit probes soon after.

    ``sms`` takes one carrier, or several as ``{"carriers": [...]}``, the preferred one first: what one certainly did
    not take goes to the next, and one that fails is asked last for a while.
    """
    core, caller = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = _credential_path(request)
    body = await request.body()
    decode(body, dict[str, Any])
    check_text(body)
    condition = condition_of(request)
    view, new = await core.operations.put_credentials(caller.app, wanted, body, core.clock(), condition)
    await note(core, caller, "credentials.set", wanted, **view.about)
    return tagged(credential_out(view, core.clock()), view.etag or "", 201 if new else 200)


@delete(
    "/v1/credentials/{path:str}",
    status_code=200,
    opt=_admin("Delete a path's credentials", answers={204: None}, problems=(404,)).opt(),
)
async def delete_credentials(request: HttpRequest) -> Answer:
    """Nothing more goes out on the path within ten seconds."""
    core, caller = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = _credential_path(request)
    if not await core.operations.drop_credentials(caller.app, wanted):
        raise Problem.not_found("credentials")
    await note(core, caller, "credentials.delete", wanted)
    return no_content()


@post(
    "/v1/credentials/{path:str}/check",
    status_code=200,
    opt=_admin("Look at a path's credentials", answers={200: CredentialOut}, problems=(404,)).opt(),
)
async def check_credentials(request: HttpRequest) -> Answer:
    """Whether what is stored can be opened and can work, each of several carriers too.

    Asks no vendor, but counts what it said in the last minutes: a key that reads well may be another team's."""
    core, caller = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    view = await core.operations.check_credentials(caller.app, _credential_path(request), core.clock())
    if view is None:
        raise Problem.not_found("credentials")
    return answer(credential_out(view, core.clock()))


ROUTES = (
    providers,
    pause,
    resume,
    credentials,
    credential,
    put_credentials,
    delete_credentials,
    check_credentials,
)
