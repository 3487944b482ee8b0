"""Dispatch: messages one by one and in batches, what became of them, recall."""

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import get, post
from msgspec import Struct
from msgspec.structs import replace

from dispatcher.api.access import HttpRequest, backend_of, door_of
from dispatcher.api.answers import Answer, answer, core_of, path_id
from dispatcher.api.bodies import decode, read_query
from dispatcher.api.checks import Id
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.core import Core
from dispatcher.api.operations import AppDoor
from dispatcher.api.schemas.messages import (
    AcceptedOut,
    BatchIn,
    BatchInSchema,
    BatchOut,
    BatchResult,
    DryRunOut,
    MessageIn,
    Named,
    RecalledOut,
    accepted_out,
    recalled_out,
    to_dispatch,
)
from dispatcher.api.schemas.shared import NoParams
from dispatcher.domain.clock import Millis
from dispatcher.domain.ids import is_id
from dispatcher.domain.requests import MAX_BATCH_RECIPIENTS, Accepted, DispatchRequest
from dispatcher.errors import Problem

MAX_BATCH_BYTES = 8 * 1024 * 1024
_SEND = scopes(Scope.SEND)
_SEE = scopes(Scope.SEND, Scope.READ)


class TimelineParams(Struct, forbid_unknown_fields=True, kw_only=True):
    """``user_id`` may be left out where there is one recipient."""

    user_id: Id | None = None


@post(
    "/v1/messages",
    opt=Contract(
        summary="Dispatch one message",
        tag="Dispatch",
        scopes=_SEND,
        body=MessageIn,
        query=NoParams,
        answers={202: AcceptedOut, 200: (AcceptedOut, DryRunOut)},
        problems=(409, 413),
    ).opt(),
)
async def dispatch(request: HttpRequest) -> Answer:
    """202 the first time, 200 for a repeat (and for a dry run), 409 for other content under the same id."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    now = core.clock()
    wanted = _allowed(to_dispatch(decode(await request.body(), MessageIn), now), door_of(request))
    wanted = _traced(wanted, request)
    if wanted.dry_run:
        return answer(await core.dry_run(backend.app, wanted))
    (result,) = await core.accept(backend.app, [wanted], now)
    if isinstance(result, Problem):
        raise result
    return answer(accepted_out(result), 200 if result.duplicate else 202)


@post(
    "/v1/messages/batch",
    request_max_body_size=MAX_BATCH_BYTES,
    opt=Contract(
        summary="Dispatch up to 1,000 messages",
        tag="Dispatch",
        scopes=_SEND,
        body=BatchInSchema,
        query=NoParams,
        answers={200: BatchOut},
        problems=(413,),
    ).opt(),
)
async def dispatch_batch(request: HttpRequest) -> Answer:
    """Results in order, each message on its own."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    now = core.clock()
    raws = decode(await request.body(), BatchIn, parts=True).messages
    door = door_of(request)
    read = [_read(bytes(raw), now, door, request) for raw in raws]
    recipients = sum(item.recipients for item in read if isinstance(item, DispatchRequest))
    if recipients > MAX_BATCH_RECIPIENTS:
        raise Problem.invalid("messages", f"at most {MAX_BATCH_RECIPIENTS} recipients a batch, these are {recipients}")
    accepted = await _accept(core, backend.app, read, now)
    results = [_result(bytes(raw), outcome) for raw, outcome in zip(raws, accepted, strict=True)]
    return answer(BatchOut(results))


Outcome = Accepted | Problem | dict[str, Any]


def _allowed(wanted: DispatchRequest, door: AppDoor) -> DispatchRequest:
    """422 for a class that is none of the app's."""
    if door.classes is not None and wanted.klass not in door.classes:
        raise Problem.invalid("class", f"this app dispatches {', '.join(sorted(door.classes))} only")
    return wanted


def _traced(wanted: DispatchRequest, request: HttpRequest) -> DispatchRequest:
    """The same, under the request's span where it has one."""
    trace: bytes | None = getattr(request.state, "trace", None)
    return wanted if trace is None else replace(wanted, trace=trace)


