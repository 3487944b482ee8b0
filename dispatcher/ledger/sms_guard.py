"""The SMS guard: a reservation is decided and written in one transaction, or there is none.

One advisory lock an app puts deciders in a row, so that many workers racing for the last segments of a budget never
overspend; the counting statement starts after the lock is held, and so sees every reservation that was granted.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import Millis
from dispatcher.ledger.engine import Connection, ask, ask_together
from dispatcher.ledger.locks import hold, lock_key
from dispatcher.ports.sms_guard import Refusal, Sharer, SmsCap, SmsRequest, SmsRow

RESERVED, SENT, RELEASED = "reserved", "sent", "released"

#: Primary key of sms_reservations.
_STANDING = "SELECT attempt_id, state FROM sms_reservations WHERE app = $1 AND message_id = $2 AND user_id = $3"
_SUPPRESSED = "SELECT EXISTS (SELECT FROM sms_suppressions WHERE app = $1 AND number_hash = $2)"
#: Index sms_reservations_user.
_COALESCED = """
SELECT attempt_id FROM sms_reservations
WHERE app = $1 AND user_id = $2 AND coalesce_key = $3 AND reserved_at > $4 AND message_id <> $5 AND state <> 'released'
ORDER BY reserved_at DESC LIMIT 1
"""
#: Indexes sms_reservations_user, _number, _prefix and _budget.
_COUNT_USER = """
SELECT count(*) FROM sms_reservations WHERE app = $1 AND user_id = $2 AND reserved_at > $3 AND state <> 'released'
"""
_COUNT_NUMBER = """
SELECT count(*) FROM sms_reservations WHERE app = $1 AND number_hash = $2 AND reserved_at > $3 AND state <> 'released'
"""
_COUNT_PREFIX = """
SELECT count(*) FROM sms_reservations WHERE app = $1 AND prefix = $2 AND reserved_at > $3 AND state <> 'released'
"""
_SPENT = """
SELECT coalesce(sum(segments), 0)::bigint FROM sms_reservations
WHERE app = $1 AND reserved_at > $2 AND state <> 'released'
"""
#: Primary key of sms_reservations.
_OF_MESSAGE = """
SELECT user_id, state, status, sent_at FROM sms_reservations
WHERE app = $1 AND message_id = $2 AND state <> 'released' ORDER BY user_id
"""
_RESERVE = """
INSERT INTO sms_reservations (app, message_id, user_id, attempt_id, number_hash, prefix, segments, coalesce_key, state,
    reserved_at, changed_at, class, platform, strategy, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'reserved', $9, $9, $10, $11, $12, $13)
ON CONFLICT (app, message_id, user_id) DO UPDATE SET attempt_id = excluded.attempt_id,
    number_hash = excluded.number_hash, prefix = excluded.prefix, segments = excluded.segments,
    coalesce_key = excluded.coalesce_key, state = 'reserved', status = NULL, rank = -1, error = NULL,
    provider_id = NULL, reserved_at = excluded.reserved_at, sent_at = NULL, changed_at = excluded.changed_at,
    class = excluded.class, platform = excluded.platform, strategy = excluded.strategy, version = excluded.version
WHERE sms_reservations.state = 'released'
"""
#: Those with an SMS of their own stay out; who joined one that was released joins anew.
_JOIN = """
INSERT INTO sms_joined (app, attempt_id, into_attempt, message_id, user_id, at)
SELECT $1, at.attempt_id, $2, at.message_id, $3, $4
FROM unnest($5::text[], $6::text[]) AS at(message_id, attempt_id)
WHERE NOT EXISTS (
    SELECT FROM sms_reservations s
    WHERE s.app = $1 AND s.message_id = at.message_id AND s.user_id = $3 AND s.state <> 'released')
