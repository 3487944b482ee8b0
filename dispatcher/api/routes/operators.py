"""Operators: signing in and out, accounts, a look at what is masked."""

import msgspec
from litestar import delete, get, post, put
from msgspec import UNSET

from dispatcher.api.access import HttpRequest, Person, person_of
from dispatcher.api.answers import Answer, answer, core_of, no_content, path_id
from dispatcher.api.bodies import decode, read_query
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.core import Core
from dispatcher.api.preconditions import condition_of, tagged
from dispatcher.api.schemas.operators import (
    Login,
    OperatorIn,
    OperatorOut,
    OperatorsOut,
    PlainTokenOut,
    SessionOut,
    SignIn,
    UnmaskIn,
    UnmaskOut,
    WhoOut,
    operator_out,
    who,
)
from dispatcher.api.schemas.shared import NoParams
from dispatcher.errors import Kind, Problem
from dispatcher.ports.directory import AuditEntry
from dispatcher.ports.operations import Role, Session

_ANY = scopes(*Scope)
_ADMIN = scopes(Scope.ADMIN)


async def _session_out(core: Core, opened: tuple[Session, str]) -> Answer:
    session, token = opened
    return answer(SessionOut(token=token, **who(session, await core.apps.apps())), 201)


@post(
    "/v1/sessions",
    opt=Contract(
        summary="Sign in", tag="Operators", body=SignIn, query=NoParams, answers={201: SessionOut}, problems=(401, 429)
    ).opt(),
)
async def sign_in(request: HttpRequest) -> Answer:
    """A token with the scopes of the person's role, for their apps; it goes wherever an API key goes.

    Which app is meant says the header ``Pushpath-App``; it may be left out by who sees exactly one.
    """
    core = core_of(request)
    read_query(request.scope["query_string"], NoParams)
    person = decode(await request.body(), SignIn)
    opened = await core.operations.sign_in(person.login, person.password, request.state.address, core.clock())
    return await _session_out(core, opened)


def _own(summary: str, **more: object) -> Contract:
    return Contract(summary=summary, tag="Operators", scopes=_ANY, any_app=True, safe=True, query=NoParams, **more)  # type: ignore[arg-type]


@get("/v1/sessions", opt=_own("Who is signed in", answers={200: WhoOut}).opt())
async def session(request: HttpRequest) -> Answer:
    """With the apps as they are now."""
    read_query(request.scope["query_string"], NoParams)
    signed_in = person_of(request).session
    return answer(WhoOut(**who(signed_in, await core_of(request).apps.apps())))


@post("/v1/sessions/renew", opt=_own("Take a fresh token", ends_session=True, answers={201: SessionOut}).opt())
async def renew(request: HttpRequest) -> Answer:
    """In place of the one this is asked with; 401 once the sign-in itself is twelve lives old."""
    core = core_of(request)
    read_query(request.scope["query_string"], NoParams)
    return await _session_out(core, await core.operations.renew(person_of(request).session, core.clock()))


@delete("/v1/sessions", status_code=200, opt=_own("Sign out", ends_session=True, answers={204: None}).opt())
async def sign_out(request: HttpRequest) -> Answer:
    """The token is worth nothing after a second at most."""
    read_query(request.scope["query_string"], NoParams)
    await core_of(request).operations.operators.close_session(person_of(request).session.session_id)
    return no_content()


def _chief(request: HttpRequest) -> Person:
    """An admin of all apps: who makes operators could otherwise reach beyond their own."""
    person = person_of(request)
    if person.session.operator.apps is not None:
        raise Problem(Kind.FORBIDDEN, "only an admin of all apps manages operators")
    return person


def _managing(summary: str, **more: object) -> Contract:
    return Contract(summary=summary, tag="Operators", scopes=_ADMIN, any_app=True, query=NoParams, **more)  # type: ignore[arg-type]


def _login(request: HttpRequest) -> str:
    wanted = path_id(request, "login")
    try:
        return msgspec.convert(wanted, Login)
    except msgspec.ValidationError:
        raise Problem.invalid("login", "write 1 to 64 letters, digits, or . _ @ + -") from None


async def _note(core: Core, person: Person, action: str, login: str, apps: list[str] | None, role: str) -> None:
    """Into the audit of every app that is concerned."""
    entry = AuditEntry(at=core.clock(), who=person.name, action=action, subject=login, detail={"role": role})
    for app in await core.apps.apps():
        if apps is None or app.app_id in apps:
            await core.audit.record(app.app_id, entry)


