"""Strategy documents: drafts with ETags, versions that only ever add up, one revision for all workers."""

from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any, TypeVar

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from dispatcher.domain.clock import Millis
from dispatcher.ledger.audit import note
from dispatcher.ledger.engine import ask_core
from dispatcher.ledger.learning import read_settings
from dispatcher.ledger.locks import lock_key
from dispatcher.ledger.tables import (
    learning_pins,
    learning_switches,
    strategy_drafts,
    strategy_revision,
    strategy_versions,
)
from dispatcher.ports.directory import AuditEntry, Judge, MissingPrecondition, NoDraft, StaleDraft, StrategyVersion
from dispatcher.ports.learning import LearningSettings
from strategies.learn import Pin

DEFAULT = "default"
LIVE, PARTIAL, RETIRED = "live", "partial", "retired"

Result = TypeVar("Result")
_versions = strategy_versions.c
_drafts = strategy_drafts.c


def etag_of(document: str) -> str:
    """The strong validator of a document's bytes, without quotes."""
    return blake2b(document.encode(), digest_size=12).hexdigest()


class SqlStrategyStore:
    """:class:`dispatcher.ports.directory.StrategyStore` on PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def published(self, app: str) -> list[StrategyVersion]:
        """See the port. Index strategy_versions_published."""
        query = (
            select(strategy_versions)
            .where(_versions.app == app, _versions.state != RETIRED)
            .order_by(_versions.name, _versions.version)
        )
        return await self._read(query)

    async def revision(self) -> int:
        """See the port."""

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(select(strategy_revision.c.revision))).scalar_one())

        return await ask_core(self._engine, work)

    async def draft(self, app: str, name: str) -> StrategyVersion | None:
        """See the port."""

        async def work(connection: AsyncConnection) -> StrategyVersion | None:
            return await _draft(connection, app, name)

        return await ask_core(self._engine, work)

    async def put_draft(
        self, app: str, name: str, document: str, *, if_match: str | None, by: str, now: Millis
    ) -> StrategyVersion:
        """See the port. *if_match*: an ETag without quotes, or ``*``; the published one's while there is no draft."""
        etag = etag_of(document)
        row = upsert(strategy_drafts).values(app=app, name=name, document=document, etag=etag, saved_at=now, by=by)
        row = row.on_conflict_do_update(
            index_elements=[_drafts.app, _drafts.name],
            set_={column: row.excluded[column] for column in ("document", "etag", "saved_at", "by")},
        )

        async def work(connection: AsyncConnection) -> StrategyVersion:
            draft = await _draft(connection, app, name)
            standing = [draft] if draft else await _published(connection, app, name)
            if standing and if_match is None:
                raise MissingPrecondition(name)
            if if_match is not None and not (standing and if_match in {"*", *(one.etag for one in standing)}):
                raise StaleDraft(name)
            await connection.execute(row)
            await note(connection, app, _entry("strategy.draft", name, by, now, {"etag": etag}))
            return StrategyVersion(name=name, version=None, document=document, etag=etag, by=by)

        return await self._change(app, work)

    async def publish(
        self, app: str, name: str, *, percent: int, by: str, now: Millis, judge: Judge | None = None
    ) -> StrategyVersion:
        """See the port. Below 100 the version so far stays live for the others."""

        async def work(connection: AsyncConnection) -> StrategyVersion:
            draft = await _draft(connection, app, name)
            if draft is None:
                raise NoDraft(name)
            if judge is not None:
                judge(draft.document, await _others(connection, app, name))
            made = await _add(connection, app, name, draft.document, percent=percent, by=by, now=now)
            await connection.execute(delete(strategy_drafts).where(_drafts.app == app, _drafts.name == name))
            detail = {"version": made.version, "percent": percent}
            await note(connection, app, _entry("strategy.publish", name, by, now, detail))
            return made

        return await self._change(app, work)

    async def rollback(
        self, app: str, name: str, version: int, *, by: str, now: Millis, judge: Judge | None = None
    ) -> StrategyVersion:
        """See the port; KeyError where there is no such version."""

        async def work(connection: AsyncConnection) -> StrategyVersion:
            earlier = await _version(connection, app, name, version)
            if earlier is None:
                raise KeyError(version)
            if judge is not None:
                judge(earlier.document, await _others(connection, app, name))
            made = await _add(connection, app, name, earlier.document, percent=100, by=by, now=now)
            detail = {"version": made.version, "of": version}
            await note(connection, app, _entry("strategy.rollback", name, by, now, detail))
            return made

        return await self._change(app, work)

    async def versions(self, app: str, name: str) -> list[StrategyVersion]:
        """Newest first."""
        return await self._read(_named(app, name).order_by(_versions.version.desc()))

    async def version(self, app: str, name: str, version: int) -> StrategyVersion | None:
        """One, also when retired."""

        async def work(connection: AsyncConnection) -> StrategyVersion | None:
            return await _version(connection, app, name, version)

        return await ask_core(self._engine, work)

    async def delete(self, app: str, name: str, *, by: str, now: Millis) -> bool:
        """See the port; its draft goes too. ValueError for ``default``."""
        if name == DEFAULT:
            raise ValueError("the default strategy cannot go")

        async def work(connection: AsyncConnection) -> bool:
            dropped = await connection.execute(
                delete(strategy_drafts).where(_drafts.app == app, _drafts.name == name).returning(_drafts.name)
            )
            found = dropped.first() is not None
            found = await _retire(connection, app, name) or found
            if found:
                await _revise(connection)
                await note(connection, app, _entry("strategy.delete", name, by, now, {}))
            return found

        return await self._change(app, work)

    async def learning(self, app: str) -> LearningSettings:
        """See the port."""
        return await read_settings(self._engine, app)

    async def switch_learning(self, app: str, enabled: bool, *, by: str, now: Millis) -> None:
        """See the port."""
        row = upsert(learning_switches).values(app=app, enabled=enabled)
        change = row.on_conflict_do_update(index_elements=["app"], set_={"enabled": row.excluded.enabled})
        await self._alter(app, change, _entry("learning.switch", "learning", by, now, {"enabled": enabled}))

    async def pin(self, app: str, key: str, pin: Pin | None, *, by: str, now: Millis) -> bool:
        """See the port."""
        columns = learning_pins.c
        if pin is None:
            gone = delete(learning_pins).where(columns.app == app, columns.key == key).returning(columns.key)
            return await self._alter(app, gone, _entry("learning.unpin", key, by, now, {}))
        values = {"ack_rate": pin.ack_rate, "p95_s": pin.p95_s}
        row = upsert(learning_pins).values(app=app, key=key, **values)
        change = row.on_conflict_do_update(index_elements=["app", "key"], set_=values).returning(columns.key)
        return await self._alter(app, change, _entry("learning.pin", key, by, now, values))

    async def _alter(self, app: str, change: Any, entry: AuditEntry) -> bool:
        """Changes what workers read beside strategies; nothing is noted where nothing changed."""

        async def work(connection: AsyncConnection) -> bool:
            result = await connection.execute(change)
            if result.returns_rows and result.first() is None:
                return False
            await _revise(connection)
            await note(connection, app, entry)
            return True

        return await ask_core(self._engine, work)

    async def _read(self, query: Any) -> list[StrategyVersion]:
        async def work(connection: AsyncConnection) -> list[StrategyVersion]:
            return [_read_version(row) for row in await connection.execute(query)]

        return await ask_core(self._engine, work)

    async def _change(self, app: str, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
        """Changes to one app's strategies stand in a row, so that two of them never come to own one class."""

        async def alone(connection: AsyncConnection) -> Result:
            await connection.execute(select(func.pg_advisory_xact_lock(lock_key("strategy", app))))
            return await work(connection)

        return await ask_core(self._engine, alone)


async def first_version(connection: AsyncConnection, app: str, document: str, now: Millis) -> None:
    """Version 1 of a new app's ``default``."""
    await _add(connection, app, DEFAULT, document, percent=100, by="", now=now)


async def _add(
    connection: AsyncConnection, app: str, name: str, document: str, *, percent: int, by: str, now: Millis
) -> StrategyVersion:
    """The next version; to all it retires what was live, to some only what was tried before it."""
    highest = await connection.execute(
        select(func.coalesce(func.max(_versions.version), 0)).where(_versions.app == app, _versions.name == name)
    )
    state = LIVE if percent >= 100 else PARTIAL
    await _retire(connection, app, name, *([PARTIAL] if state == PARTIAL else []))
    row = {
        "name": name,
        "version": highest.scalar_one() + 1,
        "document": document,
        "etag": etag_of(document),
        "published_at": now,
        "by": by,
        "percent": percent,
        "state": state,
    }
    await connection.execute(insert(strategy_versions).values(app=app, **row))
    await _revise(connection)
    return StrategyVersion(**row)


async def _retire(connection: AsyncConnection, app: str, name: str, *states: str) -> bool:
    change = update(strategy_versions).where(
        _versions.app == app,
        _versions.name == name,
        _versions.state.in_(states) if states else _versions.state != RETIRED,
    )
    return (await connection.execute(change.values(state=RETIRED).returning(_versions.version))).first() is not None


async def _revise(connection: AsyncConnection) -> None:
    await connection.execute(update(strategy_revision).values(revision=strategy_revision.c.revision + 1))


def _named(app: str, name: str) -> Any:
    return select(strategy_versions).where(_versions.app == app, _versions.name == name)


async def _published(connection: AsyncConnection, app: str, name: str) -> list[StrategyVersion]:
    return [_read_version(row) for row in await connection.execute(_named(app, name).where(_versions.state != RETIRED))]


async def _others(connection: AsyncConnection, app: str, name: str) -> list[StrategyVersion]:
    """What is published under other names."""
    query = select(strategy_versions).where(_versions.app == app, _versions.name != name, _versions.state != RETIRED)
    return [_read_version(row) for row in await connection.execute(query)]


async def _version(connection: AsyncConnection, app: str, name: str, version: int) -> StrategyVersion | None:
    if not 0 < version < 2**31:
        return None
    row = (await connection.execute(_named(app, name).where(_versions.version == version))).first()
    return None if row is None else _read_version(row)


async def _draft(connection: AsyncConnection, app: str, name: str) -> StrategyVersion | None:
    query = select(strategy_drafts).where(_drafts.app == app, _drafts.name == name)
    row = (await connection.execute(query)).first()
    if row is None:
        return None
    return StrategyVersion(name=row.name, version=None, document=row.document, etag=row.etag, by=row.by)


def _read_version(row: Any) -> StrategyVersion:
    return StrategyVersion(
        name=row.name,
        version=row.version,
        document=row.document,
        etag=row.etag,
        published_at=row.published_at,
        by=row.by,
        percent=row.percent,
        state=row.state,
    )


def _entry(action: str, name: str, by: str, now: Millis, detail: dict[str, Any]) -> AuditEntry:
    return AuditEntry(at=now, who=by, action=action, subject=name, detail=detail)