ON CONFLICT (app, attempt_id) DO UPDATE SET into_attempt = excluded.into_attempt, at = excluded.at
"""
#: Index sms_joined_into.
_SHARERS = """
SELECT message_id, user_id, attempt_id, at FROM sms_joined WHERE app = $1 AND into_attempt = $2 ORDER BY at, attempt_id
"""
#: Index sms_joined_into for the second, sms_joined_message for the first.
_JOINED = """
SELECT into_attempt FROM sms_joined WHERE app = $1 AND user_id = $2 AND message_id = $3 ORDER BY at DESC LIMIT 1
"""
_IS_SHARER = """
SELECT EXISTS (SELECT FROM sms_joined WHERE app = $1 AND into_attempt = $2 AND message_id = $3 AND user_id = $4)
"""
#: Index sms_reservations_attempt, for what follows.
_TAKEN = """
UPDATE sms_reservations SET state = 'sent', provider_id = coalesce($3, provider_id), sent_at = coalesce(sent_at, $4),
    changed_at = $4
WHERE app = $1 AND attempt_id = $2 AND state <> 'released'
"""
_RELEASE = """
UPDATE sms_reservations SET state = 'released', error = $3
WHERE app = $1 AND attempt_id = $2 AND state = 'reserved'
"""
_RANK = "SELECT rank FROM sms_reservations WHERE app = $1 AND attempt_id = $2 FOR UPDATE"
_SEGMENTS = "UPDATE sms_reservations SET segments = coalesce($3, segments) WHERE app = $1 AND attempt_id = $2"
_STATUS = """
UPDATE sms_reservations SET status = $3, rank = $4, error = $5, state = 'sent', sent_at = coalesce(sent_at, $6),
    changed_at = $6
