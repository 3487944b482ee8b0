"""Whom an app keeps out, as gateways ask every second for each app that has a device there."""

from dispatcher.ledger.driver import Connection, Source, ask
from dispatcher.ports.operations import Block

#: Primary keys of apps and blocks; an app without blocks is one row of nothing.
_KEPT_OUT = """
SELECT b.kind, b.value, b.reason, b.until, b.by, b.at FROM apps a LEFT JOIN blocks b ON b.app = a.app_id
WHERE a.app_id = $1 ORDER BY b.kind, b.value
"""


class SqlKeptOut:
    """Block lists in one question."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def blocks(self, app: str) -> list[Block] | None:
        """The app's blocks, lapsed ones too; None where there is no such app."""

        async def work(connection: Connection) -> list[Block] | None:
            rows = await connection.fetch(_KEPT_OUT, app)
            return [Block(**dict(row)) for row in rows if row["kind"] is not None] if rows else None

        return await ask(self._source, work)
