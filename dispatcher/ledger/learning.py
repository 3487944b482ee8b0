"""Learned histories in the ledger, as opaque bytes; and the operators' word on learning."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY, Millis
from dispatcher.ledger.engine import Connection, ask
from dispatcher.ports.learning import LearningSettings
from strategies.learn import Pin

#: Nine half-lives: what was not taught for so long counts for nothing.
FORGOTTEN_AFTER = 63 * DAY

#: Primary key of learned, for what follows.
_LOAD = "SELECT key, history FROM learned WHERE app = $1 AND key = ANY($2::text[])"
_SEGMENTS = "SELECT key, history FROM learned WHERE app = $1 AND key >= 's:' AND key < 's;'"
_SAVE = """
INSERT INTO learned (app, key, history, changed_at)
SELECT app, key, history, $4 FROM unnest($1::text[], $2::text[], $3::bytea[]) AS at(app, key, history)
ORDER BY app, key
ON CONFLICT (app, key) DO UPDATE SET history = excluded.history, changed_at = excluded.changed_at
"""
_FORGET = "DELETE FROM learned WHERE app = $1 AND key = $2"
_FORGET_OLD = """
DELETE FROM learned WHERE (app, key) IN (SELECT app, key FROM learned WHERE changed_at < $1 LIMIT 5000)
"""
_SWITCH = "SELECT enabled FROM learning_switches WHERE app = $1"
_PINS = "SELECT key, ack_rate, p95_s FROM learning_pins WHERE app = $1"


class SqlLearned:
    """Where histories survive the hot store."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def load(self, app: str, keys: Sequence[str]) -> dict[str, bytes]:
        """Histories by key; those never taught are absent."""
        return await self._read(_LOAD, app, list(keys))

    async def segments(self, app: str) -> dict[str, bytes]:
        """All of an app's segments."""
        return await self._read(_SEGMENTS, app)

    async def save(self, rows: Sequence[tuple[str, str, bytes]], now: Millis) -> None:
        """Writes (app, key, history) rows, and forgets some of the oldest."""

        async def work(connection: Connection) -> None:
            if rows:
                await connection.execute(_SAVE, *map(list, zip(*rows, strict=True)), now)
            await connection.execute(_FORGET_OLD, now - FORGOTTEN_AFTER)

        await ask(self._engine, work)

    async def forget(self, app: str, key: str) -> None:
        """Erases one history."""

        async def work(connection: Connection) -> None:
            await connection.execute(_FORGET, app, key)

        await ask(self._engine, work)

    async def _read(self, statement: str, *values: object) -> dict[str, bytes]:
        async def work(connection: Connection) -> dict[str, bytes]:
            return {row["key"]: row["history"] for row in await connection.fetch(statement, *values)}

        return await ask(self._engine, work)


async def read_settings(engine: AsyncEngine, app: str) -> LearningSettings:
    """Whether the app learns, and what it pinned."""

    async def work(connection: Connection) -> LearningSettings:
        enabled: Any = await connection.fetchval(_SWITCH, app)
        rows = await connection.fetch(_PINS, app)
        pins = {row["key"]: Pin(ack_rate=row["ack_rate"], p95_s=row["p95_s"]) for row in rows}
        return LearningSettings(enabled=enabled is not False, pins=pins)

    return await ask(engine, work)
