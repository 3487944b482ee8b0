"""Strategies: read, draft, validate, publish; the fact catalogue; who changed what."""

from typing import Any

import msgspec
from litestar import get, post, put

from dispatcher.api.access import HttpRequest, backend_of
from dispatcher.api.answers import Answer, answer, core_of, path_id, raw_answer
from dispatcher.api.bodies import decode, read_query
from dispatcher.api.checks import check_window, read_time
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.core import Core, DocumentCheck
from dispatcher.api.routes import learning, simulation, strategy_changes
from dispatcher.api.schemas.shared import NoParams
from dispatcher.api.schemas.strategies import (
    AuditOut,
    AuditPage,
    AuditParams,
    DraftOut,
    PublishIn,
    PublishOut,
    StrategiesOut,
    StrategyOut,
    ValidationOut,
    VersionOut,
    VersionsOut,
    VersionsParams,
)
from dispatcher.domain.clock import DAY, SECOND, rfc3339
from dispatcher.errors import FieldError, Kind, Problem
from dispatcher.ports.directory import MissingPrecondition, NoDraft, StaleDraft, StrategyVersion

YAML = "application/yaml"
_STRATEGIES = scopes(Scope.STRATEGIES)
_DOCUMENT = (YAML, "application/json")


async def _document_text(request: HttpRequest) -> str:
    """The body as text; where it says it is JSON, it must be (400)."""
    body = await request.body()
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        decode(body, dict)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Problem.malformed("the document is not UTF-8") from None
    if "\0" in text:
        raise Problem.malformed("the document contains a NUL character")
    if not text.strip():
        raise Problem.malformed("the document is empty")
    return text


def _refuse(check: DocumentCheck, name: str) -> None:
    """422 for an invalid document, or one of another name than the address."""
    errors = [FieldError(f"{fault.line}:{fault.column}", fault.message) for fault in check.errors]
    if not errors and check.name != name:
        errors = [FieldError("strategy", f"the document is named {check.name}, the address says {name}")]
    if errors:
        raise Problem.invalid_fields(errors)


async def _shown(request: HttpRequest, core: Core, app: str, version: StrategyVersion | None) -> Answer:
    """The document itself, so that it can be sent back: JSON, or for ``Accept: application/yaml`` as it was written."""
    if version is None:
        raise Problem.not_found("strategy")
    headers = {"ETag": f'"{version.etag}"', "Vary": "Accept"}
    if version.version is not None:
        headers["Pushpath-Version"] = str(version.version)
    if "yaml" not in request.headers.get("accept", ""):
        document = (await core.validate_strategy(app, version.document)).document
        if document is not None:  # None: stored under rules that have been tightened since
            return answer(document, headers=headers)
    return raw_answer(version.document.encode(), media=YAML, headers=headers)


async def _published(core: Core, app: str, name: str) -> StrategyVersion | None:
    """The version that is live for everyone; a partial one only where there is no other."""
    found = [version for version in await core.strategies.published(app) if version.name == name]
    return next((version for version in found if version.state == "live"), found[0] if found else None)


@get(
    "/v1/strategies",
    opt=Contract(
        summary="Live strategies",
        tag="Strategies",
        scopes=_STRATEGIES,
        query=NoParams,
        answers={200: StrategiesOut},
    ).opt(),
)
async def strategies(request: HttpRequest) -> Answer:
    """All names with a live version."""
    core, app = core_of(request), backend_of(request).app
    read_query(request.scope["query_string"], NoParams)
    live = await core.strategies.published(app)
    drafts = {name for name in {version.name for version in live} if await core.strategies.draft(app, name) is not None}
    return answer(
        StrategiesOut(
            [
                StrategyOut(
                    name=version.name,
                    version=version.version,
                    percent=version.percent,
                    state=version.state,
                    published_at=rfc3339(version.published_at) if version.published_at is not None else None,
                    by=version.by,
                    etag=version.etag,
                    draft=version.name in drafts,
                )
                for version in live
            ]
        )
    )


