"""Apps, their API keys and their provider credentials."""

import secrets
from base64 import b32encode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from hmac import compare_digest
from importlib.resources import files
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from dispatcher.domain.clock import Millis
from dispatcher.domain.etag import ALWAYS, Condition, Stale
from dispatcher.domain.paths import Path
from dispatcher.ledger.engine import ask_core
from dispatcher.ledger.strategies import first_version
from dispatcher.ledger.tables import api_keys, apps, credentials
from dispatcher.ports.directory import ApiKey, App, credentials_etag

_PREFIX = "pp"
#: Compared against where there is no key, so that an unknown id takes as long as a wrong secret.
_NO_HASH = bytes(32)


class SqlApps:
    """:class:`dispatcher.ports.directory.Apps` on PostgreSQL. *dice*: that many random bytes."""

    def __init__(self, engine: AsyncEngine, *, dice: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._engine = engine
        self._dice = dice

    async def create_app(self, app: App, now: Millis, *, strategy: str | None = None) -> None:
        """Stores the app and version 1 of its ``default`` strategy; KeyError where the id is taken.

        *strategy*: the document's text; None: the one shipped.
        """
        document = strategy if strategy is not None else shipped_strategy()
        row = upsert(apps).values(
            app_id=app.app_id,
            name=app.name,
            time_zone=app.time_zone,
            settings=dict(app.settings),
            created_at=now,
        )

        async def work(connection: AsyncConnection) -> bool:
            made = await connection.execute(row.on_conflict_do_nothing().returning(apps.c.app_id))
            if made.first() is None:
                return False
            await first_version(connection, app.app_id, document, now)
            return True

        if not await ask_core(self._engine, work):
            raise KeyError(app.app_id)

    async def apps(self) -> list[App]:
        """All, by id."""

        async def work(connection: AsyncConnection) -> list[App]:
            return [_app(row) for row in await connection.execute(select(apps).order_by(apps.c.app_id))]

        return await ask_core(self._engine, work)

    async def app(self, app_id: str) -> App | None:
        """One, or None where unknown."""

        async def work(connection: AsyncConnection) -> App | None:
            row = (await connection.execute(select(apps).where(apps.c.app_id == app_id))).first()
            return None if row is None else _app(row)

        return await ask_core(self._engine, work)

    async def create_key(self, app_id: str, name: str, scopes: Sequence[str], now: Millis) -> tuple[ApiKey, str]:
        """The key and its secret text ``pp_<key id>_<secret>``; KeyError where the app is unknown."""
        key_id = b32encode(self._dice(10)).decode().lower()
        secret = urlsafe_b64encode(self._dice(32)).rstrip(b"=").decode()
        key = ApiKey(key_id=key_id, app_id=app_id, name=name, scopes=frozenset(scopes), created_at=now)
        row = insert(api_keys).values(
            key_id=key_id,
            app_id=app_id,
            name=name,
            scopes=sorted(key.scopes),
            secret_hash=_hash(secret),
            created_at=now,
        )

        async def work(connection: AsyncConnection) -> bool:
            known = await connection.execute(select(apps.c.app_id).where(apps.c.app_id == app_id).with_for_update())
            if known.first() is None:
                return False
            await connection.execute(row)
            return True

        if not await ask_core(self._engine, work):
            raise KeyError(app_id)
        return key, f"{_PREFIX}_{key_id}_{secret}"

    async def key_by_secret(self, secret: str) -> ApiKey | None:
        """See the port; by primary key, compared in constant time."""
        prefix, _, rest = secret.partition("_")
        key_id, separator, own = rest.partition("_")
        if prefix != _PREFIX or not separator or not secret.isascii() or not key_id.isalnum():
            return None

        async def work(connection: AsyncConnection) -> ApiKey | None:
            row = (await connection.execute(select(api_keys).where(api_keys.c.key_id == key_id))).first()
            right = compare_digest(_NO_HASH if row is None else row.secret_hash, _hash(own))
            return _key(row) if row is not None and right and row.revoked_at is None else None

        return await ask_core(self._engine, work)

    async def keys(self, app_id: str) -> list[ApiKey]:
        """All of the app's, revoked ones too, oldest first. Index api_keys_of_app."""
        query = select(api_keys).where(api_keys.c.app_id == app_id).order_by(api_keys.c.created_at, api_keys.c.key_id)

        async def work(connection: AsyncConnection) -> list[ApiKey]:
            return [_key(row) for row in await connection.execute(query)]

        return await ask_core(self._engine, work)

    async def revoke_key(self, app_id: str, key_id: str, now: Millis) -> bool:
        """False where there is no such live key."""
        change = (
            update(api_keys)
            .where(api_keys.c.app_id == app_id, api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=now)
            .returning(api_keys.c.key_id)
        )

        async def work(connection: AsyncConnection) -> bool:
            return (await connection.execute(change)).first() is not None

        return await ask_core(self._engine, work)

    async def set_credentials(
        self, app_id: str, path: Path, sealed: bytes, now: Millis, condition: Condition = ALWAYS
    ) -> Millis:
        """See the port; what stood there is overwritten. The app's row is the lock, for there may be no other yet."""
        lock = select(apps.c.app_id).where(apps.c.app_id == app_id).with_for_update()
        query = select(credentials.c.changed_at).where(credentials.c.app_id == app_id, credentials.c.path == path.value)

        async def work(connection: AsyncConnection) -> Millis:
            await connection.execute(lock)
            standing = (await connection.execute(query)).scalar_one_or_none()
            condition.hold(None if standing is None else credentials_etag(path, standing))
            changed_at = now if standing is None else max(now, standing + 1)
            row = upsert(credentials).values(app_id=app_id, path=path.value, sealed=sealed, changed_at=changed_at)
            await connection.execute(
                row.on_conflict_do_update(
                    index_elements=[credentials.c.app_id, credentials.c.path],
                    set_={"sealed": row.excluded.sealed, "changed_at": row.excluded.changed_at},
                )
            )
            return changed_at

        return await ask_core(self._engine, work)

    async def credentials(self, app_id: str, path: Path) -> bytes | None:
        """Still sealed; None where the app has none for *path*."""
        query = select(credentials.c.sealed).where(credentials.c.app_id == app_id, credentials.c.path == path.value)

        async def work(connection: AsyncConnection) -> bytes | None:
            return (await connection.execute(query)).scalar_one_or_none()

        return await ask_core(self._engine, work)

    async def credential_rows(self, app_id: str) -> list[tuple[Path, bytes, Millis]]:
        """(path, sealed, changed at) of all that are set."""
        query = select(credentials).where(credentials.c.app_id == app_id).order_by(credentials.c.path)

        async def work(connection: AsyncConnection) -> list[tuple[Path, bytes, Millis]]:
            return [(Path(row.path), row.sealed, row.changed_at) for row in await connection.execute(query)]

        return await ask_core(self._engine, work)

    async def drop_credentials(self, app_id: str, path: Path) -> bool:
        """False where there are none."""
        gone = (
            delete(credentials)
            .where(credentials.c.app_id == app_id, credentials.c.path == path.value)
            .returning(credentials.c.path)
        )

        async def work(connection: AsyncConnection) -> bool:
            return (await connection.execute(gone)).first() is not None

        return await ask_core(self._engine, work)

    async def change_app(self, app: App, *, standing: App) -> None:
        """See the port."""
        found = select(apps).where(apps.c.app_id == app.app_id).with_for_update()
        change = (
            update(apps)
            .where(apps.c.app_id == app.app_id)
            .values(name=app.name, time_zone=app.time_zone, settings=dict(app.settings))
        )

        async def work(connection: AsyncConnection) -> None:
            row = (await connection.execute(found)).first()
            if row is None or _app(row) != standing:
                raise Stale
            await connection.execute(change)

        await ask_core(self._engine, work)


def shipped_strategy() -> str:
    """The text of the default strategy that comes with this release."""
    return (files("strategies") / "default.yaml").read_text(encoding="utf-8")


def _hash(secret: str) -> bytes:
    """32 random bytes need no slow hash: there is nothing to guess."""
    return sha256(secret.encode()).digest()


def _app(row: Any) -> App:
    return App(app_id=row.app_id, name=row.name, time_zone=row.time_zone, settings=row.settings)


def _key(row: Any) -> ApiKey:
    return ApiKey(
        key_id=row.key_id,
        app_id=row.app_id,
        name=row.name,
        scopes=frozenset(row.scopes),
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
