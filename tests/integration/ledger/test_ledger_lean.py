"""The ledger as a gateway asks it: without SQLAlchemy, through a PostgreSQL that goes away and comes back."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.device import Profile
from dispatcher.embedded.servers import Servers
from dispatcher.ledger.apps import SqlApps
from dispatcher.ledger.blocks import SqlBlocks
from dispatcher.ledger.directory import SqlDirectory
from dispatcher.ledger.driver import Connection, ask, ask_together, driver
from dispatcher.ledger.kept_out import SqlKeptOut
from dispatcher.ledger.lean import LeanPool
from dispatcher.ledger.migrate import migrate
from dispatcher.ports.directory import App
from dispatcher.ports.messages import LedgerUnavailable
from dispatcher.ports.operations import Block

NOW = 1_800_000_000_000


@pytest.fixture
async def pool(ledger_url: str) -> AsyncIterator[LeanPool]:
    opened = LeanPool(ledger_url, size=3)
    yield opened
    await opened.close()


async def test_a_restart_costs_no_error_and_an_outage_a_named_one(own_servers: Servers) -> None:
    await migrate(own_servers.ledger_url)
    pool = LeanPool(own_servers.ledger_url, size=4)
    directory = SqlDirectory(pool)

    async def asked() -> list[dict[str, Profile]]:
        return list(await asyncio.gather(*(directory.profiles("im", [f"u{number}"]) for number in range(8))))

    try:
        assert await asked() == [{}] * 8
        own_servers.restart_ledger()  # while connections lie idle
        assert await asked() == [{}] * 8
        await asyncio.to_thread(own_servers.kill_ledger)
        with pytest.raises(LedgerUnavailable):
            await directory.profiles("im", ["u1"])
        own_servers.restart_ledger()
        assert await asked() == [{}] * 8
    finally:
        await pool.close()


async def test_connections_that_the_server_ended_are_replaced_without_an_error(pool: LeanPool) -> None:
    async def nap(connection: Connection) -> int:
        await connection.execute("SELECT pg_sleep(0.05)")
        return int(await connection.fetchval("SELECT pg_backend_pid()"))

    async def end_others(connection: Connection) -> int:
        ended = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return len(ended)

    before = set(await asyncio.gather(*(ask(pool, nap) for _ in range(3))))
    assert len(before) == 3
    assert await ask(pool, end_others) == 2
    assert len(set(await asyncio.gather(*(ask(pool, nap) for _ in range(3)))) - before) == 2


async def test_a_cancelled_transaction_leaves_nothing_behind(pool: LeanPool) -> None:
    started = asyncio.Event()

    async def work(connection: Connection) -> None:
        await connection.execute("UPDATE hot_epoch SET epoch = 99")
        started.set()
        await connection.execute("SELECT pg_sleep(30)")

    task = asyncio.create_task(ask_together(pool, work))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with driver(pool) as connection:
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SELECT epoch FROM hot_epoch") == 0


async def test_a_refused_statement_raises_and_keeps_its_connection(pool: LeanPool) -> None:
    async def pid(connection: Connection) -> int:
        return int(await connection.fetchval("SELECT pg_backend_pid()"))

    async def wrong(connection: Connection) -> None:
        await connection.execute("SELECT 1 / 0")

    before = await ask(pool, pid)
    with pytest.raises(Exception, match="division by zero"):
        await ask_together(pool, wrong)
    assert await ask(pool, pid) == before


async def test_an_apps_blocks_are_read_in_one_question(engine: AsyncEngine, pool: LeanPool) -> None:
    kept_out = SqlKeptOut(pool)
    assert await kept_out.blocks("im") is None
    await SqlApps(engine).create_app(App(app_id="im", name="IM"), NOW, strategy="")
    assert await kept_out.blocks("im") == []
    block = Block(kind="user", value="mallory", reason="spam", until=NOW + 1, by="ops", at=NOW)
    await SqlBlocks(engine).put_block("im", block)
    assert await kept_out.blocks("im") == [block]


def test_what_keeps_no_connections_is_named() -> None:
    with pytest.raises(TypeError, match="int keeps no connections"):
        driver(3)
