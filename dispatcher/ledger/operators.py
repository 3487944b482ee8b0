"""Operators and their sessions."""

import secrets
from base64 import b32encode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import Millis
from dispatcher.domain.etag import ALWAYS, Condition
from dispatcher.ledger.engine import Connection, ask, ask_together
from dispatcher.ports.operations import Operator, Role, Session

#: What a session's token starts with: no API key and no device token does.
PREFIX = "ps"
#: Compared against where there is no session, so that an unknown id takes as long as a wrong secret.
_NO_HASH = bytes(32)

_COLUMNS = "login, role, apps, created_at, disabled_at, changed_at"
_ALL = f"SELECT {_COLUMNS} FROM operators ORDER BY login"  # noqa: S608
_STANDING = f"SELECT {_COLUMNS} FROM operators WHERE login = $1 FOR UPDATE"  # noqa: S608
_MAKE = """
INSERT INTO operators (login, role, apps, password_hash, created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $5)
ON CONFLICT (login) DO NOTHING RETURNING login
"""
_CHANGE = """
UPDATE operators SET role = $2, apps = $3, password_hash = coalesce($4, password_hash),
    changed_at = greatest($5, changed_at + 1),
    disabled_at = NULL
WHERE login = $1 RETURNING login
"""
_DISABLE = """
UPDATE operators SET disabled_at = $2, changed_at = $2 WHERE login = $1 AND disabled_at IS NULL RETURNING login
"""
_CLOSE_ALL = "DELETE FROM operator_sessions WHERE login = $1"
_HASH = "SELECT password_hash FROM operators WHERE login = $1 AND disabled_at IS NULL"
_OPEN = """
INSERT INTO operator_sessions (session_id, login, secret_hash, signed_in_at, expires_at)
SELECT $1, login, $3, $4, $5 FROM operators WHERE login = $2 AND disabled_at IS NULL
"""
#: Primary keys of both.
_SESSION = """
SELECT s.session_id, s.secret_hash, s.signed_in_at, s.expires_at, o.login, o.role, o.apps, o.created_at, o.disabled_at,
    o.changed_at
FROM operator_sessions s JOIN operators o USING (login)
WHERE s.session_id = $1 AND s.expires_at > $2 AND o.disabled_at IS NULL
"""
_CLOSE = "DELETE FROM operator_sessions WHERE session_id = $1"
_FORGET = "DELETE FROM operator_sessions WHERE expires_at < $1"


class SqlOperators:
    """:class:`dispatcher.ports.operations.Operators` on PostgreSQL. *dice*: that many random bytes."""

    def __init__(self, engine: AsyncEngine, *, dice: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._engine = engine
        self._dice = dice

    async def operators(self) -> list[Operator]:
        """See the port."""

        async def work(connection: Connection) -> list[Operator]:
            return [_operator(row) for row in await connection.fetch(_ALL)]

        return await ask(self._engine, work)

    async def put_operator(
        self,
        login: str,
        role: Role,
        apps: Sequence[str] | None,
        password_hash: str | None,
        now: Millis,
        condition: Condition = ALWAYS,
    ) -> bool:
        """See the port."""
        seen = None if apps is None else sorted(set(apps))

        async def work(connection: Connection) -> bool:
            standing = await connection.fetchrow(_STANDING, login)
            condition.hold(None if standing is None else _operator(standing).etag)
            if standing is not None:
                await connection.execute(_CHANGE, login, role.value, seen, password_hash, now)
                if password_hash is not None:
                    await connection.execute(_CLOSE_ALL, login)
                return False
            if password_hash is None:
                raise KeyError(login)
            if await connection.fetchval(_MAKE, login, role.value, seen, password_hash, now) is None:
                condition.hold("made meanwhile")
                await connection.execute(_CHANGE, login, role.value, seen, password_hash, now)  # made meanwhile
                return False
            return True

        return await ask_together(self._engine, work)

    async def disable_operator(self, login: str, now: Millis) -> bool:
        """See the port."""

        async def work(connection: Connection) -> bool:
            ended = await connection.fetchval(_DISABLE, login, now)
            await connection.execute(_CLOSE_ALL, login)
            return ended is not None

        return await ask_together(self._engine, work)

    async def password_hash(self, login: str) -> str | None:
        """See the port."""

        async def work(connection: Connection) -> str | None:
            found: str | None = await connection.fetchval(_HASH, login)
            return found

        return await ask(self._engine, work)

    async def open_session(self, login: str, signed_in_at: Millis, expires_at: Millis) -> tuple[Session, str]:
        """See the port; KeyError where the operator was disabled meanwhile."""
        session_id = b32encode(self._dice(10)).decode().lower()
        secret = urlsafe_b64encode(self._dice(32)).rstrip(b"=").decode()
        token = f"{PREFIX}_{session_id}_{secret}"

        async def work(connection: Connection) -> None:
            await connection.execute(_CLOSE, session_id)  # the same call, repeated
            await connection.execute(_OPEN, session_id, login, _hash(secret), signed_in_at, expires_at)

        await ask_together(self._engine, work)
        session = await self.session_by_token(token, signed_in_at)
        if session is None:
            raise KeyError(login)
        return session, token

    async def session_by_token(self, token: str, now: Millis) -> Session | None:
        """See the port; by primary key, compared in constant time."""
        prefix, _, rest = token.partition("_")
        session_id, separator, secret = rest.partition("_")
        if prefix != PREFIX or not separator or not token.isascii() or not session_id.isalnum():
            return None

        async def work(connection: Connection) -> Session | None:
            row = await connection.fetchrow(_SESSION, session_id, now)
            right = compare_digest(_NO_HASH if row is None else row["secret_hash"], _hash(secret))
            if row is None or not right:
                return None
            return Session(
                session_id=row["session_id"],
                operator=_operator(row),
                signed_in_at=row["signed_in_at"],
                expires_at=row["expires_at"],
            )

        return await ask(self._engine, work)

    async def close_session(self, session_id: str) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            await connection.execute(_CLOSE, session_id)

        await ask(self._engine, work)


async def forget_sessions(engine: AsyncEngine, now: Millis) -> None:
    """Drops sessions that ended."""

    async def work(connection: Connection) -> None:
        await connection.execute(_FORGET, now)

    await ask(engine, work)


def _hash(secret: str) -> bytes:
    """32 random bytes need no slow hash: there is nothing to guess."""
    return sha256(secret.encode()).digest()


def _operator(row: Any) -> Operator:
    apps = row["apps"]
    return Operator(
        login=row["login"],
        role=Role(row["role"]),
        apps=None if apps is None else tuple(apps),
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
        changed_at=row["changed_at"],
    )
