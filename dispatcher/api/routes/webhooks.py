"""Status webhooks: who is told what becomes of messages."""

from typing import Any

from litestar import delete, get, post

from dispatcher.api.access import Backend, HttpRequest, backend_of
from dispatcher.api.answers import Answer, answer, core_of, no_content, path_id, raw_answer
from dispatcher.api.bodies import decode, read_query
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.core import Core
from dispatcher.api.preconditions import condition_of, tagged
from dispatcher.api.routes.apps import note
from dispatcher.api.schemas.shared import NoParams
from dispatcher.api.schemas.webhooks import (
    EventsOut,
    ReplayedEventsOut,
    WebhookIn,
    WebhookOut,
    WebhookSecretOut,
    WebhooksOut,
    WhichWebhook,
    webhook_out,
    with_secret,
)
from dispatcher.domain.webhook import MAX_EVENTS, post_body
from dispatcher.errors import Problem
from dispatcher.ports.webhooks import Webhook

_PROBLEMS = (404,)


def _opt(summary: str, **more: Any) -> dict[str, Any]:
    """Scope ``admin``, and no query unless said otherwise."""
    return Contract(summary=summary, tag="Webhooks", scopes=scopes(Scope.ADMIN), **{"query": NoParams, **more}).opt()


async def _find(core: Core, app: str, webhook_id: str) -> Webhook:
    found = next((one for one in await core.webhooks.store.of_app(app) if one.webhook_id == webhook_id), None)
    if found is None:
        raise Problem.not_found("webhook")
    return found


@post(
    "/v1/webhooks",
    opt=_opt(
        "Register a status webhook",
        body=WebhookIn,
        answers={201: WebhookSecretOut, 200: WebhookSecretOut},
        conditional=True,
    ),
)
async def put_webhook(request: HttpRequest) -> Answer:
    """201 new, with its secret; a known url (200) gets the events, and goes on where it was paused."""
    core, backend, condition = core_of(request), backend_of(request), condition_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = decode(await request.body(), WebhookIn)
    events = list(dict.fromkeys(wanted.events))
    webhook, secret, new = await core.webhooks.register(
        backend.app, wanted.url, events, wanted.secret, core.clock(), condition
    )
    action = "webhook.create" if new else "webhook.update"
    named = [event.value for event in events]
    await note(core, backend, action, webhook.url, webhook_id=webhook.webhook_id, events=named)
    return tagged(with_secret(webhook, secret), webhook.etag, 201 if new else 200)


@get("/v1/webhooks", opt=_opt("Webhooks and how they fare", answers={200: WebhooksOut}))
async def list_webhooks(request: HttpRequest) -> Answer:
    """Failing and paused ones with the reason, and how many events wait."""
    read_query(request.scope["query_string"], NoParams)
    found = await core_of(request).webhooks.store.of_app(backend_of(request).app)
    return answer(WebhooksOut([webhook_out(webhook) for webhook in found]))


@get(
    "/v1/webhooks/{webhook_id:str}",
    opt=_opt("One webhook and how it fares", answers={200: WebhookOut}, problems=_PROBLEMS, tagged=True),
)
async def get_webhook(request: HttpRequest) -> Answer:
    """Without its secret."""
    read_query(request.scope["query_string"], NoParams)
    found = await _find(core_of(request), backend_of(request).app, path_id(request, "webhook_id"))
    return tagged(webhook_out(found), found.etag)


@get(
    "/v1/webhooks/{webhook_id:str}/waiting",
    opt=_opt("What waits for a webhook", answers={200: EventsOut}, problems=_PROBLEMS),
)
async def waiting_events(request: HttpRequest) -> Answer:
    """The oldest events, about a hundred, as the receiver will get them."""
    core, app = core_of(request), backend_of(request).app
    read_query(request.scope["query_string"], NoParams)
    found = await _find(core, app, path_id(request, "webhook_id"))
    return raw_answer(post_body(await core.webhooks.store.waiting(app, found.webhook_id, MAX_EVENTS)))


@post(
    "/v1/webhooks/{webhook_id:str}/pause",
    status_code=200,
    opt=_opt("Pause a webhook", answers={200: WebhookOut}, problems=_PROBLEMS),
)
async def pause_webhook(request: HttpRequest) -> Answer:
    """What waits is kept; what happens while it is paused is not told."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = path_id(request, "webhook_id")
    paused = await core.webhooks.store.pause(backend.app, wanted, f"by {backend.name}", core.clock())
    return answer(webhook_out(await _noted(core, backend, "webhook.pause", paused)))


@post(
    "/v1/webhooks/{webhook_id:str}/resume",
    status_code=200,
    opt=_opt("Resume a webhook", answers={200: WebhookOut}, problems=_PROBLEMS),
)
async def resume_webhook(request: HttpRequest) -> Answer:
    """What waits goes out at once, oldest first."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    resumed = await core.webhooks.store.resume(backend.app, path_id(request, "webhook_id"), core.clock())
    return answer(webhook_out(await _noted(core, backend, "webhook.resume", resumed)))


@post(
    "/v1/webhooks/{webhook_id:str}/replay",
    status_code=202,
    opt=_opt("Send what waits again, now", answers={202: ReplayedEventsOut}, problems=_PROBLEMS),
)
async def replay_waiting(request: HttpRequest) -> Answer:
    """Of a webhook that was given up or waits for its next try; the same as replaying its dead letter."""
    read_query(request.scope["query_string"], NoParams)
    return answer(await replay_webhook(core_of(request), backend_of(request), path_id(request, "webhook_id")), 202)


async def replay_webhook(core: Core, backend: Backend, webhook_id: str) -> ReplayedEventsOut:
    """What waits goes out at once, oldest first. Problem 404."""
    resumed = await core.webhooks.store.resume(backend.app, webhook_id, core.clock())
    webhook = await _noted(core, backend, "webhook.replay", resumed)
    return ReplayedEventsOut(id=webhook.webhook_id, events=webhook.waiting)


async def _noted(core: Core, backend: Backend, action: str, webhook: Webhook | None) -> Webhook:
    """Into the audit; Problem 404 where there was none."""
    if webhook is None:
        raise Problem.not_found("webhook")
    await note(core, backend, action, webhook.url, webhook_id=webhook.webhook_id)
    return webhook


@delete(
    "/v1/webhooks/{webhook_id:str}",
    status_code=200,  # the answer says 204 itself; Litestar refuses that for a handler that returns one
    opt=_opt("Remove a webhook", answers={204: None}, problems=_PROBLEMS),
)
async def delete_webhook(request: HttpRequest) -> Answer:
    """With all that waits for it."""
    read_query(request.scope["query_string"], NoParams)
    return await _remove(request, WhichWebhook(webhook_id=path_id(request, "webhook_id")))


@delete(
    "/v1/webhooks",
    status_code=200,
    opt=_opt("Remove a webhook by its url", query=WhichWebhook, answers={204: None}, problems=_PROBLEMS),
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
    await note(core, backend, "webhook.delete", which.url or which.webhook_id or "")
    return no_content()


ROUTES = (
    put_webhook,
    list_webhooks,
    get_webhook,
    waiting_events,
    pause_webhook,
    resume_webhook,
    replay_waiting,
    delete_webhook,
    delete_webhook_by_url,
)
