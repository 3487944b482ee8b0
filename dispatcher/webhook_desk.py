"""Registering webhooks: targets judged, secrets made and sealed."""

import secrets
from base64 import b32encode
from collections.abc import Callable, Sequence

from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import Millis
from dispatcher.domain.etag import ALWAYS, Condition
from dispatcher.domain.webhook import StatusEvent
from dispatcher.errors import Problem
from dispatcher.ports.webhooks import WEBHOOK_PREFIX, Webhook
from dispatcher.webhooks.signing import make_secret, read_secret, sealed_for
from dispatcher.webhooks.targets import BadTarget, Unresolved, read_target, resolve

MAX_WEBHOOKS = 20  #: of one app


class WebhookDesk:
    """Webhooks of all apps. *dice*: that many random bytes."""

    def __init__(self, stores: Stores, *, dice: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._stores = stores
        self._dice = dice
        self.store = stores.webhooks

    async def register(
        self,
        app: str,
        url: str,
        events: Sequence[StatusEvent],
        secret: str | None,
        now: Millis,
        condition: Condition = ALWAYS,
    ) -> tuple[Webhook, str | None, bool]:
        """The webhook, its secret where it was given or made now, and whether it is new. Problem 422; raises Stale."""
        await self._check(url)
        standing = await self.store.of_app(app)
        known = any(webhook.url == url for webhook in standing)
        if not known and len(standing) >= MAX_WEBHOOKS:
            raise Problem.invalid("url", f"an app has at most {MAX_WEBHOOKS} webhooks; remove one first")
        if secret is None and not known:
            secret = make_secret(self._dice)
        sealed = None
        if secret is not None:
            try:
                read_secret(secret)
            except ValueError as error:
                raise Problem.invalid("secret", str(error)) from None
            sealed = self._stores.sealer.seal(secret.encode(), sealed_for(app))
        webhook_id = f"{WEBHOOK_PREFIX}{b32encode(self._dice(10)).decode().lower()}"
        webhook, new = await self.store.register(app, webhook_id, url, events, sealed, now, condition)
        return webhook, secret, new

    async def _check(self, url: str) -> None:
        """A name that has no address now may have one later; sending judges it again, each time."""
        try:
            await resolve(read_target(url), private=self._stores.settings.webhook_private_targets)
        except BadTarget as bad:
            raise Problem.invalid("url", str(bad)) from None
        except Unresolved:
            return