def _reading(summary: str) -> Contract:
    return Contract(
        summary=summary,
        tag="Strategies",
        scopes=_STRATEGIES,
        query=NoParams,
        answers={200: dict[str, Any]},
        problems=(404,),
    )


@get("/v1/strategies/{name:str}", opt=_reading("The published document, with its ETag").opt())
async def published(request: HttpRequest) -> Answer:
    """As JSON, or as it was written for ``Accept: application/yaml``."""
    core, app = core_of(request), backend_of(request).app
    read_query(request.scope["query_string"], NoParams)
    return await _shown(request, core, app, await _published(core, app, path_id(request, "name")))


@get("/v1/strategies/{name:str}/draft", opt=_reading("The draft, with its ETag").opt())
async def draft(request: HttpRequest) -> Answer:
    """404 where nothing is drafted."""
    core, app = core_of(request), backend_of(request).app
    read_query(request.scope["query_string"], NoParams)
    return await _shown(request, core, app, await core.strategies.draft(app, path_id(request, "name")))


async def _if_match(request: HttpRequest, core: Core, app: str, name: str) -> str | None:
    """The one ETag to hold against the store's; of a list the one that is current, ``*`` for whatever is."""
    header = request.headers.get("if-match")
    if header is None:
        return None
    wanted = [part.strip() for part in header.split(",")]
    current = await core.strategies.draft(app, name) or await _published(core, app, name)
    if wanted == ["*"]:
        if current is None:
            raise Problem(Kind.STALE, "there is nothing to match")
        return current.etag
    if current is not None and f'"{current.etag}"' in wanted:
        return current.etag
    return wanted[0].strip('"')


@put(
    "/v1/strategies/{name:str}/draft",
    opt=Contract(
        summary="Store a draft",
        tag="Strategies",
        scopes=_STRATEGIES,
        body=dict[str, Any],
        media=_DOCUMENT,
        query=NoParams,
        answers={200: DraftOut},
        problems=(412, 413, 428),
    ).opt(),
)
async def put_draft(request: HttpRequest) -> Answer:
    """Validated first. On an existing name ``If-Match`` with the draft's ETag, or the published one's, is required."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = path_id(request, "name")
    text = await _document_text(request)
    _refuse(await core.validate_strategy(backend.app, text), wanted)
    if_match = await _if_match(request, core, backend.app, wanted)
    try:
        stored = await core.strategies.put_draft(
            backend.app, wanted, text, if_match=if_match, by=backend.name, now=core.clock()
        )
    except MissingPrecondition:
        raise Problem(Kind.PRECONDITION_REQUIRED, "send If-Match with the ETag that you read") from None
    except StaleDraft:
        raise Problem(Kind.STALE, "somebody changed it meanwhile: read it again") from None
    return answer(DraftOut(name=wanted, state=stored.state, etag=stored.etag), headers={"ETag": f'"{stored.etag}"'})


@post(
    "/v1/strategies/validate",
    status_code=200,
    opt=Contract(
        summary="Check a document",
        tag="Strategies",
        scopes=_STRATEGIES,
        safe=True,
        body=dict[str, Any],
        media=_DOCUMENT,
        query=NoParams,
        answers={200: ValidationOut},
        problems=(413,),
    ).opt(),
)
async def validate(request: HttpRequest) -> Answer:
    """Stores nothing; says every fault with line, column and what to write instead."""
    core, app = core_of(request), backend_of(request).app
    read_query(request.scope["query_string"], NoParams)
    check = await core.validate_strategy(app, await _document_text(request))
    return answer(ValidationOut(check.valid, list(check.errors)))


@post(
    "/v1/strategies/{name:str}/publish",
    status_code=200,
    opt=Contract(
        summary="Make the draft live",
        tag="Strategies",
        scopes=_STRATEGIES,
        body=PublishIn,
        body_required=False,
        query=NoParams,
        answers={200: PublishOut},
        problems=(404, 409),
    ).opt(),
)
async def publish(request: HttpRequest) -> Answer:
    """The draft becomes the next version and is gone then."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = path_id(request, "name")
    body = await request.body()
    percent = (decode(body, PublishIn) if body else PublishIn()).percent
    try:
        live = await core.publish_strategy(backend.app, wanted, percent, backend.name, core.clock())
    except NoDraft:
        if await _published(core, backend.app, wanted) is None:
            raise Problem.not_found("strategy") from None
        raise Problem.conflict("there is no draft to publish") from None
    return answer(PublishOut(name=wanted, version=live.version or 0, percent=live.percent))


