"""Templates: texts by locale with named parameters."""

from typing import Any

from litestar import delete, get, post, put

from dispatcher.api.access import HttpRequest, backend_of
from dispatcher.api.answers import Answer, answer, core_of, no_content, path_id
from dispatcher.api.bodies import decode, read_query
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.core import Core
from dispatcher.api.preconditions import condition_of, tagged
from dispatcher.api.schemas.shared import NoParams
from dispatcher.api.schemas.templates import (
    DraftPreviewIn,
    PreviewIn,
    PreviewOut,
    SmsPreview,
    TemplateIn,
    TemplateOut,
    TemplatesOut,
    template_out,
    template_row,
    to_template,
)
from dispatcher.domain.requests import MAX_CONTENT_BYTES, content_bytes
from dispatcher.domain.template import Template, choose
from dispatcher.errors import Problem
from dispatcher.pipeline.templating import read_params, render_one, shown

_STRATEGIES = scopes(Scope.STRATEGIES)


async def _default_locale(core: Core, app: str) -> str | None:
    owner = await core.apps.app(app)
    locale = owner.settings.get("default_locale") if owner is not None else None
    return locale if isinstance(locale, str) else None


@get(
    "/v1/templates",
    opt=Contract(
        summary="Templates of the app",
        tag="Templates",
        scopes=_STRATEGIES,
        query=NoParams,
        answers={200: TemplatesOut},
    ).opt(),
)
async def list_templates(request: HttpRequest) -> Answer:
    """With their locales and parameters."""
    read_query(request.scope["query_string"], NoParams)
    found = await core_of(request).templates.all(backend_of(request).app)
    return answer(TemplatesOut([template_row(template) for template in found]))


@put(
    "/v1/templates/{name:str}",
    opt=Contract(
        summary="Create or change a template",
        tag="Templates",
        scopes=_STRATEGIES,
        body=TemplateIn,
        query=NoParams,
        answers={201: TemplateOut, 200: TemplateOut},
        conditional=True,
    ).opt(),
)
async def put_template(request: HttpRequest) -> Answer:
    """201 new, 200 changed. With If-Match, 412 where somebody changed it since. What was accepted stays as it was."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    name = path_id(request, "name")
    wanted = to_template(name, decode(await request.body(), TemplateIn), backend.name, core.clock())
    template, new = await core.templates.put(backend.app, wanted, condition_of(request))
    return tagged(template_out(template), template.etag, 201 if new else 200)


@get(
    "/v1/templates/{name:str}",
    opt=Contract(
        summary="One template",
        tag="Templates",
        scopes=_STRATEGIES,
        query=NoParams,
        answers={200: TemplateOut},
        problems=(404,),
        tagged=True,
    ).opt(),
)
async def get_template(request: HttpRequest) -> Answer:
    """With its ETag."""
    read_query(request.scope["query_string"], NoParams)
    template = await _find(request)
    return tagged(template_out(template), template.etag)


@delete(
    "/v1/templates/{name:str}",
    status_code=200,  # the answer says 204 itself; Litestar refuses that for a handler that returns one
    opt=Contract(
        summary="Remove a template",
        tag="Templates",
        scopes=_STRATEGIES,
        query=NoParams,
        answers={204: None},
        problems=(404,),
    ).opt(),
)
async def delete_template(request: HttpRequest) -> Answer:
    """What was accepted with it goes out all the same."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    if not await core.templates.delete(backend.app, path_id(request, "name"), by=backend.name, now=core.clock()):
        raise Problem.not_found("template")
    return no_content()


@post(
    "/v1/templates/{name:str}/preview",
    status_code=200,
    opt=Contract(
        summary="See a template filled in",
        tag="Templates",
        scopes=_STRATEGIES,
        body=PreviewIn,
        query=NoParams,
        answers={200: PreviewOut},
        problems=(404,),
    ).opt(),
)
async def preview_template(request: HttpRequest) -> Answer:
    """As a recipient with this locale would get it; sends nothing."""
    read_query(request.scope["query_string"], NoParams)
    template = await _find(request)
    wanted = decode(await request.body(), PreviewIn)
    return answer(await _preview(request, template, wanted.params, wanted.locale))


@post(
    "/v1/template-preview",
    status_code=200,
    opt=Contract(
        summary="See a template filled in before it is stored",
        tag="Templates",
        scopes=_STRATEGIES,
        body=DraftPreviewIn,
        query=NoParams,
        answers={200: PreviewOut},
    ).opt(),
)
async def preview_draft(request: HttpRequest) -> Answer:
    """Checked as if it were put; nothing is stored."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = decode(await request.body(), DraftPreviewIn)
    template = to_template("preview", wanted, backend.name, core.clock())
    return answer(await _preview(request, template, wanted.params, wanted.locale))


async def _find(request: HttpRequest) -> Template:
    template = await core_of(request).templates.get(backend_of(request).app, path_id(request, "name"))
    if template is None:
        raise Problem.not_found("template")
    return template


async def _preview(request: HttpRequest, template: Template, params: dict[str, Any], locale: str | None) -> PreviewOut:
    core = core_of(request)
    app_locale = await _default_locale(core, backend_of(request).app)
    chosen = choose(template.texts, [locale, app_locale], template.default_locale)
    texts = render_one(template, chosen, read_params(params))
    notification = shown(None, texts)
    size = content_bytes(notification, None)
    if size > MAX_CONTENT_BYTES:
        raise Problem.invalid("params", f"the notification is {size} bytes, at most {MAX_CONTENT_BYTES} go")
    sms = SmsPreview(texts.sms, core.measure_sms(texts.sms)) if texts.sms is not None else None
    return PreviewOut(locale=chosen, notification=notification, sms=sms, bytes=size)


ROUTES = (
    list_templates,
    preview_draft,
    put_template,
    get_template,
    delete_template,
    preview_template,
)