def _read(raw: bytes, now: Millis, door: AppDoor, request: HttpRequest) -> DispatchRequest | Problem:
    try:
        return _traced(_allowed(to_dispatch(decode(raw, MessageIn), now), door), request)
    except Problem as problem:
        return problem


async def _accept(core: Core, app: str, read: Sequence[DispatchRequest | Problem], now: Millis) -> list[Outcome]:
    """One call for all that are to be accepted; what could not be read stands for itself."""
    wanted = [item for item in read if isinstance(item, DispatchRequest) and not item.dry_run]
    accepted = iter(await core.accept(app, wanted, now) if wanted else ())
    outcomes: list[Outcome] = []
    for item in read:
        if isinstance(item, Problem):
            outcomes.append(item)
        elif item.dry_run:
            outcomes.append(await _try(core, app, item))
        else:
            outcomes.append(next(accepted))
    return outcomes


async def _try(core: Core, app: str, request: DispatchRequest) -> Outcome:
    try:
        return {**await core.dry_run(app, request), "message_id": request.message_id}
    except Problem as problem:
        return problem


def _result(raw: bytes, outcome: Outcome) -> BatchResult:
    if isinstance(outcome, Problem):
        return BatchResult(message_id=_name_of(raw), status=outcome.status, error=outcome.body)
    if isinstance(outcome, dict):
        return BatchResult(message_id=outcome["message_id"], status=200, recipients=outcome["recipients"])
    out = accepted_out(outcome)
    return BatchResult(
        message_id=out.message_id,
        status=200 if out.duplicate else 202,
        accepted_at=out.accepted_at,
        recipients=out.recipients,
        duplicate=out.duplicate,
    )


def _name_of(raw: bytes) -> str | None:
    try:
        name = msgspec.json.decode(raw, type=Named).message_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return name if isinstance(name, str) and is_id(name) else None


@get(
    "/v1/messages/{message_id:str}",
    opt=Contract(
        summary="What became of a message",
        tag="Dispatch",
        scopes=_SEE,
        query=NoParams,
        answers={200: dict[str, Any]},
        problems=(404,),
    ).opt(),
)
async def message_state(request: HttpRequest) -> Answer:
    """State of the message and of each delivery, with proof and tracks."""
    read_query(request.scope["query_string"], NoParams)
    state = await core_of(request).message_state(backend_of(request).app, path_id(request, "message_id"))
    if state is None:
        raise Problem.not_found("message")
    return answer(state)


@get(
    "/v1/messages/{message_id:str}/timeline",
    opt=Contract(
        summary="What happened to one delivery, in order, and why",
        tag="Dispatch",
        scopes=_SEE,
        query=TimelineParams,
        answers={200: dict[str, Any]},
        problems=(404,),
    ).opt(),
)
async def timeline(request: HttpRequest) -> Answer:
    """Events from accepted to settled; ``planned`` carries the explanation."""
    params = read_query(request.scope["query_string"], TimelineParams)
    app = backend_of(request).app
    events = await core_of(request).timeline(app, path_id(request, "message_id"), params.user_id)
    if events is None:
        raise Problem.not_found("message for this user" if params.user_id else "message")
    return answer(events)


@post(
    "/v1/messages/{message_id:str}/recall",
    opt=Contract(
        summary="Take a message back",
        tag="Dispatch",
        scopes=_SEND,
        query=NoParams,
        answers={202: RecalledOut},
        problems=(404,),
    ).opt(),
)
async def recall(request: HttpRequest) -> Answer:
    """Pending steps die, the inbox entry goes, shown notifications get a clearing push where the path allows."""
    read_query(request.scope["query_string"], NoParams)
    wanted = path_id(request, "message_id")
    recalled = await core_of(request).recall(backend_of(request).app, wanted)
    if recalled is None:
        raise Problem.not_found("message")
    return answer(recalled_out(recalled), 202)


ROUTES = (dispatch, dispatch_batch, message_state, timeline, recall)
