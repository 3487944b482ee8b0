"""Health, readiness, metrics, books, and the API's own description."""

from typing import Any

from litestar import get

from dispatcher.api.access import HttpRequest, backend_of
from dispatcher.api.answers import Answer, answer, core_of, raw_answer
from dispatcher.api.bodies import read_query
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.schemas.shared import NoParams
from dispatcher.api.schemas.strategies import ReadyOut
from dispatcher.errors import Kind, Problem
from dispatcher.telemetry import CONTENT_TYPE


@get(
    "/healthz",
    opt=Contract(
        summary="Whether this process is alive",
        tag="Operations",
        limited=False,
        answers={200: dict[str, str]},
    ).opt(),
)
async def alive(request: HttpRequest) -> Answer:
    """Asks no store."""
    return answer({"status": "alive"})


@get(
    "/readyz",
    opt=Contract(
        summary="Whether this process can do its work",
        tag="Operations",
        limited=False,
        answers={200: ReadyOut},
        problems=(503,),
    ).opt(),
)
async def ready(request: HttpRequest) -> Answer:
    """Hot store, ledger and broker; 503 while one is away, or while this process stops."""
    core = core_of(request)
    checks = await core.readiness()
    faults = [f"{part}: {fault}" for part, fault in checks.items() if fault is not None]
    if core.draining.is_set():
        faults.append("this process is stopping")
    if faults:
        raise Problem(Kind.NOT_READY, "; ".join(faults), retry_after=1_000)
    return answer(ReadyOut("ready", dict.fromkeys(checks, "ok")))


@get(
    "/metrics",
    opt=Contract(
        summary="Prometheus metrics of this machine",
        tag="Operations",
        scopes=scopes(Scope.READ),
        limited=False,
        answers={200: "text/plain"},
    ).opt(),
)
async def metrics(request: HttpRequest) -> Answer:
    """Text exposition; all processes that share the metrics directory."""
    return raw_answer(core_of(request).metrics.render(), media=CONTENT_TYPE)


@get(
    "/v1/books",
    opt=Contract(
        summary="Accepted = settled + open, by class",
        tag="Operations",
        scopes=scopes(Scope.READ),
        query=NoParams,
        answers={200: dict[str, Any]},
    ).opt(),
)
async def books(request: HttpRequest) -> Answer:
    """At one cut in time, computed independently from the two stores."""
    read_query(request.scope["query_string"], NoParams)
    return answer(await core_of(request).books(backend_of(request).app))


@get(
    "/openapi.json",
    opt=Contract(summary="This description", tag="Operations", answers={200: dict[str, Any]}).opt(),
)
async def openapi(request: HttpRequest) -> Answer:
    """OpenAPI 3.1."""
    return raw_answer(request.app.state.openapi)


@get("/docs", opt=Contract(summary="This description for eyes", tag="Operations", answers={200: "text/html"}).opt())
async def docs(request: HttpRequest) -> Answer:
    """One page without scripts; nothing is loaded from elsewhere."""
    policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return raw_answer(request.app.state.docs, media="text/html; charset=utf-8", headers=policy)


ROUTES = (alive, ready, metrics, books, openapi, docs)
