"""A PostgreSQL that goes away and comes back."""

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.ids import make_home
from dispatcher.embedded.servers import Servers
from dispatcher.ledger.apps import SqlApps
from dispatcher.ledger.engine import Connection, ask, ask_together, driver, open_ledger
from dispatcher.ledger.locks import try_lock
from dispatcher.ledger.messages import SqlMessages
from dispatcher.ledger.migrate import migrate
from dispatcher.ports.directory import App
from dispatcher.ports.messages import Acceptance, LedgerUnavailable, Submission

NOW = 1_800_000_000_000


async def test_a_restart_costs_no_error_and_an_outage_a_named_one(
    own_servers: Servers, submit: Callable[..., Submission]
) -> None:
    url = own_servers.ledger_url
    await migrate(url)
    engine = open_ledger(url)
    messages, apps = SqlMessages(engine), SqlApps(engine)
    try:
        await asyncio.gather(*(messages.find("im", f"{number}") for number in range(5)))
        await asyncio.to_thread(own_servers.kill_ledger)
        with pytest.raises(LedgerUnavailable):
            await messages.accept([submit(make_home(NOW, 1, 1))], NOW)
        with pytest.raises(LedgerUnavailable):
            await apps.apps()
        with pytest.raises(LedgerUnavailable):
            async with try_lock(engine, "rebuild"):
                pass
        own_servers.restart_ledger()
        results = await asyncio.gather(
            *(messages.accept([submit(make_home(NOW, number, 1))], NOW) for number in range(5)),
            apps.create_app(App(app_id="im", name="IM"), NOW, strategy=""),
        )
        assert all(isinstance(one[0], Acceptance) for one in results[:5] if one is not None)
        own_servers.restart_ledger()  # while connections lie idle
        assert len(await messages.unadmitted(NOW + 1, due_before=NOW + 1, limit=10)) == 5
        own_servers.restart_ledger()
        assert [app.app_id for app in await apps.apps()] == ["im"]
    finally:
        await engine.dispose()


async def test_a_connection_ended_by_the_server_is_replaced_without_an_error(engine: AsyncEngine) -> None:
    messages = SqlMessages(engine)

    async def work(connection: Connection) -> list[int]:
        own = await connection.fetchval("SELECT pg_backend_pid()")
        rows = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1", own
        )
        for (pid,) in rows:
            await connection.execute("SELECT pg_terminate_backend($1)", pid)
        return [row[0] for row in rows]

    await asyncio.gather(*(messages.find("im", f"{number}") for number in range(6)))
    ended = await ask(engine, work)
    assert ended
    await asyncio.gather(*(messages.find("im", f"{number}") for number in range(8)))


async def test_a_cancelled_transaction_leaves_nothing_behind(engine: AsyncEngine) -> None:
    started = asyncio.Event()

    async def work(connection: Connection) -> None:
        await connection.execute("UPDATE hot_epoch SET epoch = 99")
        started.set()
        await connection.execute("SELECT pg_sleep(30)")

    task = asyncio.create_task(ask_together(engine, work))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with driver(engine) as connection:
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SELECT epoch FROM hot_epoch") == 0


async def test_a_lock_ends_with_its_block_also_by_an_error(engine: AsyncEngine) -> None:
    with pytest.raises(OSError, match="theirs"):
        async with try_lock(engine, "name"):
            raise OSError("theirs")
    async with try_lock(engine, "name") as mine:
        assert mine