@get("/v1/operators", opt=_managing("Operators", answers={200: OperatorsOut}).opt())
async def operators(request: HttpRequest) -> Answer:
    """Disabled ones too."""
    _chief(request)
    read_query(request.scope["query_string"], NoParams)
    found = await core_of(request).operations.operators.operators()
    return answer(OperatorsOut([operator_out(operator) for operator in found]))


@put(
    "/v1/operators/{login:str}",
    opt=_managing(
        "Make or change an operator", body=OperatorIn, answers={201: OperatorOut, 200: OperatorOut}, conditional=True
    ).opt(),
)
async def put_operator(request: HttpRequest) -> Answer:
    """201 new, 200 changed (and enabled again)."""
    core, person, condition = core_of(request), _chief(request), condition_of(request)
    read_query(request.scope["query_string"], NoParams)
    login = _login(request)
    wanted = decode(await request.body(), OperatorIn)
    if wanted.apps is not None:
        known = {app.app_id for app in await core.apps.apps()}
        for index, app in enumerate(wanted.apps):
            if app not in known:
                raise Problem.invalid(f"apps[{index}]", "there is no such app")
    if login == person.name and (wanted.role is not Role.ADMIN or wanted.apps is not None):
        raise Problem.conflict("nobody takes their own rights away: ask another admin")
    password = None if wanted.password is UNSET else await core.operations.hash_password(wanted.password)
    store = core.operations.operators
    try:
        new = await store.put_operator(login, wanted.role, wanted.apps, password, core.clock(), condition)
    except KeyError:
        raise Problem.invalid("password", "required for a new operator") from None
    await _note(core, person, "operator.create" if new else "operator.update", login, wanted.apps, wanted.role)
    made = next(operator for operator in await store.operators() if operator.login == login)
    return tagged(operator_out(made), made.etag, 201 if new else 200)


@delete(
    "/v1/operators/{login:str}",
    status_code=200,
    opt=_managing("Disable an operator", answers={204: None}, problems=(404, 409)).opt(),
)
async def disable_operator(request: HttpRequest) -> Answer:
    """Their sessions end; their name stays in the audit."""
    core, person = core_of(request), _chief(request)
    read_query(request.scope["query_string"], NoParams)
    login = _login(request)
    if login == person.name:
        raise Problem.conflict("nobody disables themselves: ask another admin")
    store = core.operations.operators
    standing = next((operator for operator in await store.operators() if operator.login == login), None)
    if standing is None or not await store.disable_operator(login, core.clock()):
        raise Problem.not_found("operator")
    apps = None if standing.apps is None else list(standing.apps)
    await _note(core, person, "operator.disable", login, apps, standing.role)
    return no_content()


@post(
    "/v1/unmask",
    status_code=200,
    opt=Contract(
        summary="Look at a number or at tokens in plain",
        tag="Operators",
        scopes=_ADMIN,
        body=UnmaskIn,
        query=NoParams,
        answers={200: UnmaskOut},
        problems=(404,),
    ).opt(),
)
async def unmask(request: HttpRequest) -> Answer:
    """Admins who signed in only, and the audit names them."""
    core, person = core_of(request), person_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = decode(await request.body(), UnmaskIn)
    if (wanted.user_id is None) == (wanted.device_id is None):
        raise Problem.invalid("user_id", "name a user or a device")
    what = "user" if wanted.user_id is not None else "device"
    entry = AuditEntry(
        at=core.clock(),
        who=person.name,
        action=f"unmask.{what}",
        subject=wanted.user_id or wanted.device_id or "",
        detail={"reason": wanted.reason},
    )
    await core.audit.record(person.app, entry)  # before anything is shown: no look without its entry
    if wanted.user_id is not None:
        phone = await core.operations.unmask_user(person.app, wanted.user_id)
        return answer(UnmaskOut(user_id=wanted.user_id, phone=phone))
    found = await core.operations.unmask_device(person.app, wanted.device_id or "")
    tokens = [PlainTokenOut(**token) for token in found["tokens"]]
    return answer(UnmaskOut(user_id=found["user_id"], device_id=wanted.device_id, tokens=tokens))


ROUTES = (sign_in, session, renew, sign_out, operators, put_operator, disable_operator, unmask)
