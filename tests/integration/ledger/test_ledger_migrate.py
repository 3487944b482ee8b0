"""The schema: migrated by any number of processes at once, and the tables in code are those in the ledger."""

import asyncio
import re
import sys

import pytest
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.embedded.servers import Servers
from dispatcher.ledger.engine import Connection, ask_together, ledger_address, open_ledger
from dispatcher.ledger.epochs import SqlEpochs
from dispatcher.ledger.migrate import migrate
from dispatcher.ledger.tables import metadata
from dispatcher.ledger.upkeep import upkeep

NOW = 1_800_000_000_000
_PROGRAM = "import asyncio, sys; from dispatcher.ledger.migrate import migrate; asyncio.run(migrate(sys.argv[1]))"


async def test_several_processes_migrate_an_empty_ledger_at_once(servers: Servers) -> None:
    servers.ledger.query("CREATE DATABASE to_migrate")
    try:
        url = servers.ledger.url("to_migrate")
        processes = [await asyncio.create_subprocess_exec(sys.executable, "-c", _PROGRAM, url) for _ in range(2)]
        assert [await process.wait() for process in processes] == [0, 0]
        await migrate(url, clock=lambda: NOW)
        engine = open_ledger(url)
        assert (await upkeep(engine, NOW)).made == []
        await engine.dispose()
    finally:
        servers.ledger.query("DROP DATABASE to_migrate WITH (FORCE)")


async def test_the_tables_in_code_are_those_in_the_ledger(engine: AsyncEngine) -> None:
    def columns(connection: SyncConnection) -> dict[str, set[tuple[str, bool]]]:
        seen = inspect(connection)
        return {
            name: {(column["name"], column["nullable"]) for column in seen.get_columns(name)}
            for name in metadata.tables
        }

    async with engine.connect() as connection:
        there = await connection.run_sync(columns)
    assert there == {
        name: {(column.name, bool(column.nullable)) for column in table.columns}
        for name, table in metadata.tables.items()
    }


_ROWS = """
INSERT INTO message_keys SELECT 'a' || i % 3, 'm' || i, '', i, 0, 1, i, i FROM generate_series(1, 3000) AS i;
INSERT INTO homes SELECT 20000, i, 'a' || i % 3, 'urgent', 1, i, i, i % 100 <> 0, CASE WHEN i % 100 <> 0 THEN i END
FROM generate_series(1, 3000) AS i;
INSERT INTO deliveries SELECT 20000, i, 0, 'a' || i % 3, 'u' || i % 500, 'm' || i, 'chat', i, 4, 1, 1, i, i, i,
    NULL, NULL, NULL, NULL, '', '' FROM generate_series(1, 3000) AS i;
INSERT INTO users (app, user_id, changed_at) SELECT 'a' || i % 3, 'u' || i, 1 FROM generate_series(1, 3000) AS i;
INSERT INTO devices (app, device_id, user_id, epoch, platform, last_seen)
SELECT 'a' || i % 3, 'd' || i, 'u' || i, 1, 'ios', 1 FROM generate_series(1, 3000) AS i;
INSERT INTO apps VALUES ('a0', '', '', '{}', 1);
INSERT INTO api_keys SELECT 'k' || i, 'a0', '', '{}', '', 1 FROM generate_series(1, 3000) AS i;
INSERT INTO sms_reservations (app, message_id, user_id, attempt_id, number_hash, prefix, segments, state, reserved_at,
    changed_at)
SELECT 'a' || i % 3, 'm' || i, 'u' || i % 500, 't' || i, ('n' || i % 500)::bytea, 'p' || i % 500, 1, 'sent', i, i
FROM generate_series(1, 3000) AS i;
INSERT INTO audit (app, at, who, action, subject, detail)
SELECT 'a' || i % 3, i, '', '', '', '{}' FROM generate_series(1, 3000) AS i;
ANALYZE;
"""


