"""Webhooks and their queues. A queue row holds up to 100 events, joined as they will be sent."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import Millis
from dispatcher.domain.etag import ALWAYS, Condition
from dispatcher.domain.webhook import MAX_EVENTS, StatusEvent, join_events, without_user
from dispatcher.ledger.columns import as_integers, as_texts, integers, texts
from dispatcher.ledger.engine import Connection, ask, ask_together
from dispatcher.ports.webhooks import Batch, Endpoint, Failed, Subscription, Waiting, Webhook

#: Queue rows that may wait for one endpoint; beyond it the oldest are dropped, counted and shown.
ROWS_KEPT = 20_000

_COLUMNS = """w.webhook_id, w.app, w.url, w.events, w.created_at, w.tries, w.failing_since, w.next_at, w.paused_at,
w.paused_reason, w.last_success_at, w.last_error, w.dropped, md5(w.secret) AS secret_mark"""
_WAITING = "(SELECT coalesce(sum(count), 0)::bigint FROM webhook_queue q WHERE q.webhook_id = w.webhook_id) AS waiting"
_REGISTER = f"""
INSERT INTO webhooks AS w (webhook_id, app, url, events, secret, created_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (app, url) DO UPDATE SET events = excluded.events, secret = excluded.secret, tries = 0,
    failing_since = NULL, next_at = 0, paused_at = NULL, paused_reason = NULL, last_error = NULL
RETURNING {_COLUMNS}, {_WAITING}, xmax = 0 AS new
"""  # noqa: S608
_AGAIN = f"""
UPDATE webhooks w SET events = $3, tries = 0, failing_since = NULL, next_at = 0, paused_at = NULL,
    paused_reason = NULL, last_error = NULL
WHERE app = $1 AND url = $2 RETURNING {_COLUMNS}, {_WAITING}
"""  # noqa: S608
_STANDING = f"SELECT {_COLUMNS}, {_WAITING} FROM webhooks w WHERE app = $1 AND url = $2 FOR UPDATE OF w"  # noqa: S608
_OF_APP = f"SELECT {_COLUMNS}, {_WAITING} FROM webhooks w WHERE app = $1 ORDER BY created_at, webhook_id"  # noqa: S608
_REMOVE = "DELETE FROM webhooks WHERE app = $1 AND (webhook_id = $2 OR url = $3) RETURNING webhook_id"
_PAUSE = f"""
UPDATE webhooks w SET paused_at = coalesce(paused_at, $3), paused_reason = coalesce(paused_reason, $4)
WHERE app = $1 AND webhook_id = $2 RETURNING {_COLUMNS}, {_WAITING}
"""  # noqa: S608
_RESUME = f"""
UPDATE webhooks w SET paused_at = NULL, paused_reason = NULL, failing_since = NULL, tries = 0, next_at = 0
WHERE app = $1 AND webhook_id = $2 RETURNING {_COLUMNS}, {_WAITING}
"""  # noqa: S608
_SUBSCRIPTIONS = "SELECT webhook_id, app, events FROM webhooks WHERE paused_at IS NULL ORDER BY webhook_id"
_ENQUEUE = f"""
INSERT INTO webhook_queue (webhook_id, app, count, at, events)
SELECT given.webhook_id, given.app, given.count, $4, given.events
FROM unnest({as_texts(1)}, {as_texts(2)}, {as_integers(3, "int")}, $5::bytea[])
    WITH ORDINALITY AS given(webhook_id, app, count, events, number)
JOIN webhooks USING (webhook_id) ORDER BY number
"""  # noqa: S608
_CLAIM = """
UPDATE webhooks SET leased_until = $2 WHERE webhook_id IN (
    SELECT webhook_id FROM webhooks w
    WHERE paused_at IS NULL AND next_at <= $1 AND leased_until <= $1
        AND EXISTS (SELECT FROM webhook_queue q WHERE q.webhook_id = w.webhook_id)
    ORDER BY next_at LIMIT $3 FOR UPDATE SKIP LOCKED)
RETURNING webhook_id, app, url, secret, tries, failing_since
"""
#: Index webhook_queue_of.
_OLDEST = "SELECT id, count, batch, events FROM webhook_queue WHERE webhook_id = $1 ORDER BY id LIMIT $2"
_WAITING_EVENTS = """
SELECT events FROM (
    SELECT id, events, sum(count) OVER (ORDER BY id) - count AS before FROM webhook_queue q
    WHERE webhook_id = (SELECT webhook_id FROM webhooks WHERE app = $1 AND webhook_id = $2)
    ORDER BY id LIMIT $3) AS oldest
WHERE before < $3 ORDER BY id
"""
_TRIED = "UPDATE webhook_queue SET batch = $2 WHERE id = ANY($1::bigint[])"
_TAKEN = "DELETE FROM webhook_queue WHERE webhook_id = $1 AND batch = $2"
_SUCCESS = """
UPDATE webhooks SET tries = 0, failing_since = NULL, next_at = 0, last_success_at = $2, last_error = NULL,
    leased_until = $3
WHERE webhook_id = $1 RETURNING paused_at IS NULL
"""
_FAILED = """
UPDATE webhooks SET tries = tries + 1, failing_since = coalesce(failing_since, $2), next_at = $3, last_error = $4,
    leased_until = 0, paused_at = CASE WHEN $5::text IS NULL THEN paused_at ELSE coalesce(paused_at, $2) END,
    paused_reason = coalesce(paused_reason, $5)
WHERE webhook_id = $1
"""
_OVERFLOW = """
WITH gone AS (
    DELETE FROM webhook_queue WHERE webhook_id = $1 AND batch IS NULL AND id <= (
        SELECT id FROM webhook_queue WHERE webhook_id = $1 ORDER BY id DESC OFFSET $2 LIMIT 1)
    RETURNING count
)
UPDATE webhooks SET dropped = dropped + (SELECT coalesce(sum(count), 0) FROM gone)
WHERE webhook_id = $1 AND EXISTS (SELECT FROM gone)
"""
_RELEASE = "UPDATE webhooks SET leased_until = 0 WHERE webhook_id = $1"
#: Index webhook_queue_of_app; read row by row, for erasures are rare and queues short.
_MENTIONING = """
SELECT id, count, events FROM webhook_queue
WHERE app = $1 AND position($2::bytea IN events) > 0 ORDER BY id FOR UPDATE
"""
_REWRITE = "UPDATE webhook_queue SET events = $2, count = $3 WHERE id = $1"
_EMPTIED = "DELETE FROM webhook_queue WHERE id = $1"


class SqlWebhooks:
    """:class:`dispatcher.ports.webhooks.Webhooks` on PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

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
        """See the port."""
        names = [event.value for event in events]

        async def work(connection: Connection) -> tuple[Webhook, bool]:
            standing = await connection.fetchrow(_STANDING, app, url)
            condition.hold(None if standing is None else _webhook(standing).etag)
            if sealed is None:
                row = await connection.fetchrow(_AGAIN, app, url, names)
                if row is None:
                    raise ValueError("a new webhook needs a secret")
                return _webhook(row), False
            row = await connection.fetchrow(_REGISTER, webhook_id, app, url, names, sealed, now)
            if standing is None and not row["new"]:
                condition.hold("registered meanwhile")
            return _webhook(row), row["new"]

        return await ask_together(self._engine, work)

    async def of_app(self, app: str) -> list[Webhook]:
        """See the port."""

        async def work(connection: Connection) -> list[Webhook]:
            return [_webhook(row) for row in await connection.fetch(_OF_APP, app)]

        return await ask(self._engine, work)

    async def remove(self, app: str, *, webhook_id: str | None = None, url: str | None = None) -> bool:
        """See the port."""

        async def work(connection: Connection) -> bool:
            return bool(await connection.fetch(_REMOVE, app, webhook_id, url))

        return await ask_together(self._engine, work)

    async def pause(self, app: str, webhook_id: str, reason: str, now: Millis) -> Webhook | None:
        """See the port."""
        return await self._change(_PAUSE, app, webhook_id, now, reason)

    async def resume(self, app: str, webhook_id: str, now: Millis) -> Webhook | None:
        """See the port."""
        return await self._change(_RESUME, app, webhook_id)

    async def waiting(self, app: str, webhook_id: str, most: int) -> bytes:
        """See the port."""

        async def work(connection: Connection) -> bytes:
            rows = await connection.fetch(_WAITING_EVENTS, app, webhook_id, most)
            return join_events(row["events"] for row in rows)

        return await ask(self._engine, work)

    async def _change(self, statement: str, *values: object) -> Webhook | None:
        async def work(connection: Connection) -> Webhook | None:
            row = await connection.fetchrow(statement, *values)
            return None if row is None else _webhook(row)

        return await ask(self._engine, work)

    async def subscriptions(self) -> list[Subscription]:
        """See the port."""

        async def work(connection: Connection) -> list[Subscription]:
            return [
                Subscription(webhook_id=webhook_id, app=app, events=frozenset(map(StatusEvent, events)))
                for webhook_id, app, events in await connection.fetch(_SUBSCRIPTIONS)
            ]

        return await ask(self._engine, work)

    async def enqueue(self, rows: Sequence[Waiting], now: Millis) -> None:
        """See the port; a webhook that is gone meanwhile gets nothing."""
        columns = (
            texts([row.webhook_id for row in rows]),
            texts([row.app for row in rows]),
            integers([row.count for row in rows]),
            now,
            [row.events for row in rows],
        )

        async def work(connection: Connection) -> None:
            await connection.execute(_ENQUEUE, *columns)

        if rows:
            await ask(self._engine, work)

    async def claim(self, now: Millis, *, lease_ms: Millis, limit: int) -> list[Endpoint]:
        """See the port."""

        async def work(connection: Connection) -> list[Endpoint]:
            return [Endpoint(**dict(row)) for row in await connection.fetch(_CLAIM, now, now + lease_ms, limit)]

        return await ask(self._engine, work)

    async def next_batch(self, webhook_id: str) -> Batch | None:
        """See the port."""

        async def work(connection: Connection) -> Batch | None:
            rows = await connection.fetch(_OLDEST, webhook_id, MAX_EVENTS)
            if not rows:
                return None
            number = rows[0]["batch"]
            if number is not None:
                return _batch(number, [row for row in rows if row["batch"] == number])
            taken: list[Any] = []
            for row in rows:
                if taken and sum(one["count"] for one in taken) + row["count"] > MAX_EVENTS:
                    break
                taken.append(row)
            await connection.execute(_TRIED, [row["id"] for row in taken], taken[0]["id"])
            return _batch(taken[0]["id"], taken)

        return await ask_together(self._engine, work)

    async def sent(self, webhook_id: str, batch: Batch, now: Millis, *, lease_ms: Millis) -> bool:
        """See the port."""

        async def work(connection: Connection) -> bool:
            await connection.execute(_TAKEN, webhook_id, batch.batch_id)
            return bool(await connection.fetchval(_SUCCESS, webhook_id, now, now + lease_ms))

        return await ask_together(self._engine, work)

    async def failed(self, webhook_id: str, failed: Failed, now: Millis) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            await connection.execute(_FAILED, webhook_id, now, failed.next_at, failed.error[:200], failed.pause)
            await connection.execute(_OVERFLOW, webhook_id, ROWS_KEPT)

        await ask_together(self._engine, work)

    async def release(self, webhook_id: str) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            await connection.execute(_RELEASE, webhook_id)

        await ask(self._engine, work)

    async def forget_user(self, app: str, user_id: str) -> int:
        """See the port."""
        mentioned = f'"user_id":{_json(user_id)}'.encode()

        async def work(connection: Connection) -> int:
            forgotten = 0
            for number, count, events in await connection.fetch(_MENTIONING, app, mentioned):
                left, kept = without_user(events, user_id)
                forgotten += count - kept
                if kept:
                    await connection.execute(_REWRITE, number, left, kept)
                else:
                    await connection.execute(_EMPTIED, number)
            return forgotten

        return await ask_together(self._engine, work)


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _batch(number: int, rows: Sequence[Any]) -> Batch:
    events = join_events(row["events"] for row in rows)
    return Batch(batch_id=number, events=events, count=sum(row["count"] for row in rows))


def _webhook(row: Any) -> Webhook:
    return Webhook(
        webhook_id=row["webhook_id"],
        app=row["app"],
        url=row["url"],
        events=frozenset(map(StatusEvent, row["events"])),
        created_at=row["created_at"],
        tries=row["tries"],
        failing_since=row["failing_since"],
        next_at=row["next_at"],
        paused_at=row["paused_at"],
        paused_reason=row["paused_reason"],
        last_success_at=row["last_success_at"],
        last_error=row["last_error"],
        waiting=row["waiting"],
        dropped=row["dropped"],
        secret_mark=row["secret_mark"],
    )
