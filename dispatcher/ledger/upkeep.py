"""Upkeep: what keeps the ledger writable tomorrow and no larger than its retention. Run every few minutes."""

from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY, Millis, day_of
from dispatcher.ledger.engine import Connection, ask
from dispatcher.ledger.erase import erase_leftovers
from dispatcher.ledger.locks import try_lock
from dispatcher.ledger.partitions import KEY_PARTITIONS, drop_partitions, make_partitions

#: Rows a statement deletes, so that none holds its locks for long; and statements a run.
BATCH, ROUNDS = 5_000, 200
#: Device tokens live a day at most; an epoch need not be remembered much longer.
FORMER_DEVICES_KEPT = 2 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Days for which things are kept. Messages and homes stay as long as the longer of the two needs them."""

    deliveries: int = 90
    messages: int = 90
    journal: int = 30
    sms: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run did. ``busy``: another process was at it, so nothing."""

    busy: bool = False
    made: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)  #: days past their time whose homes are still open
    deleted: dict[str, int] = field(default_factory=dict)  #: rows by table
    erased: int = 0  #: users whose erasure was repeated


async def upkeep(engine: AsyncEngine, now: Millis, *, retention: Retention | None = None) -> Report:
    """Makes partitions for today and 8 days ahead, drops old ones, deletes old keys; safe to run anywhere at once."""
    times = retention or Retention()
    async with try_lock(engine, "upkeep") as mine:
        if not mine:
            return Report(busy=True)

        async def work(connection: Connection) -> Report:
            today = day_of(now)
            made = await make_partitions(connection, now)
            before = {
                "homes": today - max(times.messages, times.deliveries),
                "messages": today - times.messages,
                "deliveries": today - times.deliveries,
                "journal": today - times.journal,
            }
            erased = await erase_leftovers(connection, now)
            dropped, kept = await drop_partitions(connection, before)
            deleted = {}
            for table, column, until in _ages(now, times):
                deleted[table] = await _delete(connection, table, column, until)
            return Report(made=made, dropped=dropped, kept=kept, deleted=deleted, erased=erased)

        return await ask(engine, work)


def _ages(now: Millis, times: Retention) -> list[tuple[str, str, Millis]]:
    """(table, column of its age, last moment to delete); each column has its index, named ..._by_age."""
    sms = now - times.sms * DAY
    return [
        *((f"message_keys_{part}", "expires_at", now) for part in range(KEY_PARTITIONS)),
        ("sms_reservations", "reserved_at", sms),
        ("sms_joined", "at", sms),
        ("former_devices", "at", now - FORMER_DEVICES_KEPT),
    ]


async def _delete(connection: Connection, table: str, column: str, until: Millis) -> int:
    """Rows deleted: in batches, by their place in the table, around those that somebody else holds."""
    statement = f"""
        DELETE FROM {table} WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM {table} WHERE {column} <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED))
    """  # noqa: S608
    total = 0
    for _ in range(ROUNDS):
        status = await connection.execute(statement, until, BATCH)
        count = int(status.rpartition(" ")[2])
        total += count
        if count < BATCH:
            break
    return total
