"""Status webhooks: who asked for which events, what waits for them, and the wire they leave by.

Failure policy: events are queued in the ledger before the journal entry they come from is trimmed, so they go out at
least once; an endpoint that fails for a day is paused and shown, and costs nobody else anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dispatcher.domain.clock import Millis
from dispatcher.domain.etag import ALWAYS, Condition, etag_of
from dispatcher.domain.webhook import StatusEvent

#: What webhook ids begin with: no delivery id does.
WEBHOOK_PREFIX = "wh_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One endpoint as operators see it. ``waiting`` and ``dropped`` count events."""

    webhook_id: str
    app: str
    url: str
    events: frozenset[StatusEvent]
    created_at: Millis
    tries: int = 0  #: of the batch that fails now
    failing_since: Millis | None = None
    next_at: Millis = 0
    paused_at: Millis | None = None
    paused_reason: str | None = None
    last_success_at: Millis | None = None
    last_error: str | None = None
    waiting: int = 0
    dropped: int = 0
    secret_mark: str = ""  #: another one, another secret

    @property
    def etag(self) -> str:
        """Of all that registering it again would change; not of how it fares."""
        paused = self.paused_at is not None
        return etag_of(self.webhook_id, sorted(self.events), paused, self.secret_mark)

    @property
    def given_up(self) -> bool:
        """Whether what waits is dead until somebody sends it again: it failed for too long, or its receiver is gone."""
        return self.paused_at is not None and self.failing_since is not None

    @property
    def state(self) -> str:
        """``active``, ``failing`` (retried with backoff) or ``paused``."""
        if self.paused_at is not None:
            return "paused"
        return "failing" if self.failing_since is not None else "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """As much of a webhook as deriving events needs."""

    webhook_id: str
    app: str
    events: frozenset[StatusEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Events on their way into one webhook's queue; at most 100."""

    webhook_id: str
    app: str
    count: int
    events: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A webhook claimed for sending. ``secret``: sealed."""

    webhook_id: str
    app: str
    url: str
    secret: bytes
    tries: int
    failing_since: Millis | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one POST carries; a retry carries the same under the same id."""

    batch_id: int
    events: bytes
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """What a failed POST changes. ``pause``: why the endpoint gets nothing more until it is resumed."""

    error: str
    next_at: Millis
    pause: str | None = None


class Webhooks(Protocol):
    """Webhooks and their queues."""

    async def register(
        self,
        app: str,
        webhook_id: str,
        url: str,
        events: Sequence[StatusEvent],
        sealed: bytes | None,
        now: Millis,
        condition: Condition = ALWAYS,
    ) -> tuple[Webhook, bool]:
        """True where it is new. A known url keeps its id and queue, gets the events (and the secret, where one is
        given) and goes on where it was paused. *sealed* None with a new url is a programming error.
        Raises ``Stale``."""

    async def of_app(self, app: str) -> list[Webhook]:
        """Oldest first, with what waits."""

    async def remove(self, app: str, *, webhook_id: str | None = None, url: str | None = None) -> bool:
        """With all that waits for it."""

    async def pause(self, app: str, webhook_id: str, reason: str, now: Millis) -> Webhook | None: ...

    async def resume(self, app: str, webhook_id: str, now: Millis) -> Webhook | None:
        """Goes on at once with what waits: paused, or failing and waiting for its next try."""

    async def waiting(self, app: str, webhook_id: str, most: int) -> bytes:
        """The oldest events that wait, at most about *most* of them, joined as they will be sent; changes nothing."""

    async def subscriptions(self) -> list[Subscription]:
        """Of all apps, paused ones left out."""

    async def enqueue(self, rows: Sequence[Waiting], now: Millis) -> None: ...

    async def claim(self, now: Millis, *, lease_ms: Millis, limit: int) -> list[Endpoint]:
        """Endpoints with something to send that is due, each under a lease."""

    async def next_batch(self, webhook_id: str) -> Batch | None:
        """The batch that was tried before, else the oldest events, up to 100; None where nothing waits."""

    async def sent(self, webhook_id: str, batch: Batch, now: Millis, *, lease_ms: Millis) -> bool:
        """The receiver has it; the lease goes on. False where the webhook is gone or paused meanwhile."""

    async def failed(self, webhook_id: str, failed: Failed, now: Millis) -> None:
        """Ends the lease; drops the oldest events beyond what may wait."""

    async def release(self, webhook_id: str) -> None:
        """Ends the lease."""

    async def forget_user(self, app: str, user_id: str) -> int:
        """Takes a user's events out of every queue; how many those were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of a POST. ``status`` 0: no answer; *error* says why."""

    status: int
    error: str | None = None
    retry_after: Millis | None = None

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


class Poster(Protocol):
    """The wire."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Never raises for what the other end or the network does. Follows no redirect; private targets are refused
        after name resolution, unless settings allow them."""