@get(
    "/v1/strategies/{name:str}/versions",
    opt=Contract(
        summary="Published versions",
        tag="Strategies",
        scopes=_STRATEGIES,
        query=VersionsParams,
        answers={200: VersionsOut},
        problems=(404,),
    ).opt(),
)
async def versions(request: HttpRequest) -> Answer:
    """Newest first, each with what it came to: deliveries, states, paths, SMS and time to proof side by side."""
    core, app, name = core_of(request), backend_of(request).app, path_id(request, "name")
    params = read_query(request.scope["query_string"], VersionsParams)
    until = read_time("until", params.until) if params.until is not None else core.clock() + SECOND
    since = read_time("since", params.since) if params.since is not None else until - DAY
    check_window(since, until)
    found = [version for version in await core.strategies.versions(app, name) if version.version]
    if not found:
        raise Problem.not_found("strategy")
    figures = await core.version_figures(app, name, since, until) if params.figures else {}
    found.sort(key=lambda version: -(version.version or 0))
    return answer(
        VersionsOut(
            [
                VersionOut(
                    version=version.version or 0,
                    published_at=rfc3339(version.published_at) if version.published_at is not None else None,
                    by=version.by,
                    percent=version.percent,
                    state=version.state,
                    figures=dict(figures[version.version or 0]) if version.version in figures else None,
                )
                for version in found
            ]
        )
    )


@get("/v1/strategies/{name:str}/versions/{number:str}", opt=_reading("One version's document").opt())
async def version(request: HttpRequest) -> Answer:
    """As JSON, or as it was written for ``Accept: application/yaml``."""
    core, app = core_of(request), backend_of(request).app
    read_query(request.scope["query_string"], NoParams)
    number = path_id(request, "number")
    if not (number.isascii() and number.isdigit() and 0 < len(number) <= 9):
        raise Problem.not_found("version")
    return await _shown(request, core, app, await core.strategies.version(app, path_id(request, "name"), int(number)))


@get("/v1/facts", opt=_reading("The catalogue of facts").opt())
async def facts(request: HttpRequest) -> Answer:
    """Everything a rule may look at: name, type, description, sample."""
    read_query(request.scope["query_string"], NoParams)
    return answer(msgspec.to_builtins(core_of(request).facts()))


@get(
    "/v1/audit",
    opt=Contract(
        summary="Who changed what",
        tag="Operations",
        scopes=scopes(Scope.STRATEGIES, Scope.ADMIN),
        query=AuditParams,
        answers={200: AuditPage},
    ).opt(),
)
async def audit(request: HttpRequest) -> Answer:
    """Newest first."""
    core, app = core_of(request), backend_of(request).app
    params = read_query(request.scope["query_string"], AuditParams)
    rows = await core.audit.entries(app, before=params.before, limit=params.limit)
    entries = [
        AuditOut(at=rfc3339(row.at), who=row.who, action=row.action, subject=row.subject, detail=dict(row.detail))
        for _, row in rows
    ]
    return answer(AuditPage(entries, str(rows[-1][0]) if len(rows) == params.limit else None))


ROUTES = (
    strategies,
    validate,
    published,
    draft,
    put_draft,
    publish,
    versions,
    version,
    facts,
    audit,
    *strategy_changes.ROUTES,
    *simulation.ROUTES,
    *learning.ROUTES,
)
