"""Strategies: roll back, delete."""

from litestar import delete, post

from dispatcher.api.access import HttpRequest, backend_of
from dispatcher.api.answers import Answer, answer, core_of, no_content, path_id
from dispatcher.api.bodies import decode, read_query
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.schemas.shared import NoParams
from dispatcher.api.schemas.strategies import RollbackIn, RollbackOut
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


ROUTES = (rollback, remove)
