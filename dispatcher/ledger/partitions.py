"""Day partitions: made ahead, filled from the safety net, dropped when their time is over."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from dispatcher.domain.clock import Millis, day_of
from dispatcher.ledger.engine import Connection

#: Tables cut by ``day``, in the order in which they are made and dropped.
DAILY = ("homes", "messages", "deliveries", "journal")
DAYS_AHEAD = 8
#: Hash partitions of message_keys, as the first migration made them.
KEY_PARTITIONS = 8
#: DDL needs a moment alone with its table; where it does not get it, the next upkeep tries again.
_PATIENCE = "SET LOCAL lock_timeout = '2s'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One day of one table."""

    table: str
    day: int

    @property
    def name(self) -> str:
        return f"{self.table}_{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=self.day):%Y%m%d}"


async def present(connection: Connection) -> set[Partition]:
    """Day partitions attached now, the safety nets left out."""
    rows = await connection.fetch(
        """
        SELECT parent.relname AS parent, child.relname AS child
        FROM pg_inherits JOIN pg_class parent ON parent.oid = inhparent JOIN pg_class child ON child.oid = inhrelid
        WHERE parent.relname = ANY($1::text[]) AND parent.relnamespace = current_schema()::regnamespace
          AND child.relname ~ '_[0-9]{8}$'
        """,
        list(DAILY),
    )
    return {Partition(table=row["parent"], day=_day_in(row["child"])) for row in rows}


async def make_partitions(connection: Connection, now: Millis) -> list[str]:
    """Makes what lacks from today to 8 days ahead and for days that wait in a safety net; names of the new ones.

    Each stands alone in its transaction; one that could not get its lock is left to the next call.
    """
    there = await present(connection)
    today = day_of(now)
    wanted = {Partition(table=table, day=today + ahead) for table in DAILY for ahead in range(DAYS_AHEAD + 1)}
    for table in DAILY:
        rows = await connection.fetch(f"SELECT DISTINCT day FROM {table}_default")  # noqa: S608
        wanted |= {Partition(table=table, day=row["day"]) for row in rows}
    lacking = sorted(wanted - there, key=lambda one: (one.day, DAILY.index(one.table)))
    return [partition.name for partition in lacking if await _make(connection, partition)]


async def _make(connection: Connection, partition: Partition) -> bool:
    table, name, day = partition.table, partition.name, partition.day
    try:
        async with connection.transaction():
            await connection.execute(_PATIENCE)
            await connection.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
            # Nothing may enter the safety net between the move and the attachment.
            await connection.execute(f"LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE")
            await connection.execute(
                f"WITH waiting AS (DELETE FROM {table}_default WHERE day = {day} RETURNING *) "  # noqa: S608
                f"INSERT INTO {name} SELECT * FROM waiting"
            )
            await connection.execute(
                f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({day}) TO ({day + 1})"
            )
    except (asyncpg.LockNotAvailableError, asyncpg.DuplicateTableError, asyncpg.DeadlockDetectedError):
        return False
    return True


async def drop_partitions(connection: Connection, before: dict[str, int]) -> tuple[list[str], list[int]]:
    """Drops partitions of days below ``before[table]``; answers (names dropped, days kept for their open homes)."""
    dropped: list[str] = []
    kept: set[int] = set()
    old = [partition for partition in await present(connection) if partition.day < before[partition.table]]
    # A day's homes go last: while one of them is open, everything of that day stays.
    for partition in sorted(old, key=lambda one: (one.day, -DAILY.index(one.table))):
        if await connection.fetchval(
            "SELECT EXISTS (SELECT FROM homes WHERE day = $1 AND archived_at IS NULL)", partition.day
        ):
            kept.add(partition.day)
        elif await _drop(connection, partition):
            dropped.append(partition.name)
    return dropped, sorted(kept)


async def _drop(connection: Connection, partition: Partition) -> bool:
    try:
        async with connection.transaction():
            await connection.execute(_PATIENCE)
            await connection.execute(f"DROP TABLE {partition.name}")
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        return False
    return True


def _day_in(name: str) -> int:
    return (datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days