WHERE app = $1 AND attempt_id = $2
"""
_SUPPRESS = """
INSERT INTO sms_suppressions (app, number_hash, reason, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
#: Index sms_reservations_attempt.
_SUPPRESS_OF = """
INSERT INTO sms_suppressions (app, number_hash, reason, at)
SELECT app, number_hash, $3, $4 FROM sms_reservations WHERE app = $1 AND attempt_id = $2 ON CONFLICT DO NOTHING
"""
_LIFT = "DELETE FROM sms_suppressions WHERE app = $1 AND number_hash = $2"


class SqlSmsGuard:
    """:class:`dispatcher.ports.sms_guard.SmsGuard` on PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def reserve(self, request: SmsRequest, now: Millis) -> Refusal | None:
        """See the port.

        The same attempt gets its own row back while it is only reserved; once the carrier took it, asking again is
        ``ALREADY_SENT``. Another attempt for the same message and user may take over what was released. Joiners are
        written with the reservation: :meth:`joined_into` and :meth:`sharers` tell with whom the status is shared.
        """

        async def work(connection: Connection) -> Refusal | None:
            await hold(connection, lock_key("sms", request.app))
            return await _decide(connection, request, now)

        return await ask_together(self._engine, work)

    async def joined_into(self, app: str, message_id: str, user_id: str) -> str | None:
        """See the port."""

        async def work(connection: Connection) -> str | None:
            joined: str | None = await connection.fetchval(_JOINED, app, user_id, message_id)
            return joined

        return await ask(self._engine, work)

    async def sharers(self, app: str, attempt_id: str) -> Sequence[Sharer]:
        """See the port."""

        async def work(connection: Connection) -> list[Sharer]:
            return [
                Sharer(message_id=message_id, user_id=user_id, attempt_id=attempt, at=at)
                for message_id, user_id, attempt, at in await connection.fetch(_SHARERS, app, attempt_id)
            ]

        return await ask(self._engine, work)

    async def of_message(self, app: str, message_id: str) -> Sequence[SmsRow]:
        """See the port."""

        async def work(connection: Connection) -> list[SmsRow]:
            return [
                SmsRow(user_id=row["user_id"], state=row["state"], status=row["status"], sent_at=row["sent_at"])
                for row in await connection.fetch(_OF_MESSAGE, app, message_id)
            ]

        return await ask(self._engine, work)

    async def spent(self, app: str, *, window_ms: Millis, now: Millis) -> int:
        """Segments reserved and sent in the rolling window that ends now."""

        async def work(connection: Connection) -> int:
            return int(await connection.fetchval(_SPENT, app, now - window_ms))

        return await ask(self._engine, work)

    async def sent(self, app: str, attempt_id: str, provider_id: str | None, now: Millis) -> None:
        """See the port."""
        await self._write(_TAKEN, app, attempt_id, provider_id, now)

    async def release(self, app: str, attempt_id: str, reason: str) -> None:
        """See the port. What the carrier took stays taken."""
        await self._write(_RELEASE, app, attempt_id, reason)

    async def status(
        self, app: str, attempt_id: str, status: str, rank: int, *, error: str | None, segments: int | None, now: Millis
    ) -> bool:
        """See the port. Of two statuses with one rank the first stays; the true number of segments is taken anyway."""

        async def work(connection: Connection) -> bool:
            standing = await connection.fetchval(_RANK, app, attempt_id)
            if standing is None:
                return False
            if segments is not None:
                await connection.execute(_SEGMENTS, app, attempt_id, segments)
            if rank <= standing:
                return False
            await connection.execute(_STATUS, app, attempt_id, status, rank, error, now)
            return True

        return await ask_together(self._engine, work)

    async def suppress_number(self, app: str, number_hash: bytes, reason: str, now: Millis) -> None:
        """See the port; the first reason stays."""
        await self._write(_SUPPRESS, app, number_hash, reason, now)

    async def suppress_attempt(self, app: str, attempt_id: str, reason: str, now: Millis) -> None:
        """See the port."""
        await self._write(_SUPPRESS_OF, app, attempt_id, reason, now)

    async def lift_suppression(self, app: str, number_hash: bytes) -> None:
        """See the port."""
        await self._write(_LIFT, app, number_hash)

    async def _write(self, statement: str, *values: object) -> None:
        async def work(connection: Connection) -> None:
            await connection.execute(statement, *values)

        await ask(self._engine, work)


async def _decide(connection: Connection, request: SmsRequest, now: Millis) -> Refusal | None:
    app = request.app
    standing = await connection.fetchrow(_STANDING, app, request.message_id, request.user_id)
    if standing is not None and standing["state"] != RELEASED:
        ours = standing["attempt_id"] == request.attempt_id and standing["state"] == RESERVED
        return None if ours else Refusal.ALREADY_SENT
    if await connection.fetchval(_SUPPRESSED, app, request.number_hash):
        return Refusal.SUPPRESSED_NUMBER
    if request.coalesce_key is not None and request.coalesce_ms > 0:
        since = now - request.coalesce_ms
        stands_for = await connection.fetchval(
            _COALESCED, app, request.user_id, request.coalesce_key, since, request.message_id
        )
        if stands_for is not None:
            waited = await connection.fetchval(_IS_SHARER, app, stands_for, request.message_id, request.user_id)
            return Refusal.JOINED if waited else Refusal.COALESCED
    refused = await _over_a_cap(connection, request, now)
    if refused is not None:
        return refused
    await connection.execute(
        _RESERVE,
        app,
        request.message_id,
        request.user_id,
        request.attempt_id,
        request.number_hash,
        request.prefix,
        request.segments,
        request.coalesce_key,
        now,
        request.klass,
        request.platform,
        request.strategy,
        request.version,
    )
    if request.joiners:
        messages, attempts = zip(*((one.message_id, one.attempt_id) for one in request.joiners), strict=True)
        await connection.execute(_JOIN, app, request.attempt_id, request.user_id, now, list(messages), list(attempts))
    return None


async def _over_a_cap(connection: Connection, request: SmsRequest, now: Millis) -> Refusal | None:
    caps: tuple[tuple[SmsCap | None, str, object, Refusal], ...] = (
        (request.per_user, _COUNT_USER, request.user_id, Refusal.CAP_USER),
        (request.per_number, _COUNT_NUMBER, request.number_hash, Refusal.CAP_NUMBER),
        (request.per_prefix, _COUNT_PREFIX, request.prefix, Refusal.CAP_PREFIX),
    )
    for cap, statement, whose, refusal in caps:
        if cap is not None:
            used = await connection.fetchval(statement, request.app, whose, now - cap.window_ms)
            if used >= cap.count:
                return refusal
    if request.budget is not None:
        spent = await connection.fetchval(_SPENT, request.app, now - request.budget.window_ms)
        if spent + request.segments > request.budget.count:
            return Refusal.BUDGET
    return None
