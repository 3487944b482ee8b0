"""Puts a past into a ledger: day partitions, each filled by COPY, several days at a time."""

import asyncio
import re
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from random import Random

from dispatcher.bench.history import COLUMNS, Figure, Shape, chunks, rollup_lines
from dispatcher.domain.clock import DAY, Millis
from dispatcher.ledger.engine import Connection, ask, ask_together, open_ledger
from dispatcher.ledger.partitions import DAILY, Partition
from dispatcher.ports.operations import Tier
from dispatcher.sealing import Sealer

AT_ONCE = 2
_INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = $1"
_ROLLUPS = ("app", "tier", "at", "kind", "class", "path", "platform", "strategy", "version", "name", "n")


async def fill(ledger_url: str, shape: Shape, secret: bytes) -> None:
    """Everything of *shape*; what the ledger holds afterwards is analysed, as its own housekeeping would."""
    engine = open_ledger(ledger_url, command_timeout_s=300)

    async def people(connection: Connection) -> None:
        await _people(connection, shape, Sealer([secret]))

    async def finish(connection: Connection) -> None:
        await connection.execute("ANALYZE")

    await ask(engine, people)
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(AT_ONCE, mp_context=get_context("spawn")) as pool:
        days = [list(range(1 + lane, shape.days + 1, AT_ONCE)) for lane in range(AT_ONCE)]
        await asyncio.gather(*(loop.run_in_executor(pool, _fill_days, ledger_url, shape, own) for own in days))
    await ask(engine, finish)
    await engine.dispose()


def _fill_days(ledger_url: str, shape: Shape, days: list[int]) -> None:
    """In a process of its own."""
    asyncio.run(_days(ledger_url, shape, days))


async def _days(ledger_url: str, shape: Shape, days: list[int]) -> None:
    engine = open_ledger(ledger_url, command_timeout_s=300)
    try:
        for ago in days:

            async def work(connection: Connection, ago: int = ago) -> None:
                await _one_day(connection, shape, ago)

            await ask_together(engine, work)
    finally:
        await engine.dispose()


async def _one_day(connection: Connection, shape: Shape, ago: int) -> None:
    """One transaction: partitions of that day, filled, indexed, then attached.

    The triggers that count sit on their parents and hear nothing of it; the figures come counted.
    """
    await connection.execute("SET LOCAL maintenance_work_mem = '512MB'")
    figures: Counter[Figure] = Counter()
    partitions = {table: Partition(table=table, day=shape.now // DAY - ago) for table in DAILY}
    for table, partition in partitions.items():
        await connection.execute(f"CREATE TABLE {partition.name} (LIKE {table} INCLUDING DEFAULTS)")
    for chunk in chunks(shape, ago):
        for table, lines in chunk.sources():
            daily = table in DAILY
            await connection.copy_to_table(
                partitions[table].name if daily else table,
                source=lines,
                columns=COLUMNS[table].split(),
                format="text",
                freeze=daily,
            )
        figures.update(chunk.figures)
    for partition in partitions.values():
        await _attach(connection, partition)
    for tier in Tier:
        lines = rollup_lines(figures, tier, shape.now)
        await connection.copy_to_table("rollups", source=lines, columns=_ROLLUPS, format="text")


async def _attach(connection: Connection, partition: Partition) -> None:
    """With the indexes that its parent has; made now, for building one is cheaper than filling it row by row."""
    for name, definition in await connection.fetch(_INDEXES, partition.table):
        own = re.sub(r" INDEX \S+ ON ONLY \S+ ", f" INDEX ON {partition.name} ", definition)
        if name.endswith("_pkey"):
            await connection.execute(f"ALTER TABLE {partition.name} ADD PRIMARY KEY {own[own.rindex('(') :]}")
        else:
            await connection.execute(own)
    day = partition.day
    bounds = f"FOR VALUES FROM ({day}) TO ({day + 1})"
    await connection.execute(f"ALTER TABLE {partition.table} ATTACH PARTITION {partition.name} {bounds}")


async def _people(connection: Connection, shape: Shape, sealer: Sealer) -> None:
    """One phone a user; two of three have a number."""
    dice, at = Random(0), shape.now - shape.days * DAY
    users, devices, tokens = [], [], []
    for number in range(shape.users):
        user, device = f"u{number:07d}", f"u{number:07d}-d"
        phone = number_of(number) if number % 3 else None
        sealed = sealer.seal(phone.encode()) if phone else None
        hashed = sealer.number_hash(phone) if phone else None
        users.append(("im", user, sealed, hashed, "CN" if phone else None, bool(phone), "zh-CN", at))
        devices.append(("im", device, user, 1, ("ios", "android", "harmony")[number % 3], _seen(dice, shape.now)))
        token = f"{number:064x}"
        tokens.append(("im", device, "apns", "production", bytes.fromhex(token), "device", token, "active", at))
    await connection.copy_records_to_table(
        "users",
        records=users,
        columns=("app", "user_id", "phone", "phone_hash", "phone_country", "phone_verified", "locale", "changed_at"),
    )
    await connection.copy_records_to_table(
        "devices", records=devices, columns=("app", "device_id", "user_id", "epoch", "platform", "last_seen")
    )
    await connection.copy_records_to_table(
        "device_tokens",
        records=tokens,
        columns=(
            "app", "device_id", "path", "environment", "value_hash", "kind", "value", "state", "registered_at",
        ),
    )  # fmt: skip


def number_of(user: int) -> str:
    """A user's number."""
    return f"+86138{user:08d}"


def _seen(dice: Random, now: Millis) -> Millis:
    return now - dice.randrange(30 * DAY)
