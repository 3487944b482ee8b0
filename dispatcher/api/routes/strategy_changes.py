"""Strategies: roll back, delete, try on facts or on recorded traffic."""

from typing import Any

import msgspec
from litestar import delete, post

from dispatcher.api.access import HttpRequest, backend_of
from dispatcher.api.answers import Answer, answer, core_of, no_content, path_id
from dispatcher.api.bodies import decode, read_query
from dispatcher.api.checks import check_window, read_time
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.schemas.shared import NoParams
from dispatcher.api.schemas.strategies import RollbackIn, RollbackOut, SimulateIn
from dispatcher.errors import Problem

_STRATEGIES = scopes(Scope.STRATEGIES)


@post(
    "/v1/strategies/{name:str}/rollback",
    status_code=200,
    opt=Contract(
        summary="Make an earlier version live again",
        tag="Strategies",
        scopes=_STRATEGIES,
        body=RollbackIn,
        query=NoParams,
        answers={200: RollbackOut},
        problems=(404,),
    ).opt(),
)
async def rollback(request: HttpRequest) -> Answer:
    """For all users at once, as a new version with the earlier one's document; a version on trial ends with it."""
    core, backend, name = core_of(request), backend_of(request), path_id(request, "name")
    read_query(request.scope["query_string"], NoParams)
    wanted = decode(await request.body(), RollbackIn).version
    try:
        live = await core.rollback_strategy(backend.app, name, wanted, backend.name, core.clock())
    except KeyError:
        raise Problem.not_found("version") from None
    return answer(RollbackOut(name=name, version=live.version or 0, percent=live.percent, of=wanted))


@delete(
    "/v1/strategies/{name:str}",
    status_code=200,  # the answer says 204 itself; Litestar refuses that for a handler that returns one
    opt=Contract(
        summary="Take a strategy out of use",
        tag="Strategies",
        scopes=_STRATEGIES,
        query=NoParams,
        answers={204: None},
        problems=(404,),
    ).opt(),
)
async def remove(request: HttpRequest) -> Answer:
    """Its classes fall to ``default``; deliveries under way keep their ladder, versions stay readable."""
    core, backend, name = core_of(request), backend_of(request), path_id(request, "name")
    read_query(request.scope["query_string"], NoParams)
    try:
        gone = await core.strategies.delete(backend.app, name, by=backend.name, now=core.clock())
    except ValueError:
        raise Problem.invalid(
            "name", "default owns what no other strategy does, so it stays: publish another"
        ) from None
    if not gone:
        raise Problem.not_found("strategy")
    return no_content()


@post(
    "/v1/strategies/simulate",
    status_code=200,
    opt=Contract(
        summary="Try a document",
        tag="Strategies",
        scopes=_STRATEGIES,
        safe=True,
        body=SimulateIn,
        query=NoParams,
        answers={200: dict[str, Any]},
        problems=(413,),
    ).opt(),
)
async def simulate(request: HttpRequest) -> Answer:
    """With ``facts``: rule, ladder and explanation. With ``since``: old against new over the window's traffic."""
    core, app = core_of(request), backend_of(request).app
    read_query(request.scope["query_string"], NoParams)
    wanted = decode(await request.body(), SimulateIn)
    document = wanted.strategy if isinstance(wanted.strategy, str) else _as_text(wanted.strategy)
    if wanted.facts is not None:
        if wanted.since is not None or wanted.until is not None:
            raise Problem.invalid("facts", "give facts or a window (since, until), not both")
        return answer(await core.simulate_facts(app, document, wanted.facts))
    if wanted.since is None:
        raise Problem.invalid("since", "give facts, or a window that begins with since")
    since = read_time("since", wanted.since)
    until = read_time("until", wanted.until) if wanted.until is not None else core.clock() + 1
    check_window(since, until)
    result = await core.simulate_recorded(
        app, document, since, until, sample=wanted.sample, segment_price=wanted.segment_price
    )
    return answer(result)


def _as_text(document: dict[str, Any]) -> str:
    """Lines that faults can point at."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


ROUTES = (rollback, remove, simulate)
