"""Status webhooks: who is told what becomes of messages."""

from litestar import delete, get, post

from dispatcher.api.access import HttpRequest, backend_of
from dispatcher.api.answers import Answer, answer, core_of, no_content, path_id
from dispatcher.api.bodies import decode, read_query
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.core import Core
from dispatcher.api.schemas.shared import NoParams
from dispatcher.api.schemas.webhooks import (
    WebhookIn,
    WebhookOut,
    WebhookSecretOut,
    WebhooksOut,
    WhichWebhook,
    webhook_out,
    with_secret,
)
from dispatcher.errors import Problem
from dispatcher.ports.directory import AuditEntry
from dispatcher.ports.webhooks import Webhook

_ADMIN = scopes(Scope.ADMIN)


async def _note(request: HttpRequest, action: str, subject: str, detail: dict[str, object]) -> None:
    core, backend = core_of(request), backend_of(request)
    entry = AuditEntry(at=core.clock(), who=backend.name, action=action, subject=subject, detail=detail)
    await core.audit.record(backend.app, entry)


async def _find(core: Core, app: str, webhook_id: str) -> Webhook:
    found = next((one for one in await core.webhooks.store.of_app(app) if one.webhook_id == webhook_id), None)
    if found is None:
        raise Problem.not_found("webhook")
    return found


@post(
    "/v1/webhooks",
    opt=Contract(
        summary="Register a status webhook",
        tag="Webhooks",
        scopes=_ADMIN,
        body=WebhookIn,
        query=NoParams,
        answers={201: WebhookSecretOut, 200: WebhookSecretOut},
    ).opt(),
)
async def put_webhook(request: HttpRequest) -> Answer:
    """201 new, with its secret; a known url (200) gets the events, and goes on where it was paused."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = decode(await request.body(), WebhookIn)
    events = list(dict.fromkeys(wanted.events))
    webhook, secret, new = await core.webhooks.register(backend.app, wanted.url, events, wanted.secret, core.clock())
    detail: dict[str, object] = {"webhook_id": webhook.webhook_id, "events": [event.value for event in events]}
    await _note(request, "webhook.create" if new else "webhook.update", webhook.url, detail)
    return answer(with_secret(webhook, secret), 201 if new else 200)


@get(
    "/v1/webhooks",
    opt=Contract(
        summary="Webhooks and how they fare",
        tag="Webhooks",
        scopes=_ADMIN,
        query=NoParams,
        answers={200: WebhooksOut},
    ).opt(),
)
async def list_webhooks(request: HttpRequest) -> Answer:
    """Failing and paused ones with the reason, and how many events wait."""
    read_query(request.scope["query_string"], NoParams)
    found = await core_of(request).webhooks.store.of_app(backend_of(request).app)
    return answer(WebhooksOut([webhook_out(webhook) for webhook in found]))


@get(
    "/v1/webhooks/{webhook_id:str}",
    opt=Contract(
        summary="One webhook and how it fares",
        tag="Webhooks",
        scopes=_ADMIN,
        query=NoParams,
        answers={200: WebhookOut},
        problems=(404,),
    ).opt(),
)
async def get_webhook(request: HttpRequest) -> Answer:
    """Without its secret."""
    read_query(request.scope["query_string"], NoParams)
    found = await _find(core_of(request), backend_of(request).app, path_id(request, "webhook_id"))
    return answer(webhook_out(found))


@post(
    "/v1/webhooks/{webhook_id:str}/pause",
    status_code=200,
    opt=Contract(
        summary="Pause a webhook",
        tag="Webhooks",
        scopes=_ADMIN,
        query=NoParams,
        answers={200: WebhookOut},
        problems=(404,),
    ).opt(),
)
async def pause_webhook(request: HttpRequest) -> Answer:
    """What waits is kept; what happens while it is paused is not told."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = path_id(request, "webhook_id")
    paused = await core.webhooks.store.pause(backend.app, wanted, f"by {backend.name}", core.clock())
    if paused is None:
        raise Problem.not_found("webhook")
    await _note(request, "webhook.pause", paused.url, {"webhook_id": wanted})
    return answer(webhook_out(paused))


@post(
    "/v1/webhooks/{webhook_id:str}/resume",
    status_code=200,
    opt=Contract(
        summary="Resume a webhook",
        tag="Webhooks",
        scopes=_ADMIN,
        query=NoParams,
        answers={200: WebhookOut},
        problems=(404,),
    ).opt(),
)
async def resume_webhook(request: HttpRequest) -> Answer:
    """What waits goes out at once, oldest first."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = path_id(request, "webhook_id")
    resumed = await core.webhooks.store.resume(backend.app, wanted, core.clock())
    if resumed is None:
        raise Problem.not_found("webhook")
    await _note(request, "webhook.resume", resumed.url, {"webhook_id": wanted})
    return answer(webhook_out(resumed))


@delete(
    "/v1/webhooks/{webhook_id:str}",
    status_code=200,  # the answer says 204 itself; Litestar refuses that for a handler that returns one
    opt=Contract(
        summary="Remove a webhook",
        tag="Webhooks",
        scopes=_ADMIN,
        query=NoParams,
        answers={204: None},
        problems=(404,),
    ).opt(),
)
async def delete_webhook(request: HttpRequest) -> Answer:
    """With all that waits for it."""
    read_query(request.scope["query_string"], NoParams)
    return await _remove(request, WhichWebhook(webhook_id=path_id(request, "webhook_id")))


@delete(
    "/v1/webhooks",
    status_code=200,
    opt=Contract(
        summary="Remove a webhook by its url",
        tag="Webhooks",
        scopes=_ADMIN,
        query=WhichWebhook,
        answers={204: None},
        problems=(404,),
    ).opt(),
)
async def delete_webhook_by_url(request: HttpRequest) -> Answer:
    """``url`` or ``webhook_id``, in the query or as a JSON body."""
    wanted = read_query(request.scope["query_string"], WhichWebhook)
    body = await request.body()
    if body:
        wanted = decode(body, WhichWebhook)
    if (wanted.url is None) == (wanted.webhook_id is None):
        raise Problem.invalid("url", "name url or webhook_id")
    return await _remove(request, wanted)


async def _remove(request: HttpRequest, which: WhichWebhook) -> Answer:
    core, backend = core_of(request), backend_of(request)
    if not await core.webhooks.store.remove(backend.app, webhook_id=which.webhook_id, url=which.url):
        raise Problem.not_found("webhook")
    await _note(request, "webhook.delete", which.url or which.webhook_id or "", {})
    return no_content()


ROUTES = (
    put_webhook,
    list_webhooks,
    get_webhook,
    pause_webhook,
    resume_webhook,
    delete_webhook,
    delete_webhook_by_url,
)
