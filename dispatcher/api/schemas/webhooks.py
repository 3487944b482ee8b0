"""Bodies of the webhook routes."""

from typing import Annotated

from msgspec import Meta, Struct

from dispatcher.api.checks import Id
from dispatcher.domain.clock import Millis, rfc3339
from dispatcher.domain.webhook import EventBody, StatusEvent
from dispatcher.ports.webhooks import Webhook

Url = Annotated[str, Meta(min_length=8, max_length=2_048, description="an https or http address that is public")]


class WebhookIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """An endpoint and what it wants to hear. ``secret``: ``whsec_`` and 24 to 64 bytes in base64; else one is made."""

    url: Url
    events: Annotated[list[StatusEvent], Meta(min_length=1, max_length=len(StatusEvent))]
    secret: Annotated[str, Meta(max_length=200)] | None = None


class WebhookOut(Struct, kw_only=True):
    """An endpoint as it stands. ``waiting`` and ``dropped`` count events; ``secret`` is shown once."""

    webhook_id: str
    url: str
    events: list[StatusEvent]
    state: str  #: active, failing or paused
    created_at: str
    tries: int
    failing_since: str | None
    next_try_at: str | None
    paused_at: str | None
    paused_reason: str | None
    last_success_at: str | None
    last_error: str | None
    waiting: int
    dropped: int
    etag: str  #: for If-Match, as in the header


class WebhookSecretOut(WebhookOut, kw_only=True):
    """The same with its secret, where it was given or made just now."""

    secret: str | None = None


class WebhooksOut(Struct):
    """Oldest first."""

    webhooks: list[WebhookOut]


class EventsOut(Struct):
    """Events as receivers get them, oldest first; see ``EventBody``."""

    events: list[EventBody]


class ReplayedEventsOut(Struct, kw_only=True):
    """How many events go out again, to which webhook."""

    id: str
    events: int


class WhichWebhook(Struct, forbid_unknown_fields=True, kw_only=True):
    """One of the two."""

    url: Url | None = None
    webhook_id: Id | None = None


def _time(at: Millis | None) -> str | None:
    return rfc3339(at) if at is not None else None


def webhook_out(webhook: Webhook) -> WebhookOut:
    """As operators see it."""
    retried = webhook.failing_since is not None and webhook.paused_at is None
    return WebhookOut(
        webhook_id=webhook.webhook_id,
        url=webhook.url,
        events=sorted(webhook.events, key=list(StatusEvent).index),
        state=webhook.state,
        created_at=rfc3339(webhook.created_at),
        tries=webhook.tries,
        failing_since=_time(webhook.failing_since),
        next_try_at=rfc3339(webhook.next_at) if retried else None,
        paused_at=_time(webhook.paused_at),
        paused_reason=webhook.paused_reason,
        last_success_at=_time(webhook.last_success_at),
        last_error=webhook.last_error,
        waiting=webhook.waiting,
        dropped=webhook.dropped,
        etag=webhook.etag,
    )


def with_secret(webhook: Webhook, secret: str | None) -> WebhookSecretOut:
    """For the one answer that shows it."""
    shown = webhook_out(webhook)
    return WebhookSecretOut(**{name: getattr(shown, name) for name in shown.__struct_fields__}, secret=secret)
