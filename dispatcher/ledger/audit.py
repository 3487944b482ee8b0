"""Who changed what, newest first."""

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from dispatcher.ledger.engine import ask_core
from dispatcher.ledger.tables import audit
from dispatcher.ports.directory import AuditEntry


class SqlAudit:
    """:class:`dispatcher.ports.directory.Audit` on PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def record(self, app: str, entry: AuditEntry) -> None:
        """See the port."""

        async def work(connection: AsyncConnection) -> None:
            await note(connection, app, entry)

        await ask_core(self._engine, work)

    async def entries(self, app: str, *, before: int | None, limit: int) -> list[tuple[int, AuditEntry]]:
        """Newest first, each with its number; *before* takes such a number. Index audit_of_app."""
        query = select(audit).where(audit.c.app == app).order_by(audit.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.id < before)

        async def work(connection: AsyncConnection) -> list[tuple[int, AuditEntry]]:
            return [
                (
                    row.id,
                    AuditEntry(at=row.at, who=row.who, action=row.action, subject=row.subject, detail=row.detail),
                )
                for row in await connection.execute(query)
            ]

        return await ask_core(self._engine, work)


async def note(connection: AsyncConnection, app: str, entry: AuditEntry) -> None:
    """Writes *entry* in the caller's transaction: a change without its entry does not happen."""
    await connection.execute(
        insert(audit).values(
            app=app,
            at=entry.at,
            who=entry.who,
            action=entry.action,
            subject=entry.subject,
            detail=dict(entry.detail),
        )
    )
