"""Roll-ups: appended by triggers (see the migration), folded here, read as deltas and folds together."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY, Millis
from dispatcher.domain.delivery import End
from dispatcher.domain.paths import PATH_BY_CODE
from dispatcher.ledger.engine import Connection, ask
from dispatcher.ports.operations import ENDS, By, Figure, Measure, Reached, Tier

#: Deltas folded by one statement.
FOLDED_AT_ONCE = 20_000
#: How long each tier is kept.
KEPT: dict[Tier, Millis] = {Tier.MINUTES: 3 * DAY, Tier.HOURS: 100 * DAY, Tier.DAYS: 800 * DAY}

#: One statement, so one transaction: a delta is in exactly one of the two tables for whoever looks.
_FOLD = """
WITH taken AS (
    DELETE FROM rollup_deltas WHERE ctid = ANY(ARRAY(SELECT ctid FROM rollup_deltas LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING *
), counted AS (SELECT count(*) AS rows FROM taken), folded AS (
    INSERT INTO rollups AS r (app, tier, at, kind, class, path, platform, strategy, version, name, n)
    SELECT app, tier, at - at % width, kind, class, path, platform, strategy, version, name, sum(n)
    FROM taken, (VALUES (0::smallint, 60000), (1::smallint, 3600000), (2::smallint, 86400000)) AS tiers(tier, width)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 HAVING sum(n) <> 0 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
    ON CONFLICT (app, tier, at, kind, class, path, platform, strategy, version, name)
    DO UPDATE SET n = r.n + excluded.n
)
SELECT rows FROM counted
"""
_FORGET = "DELETE FROM rollups WHERE tier = $1 AND at < $2"
_COLUMNS = {
    By.CLASS: ("class",),
    By.PATH: ("path",),
    By.PLATFORM: ("platform",),
    By.STRATEGY: ("strategy", "version"),
    By.TIME: ("at",),
}
#: Deltas have no index; they are few, the upkeep folds them every few seconds.
_DELTAS = """
SELECT at - at % $5 AS at, kind, class, path, platform, strategy, version, name, n FROM rollup_deltas
WHERE app = $1 AND at >= $3 AND at < $4
"""
_CLASSES = """
SELECT DISTINCT class FROM rollups WHERE app = $1 AND tier = 2 AND kind IN (1, 2)
UNION SELECT DISTINCT class FROM rollup_deltas WHERE app = $1 AND kind IN (1, 2)
"""


async def fold(engine: AsyncEngine) -> int:
    """Folds what waits; answers how many deltas. Safe to run anywhere at once."""

    async def work(connection: Connection) -> int:
        return int(await connection.fetchval(_FOLD, FOLDED_AT_ONCE))

    total = 0
    while folded := await ask(engine, work):
        total += folded
        if folded < FOLDED_AT_ONCE:
            break
    return total


async def forget(engine: AsyncEngine, now: Millis) -> None:
    """Drops what is older than its tier is kept."""

    async def work(connection: Connection) -> None:
        for tier, kept in KEPT.items():
            await connection.execute(_FORGET, tier.value, now - kept)

    await ask(engine, work)


async def classes_of(connection: Connection, app: str) -> list[str]:
    """Every class that *app* ever dispatched."""
    return sorted(row["class"] for row in await connection.fetch(_CLASSES, app))


class SqlRollUps:
    """:class:`dispatcher.ports.operations.RollUps` on PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def figures(
        self, app: str, tier: Tier, since: Millis, until: Millis, by: Sequence[By], *, klass: str | None = None
    ) -> list[Figure]:
        """See the port. Primary key of rollups."""
        columns = [column for one in dict.fromkeys(by) for column in _COLUMNS[one]]
        shown = "".join(f", {column}" for column in columns)
        only = "AND class = $6" if klass is not None else ""
        query = f"""
            SELECT kind, name{shown}, sum(n)::bigint AS n FROM (
                SELECT at, kind, class, path, platform, strategy, version, name, n FROM rollups
                WHERE app = $1 AND tier = $2 AND at >= $3 AND at < $4
                UNION ALL {_DELTAS}
            ) AS both_tables WHERE true {only} GROUP BY kind, name{shown} HAVING sum(n) <> 0
        """  # noqa: S608
        arguments = [app, tier.value, since, until, tier.step, *([klass] if klass is not None else [])]

        async def work(connection: Connection) -> list[Figure]:
            return [_figure(columns, *row) for row in await connection.fetch(query, *arguments)]

        return await ask(self._engine, work)


def _figure(columns: Sequence[str], kind: int, name: int, *rest: Any) -> Figure:
    """*rest*: the values of *columns*, then how many."""
    told = dict(zip(columns, rest, strict=False))
    ended = kind == Measure.ENDED
    return Figure(
        measure=_MEASURES[kind],
        name=name % ENDS if ended else name,
        count=rest[-1],
        klass=told.get("class", ""),
        path=PATH_BY_CODE.get(told.get("path", 0)),
        platform=told.get("platform", ""),
        strategy=told.get("strategy", ""),
        version=told.get("version", 0),
        at=told.get("at", 0),
        reached=_reached(name) if ended else Reached.ACCEPTED,
    )


_MEASURES = {measure.value: measure for measure in Measure}


def _reached(name: int) -> Reached:
    """How far; what was confirmed before this was counted was delivered at least."""
    proven = Reached.DELIVERED if name % ENDS == End.CONFIRMED else Reached.ACCEPTED
    return max(Reached(name // ENDS), proven)