@pytest.fixture(scope="module")
def filled_ledger_url(module_ledger_url: str, servers: Servers) -> str:
    """A ledger with a few thousand rows a table, as the planner sees them."""
    database = str(ledger_address(module_ledger_url).database)
    servers.ledger.query(*(part for part in _ROWS.split(";") if part.strip()), database=database)
    return module_ledger_url


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("message_keys WHERE app = 'a1' AND message_id = 'm1'", "message_keys_[0-7]_pkey"),
        ("message_keys_3 WHERE expires_at < 9", "message_keys_3_expires_at_idx"),
        ("deliveries WHERE day = 20000 AND home = 1 AND place = 0", "deliveries_default_pkey"),
        ("deliveries WHERE app = 'a1' AND user_id = 'u1' AND seq < 9 ORDER BY seq DESC LIMIT 5", "_user_id_seq_idx"),
        ("deliveries WHERE app = 'a1' AND message_id = 'm1'", "deliveries_default_app_message_id_idx"),
        ("deliveries WHERE app = 'a1' AND settled_at > 2990", "deliveries_default_app_settled_at_idx"),
        ("homes WHERE NOT admitted AND archived_at IS NULL AND due < 9 ORDER BY due LIMIT 5", "homes_default_due_idx"),
        ("homes WHERE archived_at IS NULL AND home > 9 ORDER BY home LIMIT 5", "homes_default_home_idx"),
        ("users WHERE app = 'a1' AND user_id = ANY('{u1,u2}')", "users_pkey"),
        ("devices WHERE app = 'a1' AND user_id = 'u1'", "devices_of_user"),
        ("devices WHERE app = 'a1' AND device_id = ANY('{d1,d2}')", "devices_pkey"),
        ("api_keys WHERE key_id = 'k1'", "api_keys_pkey"),
        ("sms_reservations WHERE app = 'a1' AND attempt_id = 't1'", "sms_reservations_attempt"),
        ("sms_reservations WHERE app = 'a1' AND user_id = 'u1' AND reserved_at > 5", "sms_reservations_user"),
        ("sms_reservations WHERE app = 'a1' AND number_hash = 'n1' AND reserved_at > 5", "sms_reservations_number"),
        ("sms_reservations WHERE app = 'a1' AND prefix = 'p1' AND reserved_at > 5", "sms_reservations_prefix"),
        ("sms_reservations WHERE app = 'a1' AND reserved_at > 2990", "sms_reservations_budget"),
        ("audit WHERE app = 'a1' AND id < 9 ORDER BY id DESC LIMIT 5", "audit_(of_app|pkey)"),
    ],
)
async def test_every_question_of_the_doors_has_its_index(filled_ledger_url: str, query: str, index: str) -> None:
    async def work(connection: Connection) -> str:
        await connection.execute("SET LOCAL enable_seqscan = off")  # on empty partitions nothing else is cheaper
        return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN SELECT * FROM {query}"))  # noqa: S608

    engine = open_ledger(filled_ledger_url)
    plan = await ask_together(engine, work)
    await engine.dispose()
    assert re.search(index, plan), plan
    assert "Seq Scan" not in plan


async def test_lives_of_the_hot_store_are_numbered_and_one_process_rebuilds(
    engine: AsyncEngine, ledger_url: str
) -> None:
    other = open_ledger(ledger_url)
    epochs, rivals = SqlEpochs(engine), SqlEpochs(other)
    try:
        assert await epochs.current() == 0
        assert sorted(await asyncio.gather(*(door.next() for door in (epochs, rivals) * 4))) == list(range(1, 9))
        assert await rivals.current() == 8
        async with epochs.rebuilding() as mine:
            assert mine
            async with rivals.rebuilding() as theirs:
                assert not theirs
        async with rivals.rebuilding() as theirs:
            assert theirs
    finally:
        await other.dispose()


def test_only_postgresql_is_a_ledger() -> None:
    assert ledger_address("postgresql://u@h/d").drivername == "postgresql+asyncpg"
    with pytest.raises(ValueError, match="PostgreSQL"):
        ledger_address("sqlite:///x")
