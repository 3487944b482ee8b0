"""What the versions of a strategy came to, side by side, from settled deliveries."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import SECOND, Millis, day_of
from dispatcher.domain.delivery import End
from dispatcher.domain.paths import PATH_BY_CODE
from dispatcher.ledger.engine import Connection, ask

#: A home is born up to 30 days before its deliveries are settled (scheduled ones), and their ttl adds up to 30 more.
_DAYS_BEFORE = 60

#: Index deliveries_settled, in the days of the window only.
_ENDS = """
SELECT version, ended, confirmed_by, count(*) AS deliveries FROM deliveries
WHERE app = $1 AND strategy = $2 AND settled_at >= $3 AND settled_at < $4 AND day BETWEEN $5 AND $6
GROUP BY version, ended, confirmed_by
"""
_TIMES = """
SELECT version, percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY confirmed_at - accepted_at) AS took
FROM deliveries
WHERE app = $1 AND strategy = $2 AND settled_at >= $3 AND settled_at < $4 AND day BETWEEN $5 AND $6
    AND confirmed_at IS NOT NULL
GROUP BY version
"""
#: Primary key of sms_reservations behind it.
_SMS = """
SELECT d.version, count(*) AS messages, sum(s.segments)::bigint AS segments
FROM deliveries d JOIN sms_reservations s USING (app, message_id, user_id)
WHERE d.app = $1 AND d.strategy = $2 AND d.settled_at >= $3 AND d.settled_at < $4 AND d.day BETWEEN $5 AND $6
    AND s.state <> 'released'
GROUP BY d.version
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFigures:
    """Settled deliveries of one version in a window. *time_to_proof_s*: p50 and p95, from acceptance."""

    deliveries: int = 0
    states: Mapping[str, int] = field(default_factory=dict)
    confirmed_by: Mapping[str, int] = field(default_factory=dict)
    sms_messages: int = 0
    sms_segments: int = 0
    time_to_proof_s: tuple[float, float] | None = None


async def figures_of(
    engine: AsyncEngine, app: str, strategy: str, since: Millis, until: Millis
) -> dict[int, VersionFigures]:
    """By version; those without a settled delivery in the window are absent."""
    window = (app, strategy, since, until, day_of(since) - _DAYS_BEFORE, day_of(until))

    async def work(connection: Connection) -> dict[int, VersionFigures]:
        states: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        paths: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for version, ended, confirmed_by, count in await connection.fetch(_ENDS, *window):
            states[version][End(ended).name.lower()] += count
            path = PATH_BY_CODE.get(confirmed_by)
            if path is not None:
                paths[version][path.value] += count
        times = {row["version"]: row["took"] for row in await connection.fetch(_TIMES, *window)}
        sms = {row["version"]: (row["messages"], row["segments"]) for row in await connection.fetch(_SMS, *window)}
        return {
            version: VersionFigures(
                deliveries=sum(found.values()),
                states=dict(found),
                confirmed_by=dict(paths[version]),
                sms_messages=sms.get(version, (0, 0))[0],
                sms_segments=sms.get(version, (0, 0))[1],
                time_to_proof_s=(times[version][0] / SECOND, times[version][1] / SECOND) if version in times else None,
            )
            for version, found in states.items()
        }

    return await ask(engine, work)
