"""Brings a ledger's schema up to date; safe to run by any number of processes at once."""

import logging
from importlib.resources import as_file, files

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from dispatcher.domain.clock import Clock, system_clock
from dispatcher.ledger.engine import ledger_address
from dispatcher.ledger.locks import lock_key
from dispatcher.ledger.partitions import make_partitions

_LOCK = lock_key("migrate")


async def migrate(ledger_url: str, *, clock: Clock = system_clock) -> None:
    """Runs what is missing and makes the partitions that *clock* calls for.

    One process works, the others wait for it on an advisory lock and find nothing left to do.
    """
    engine = create_async_engine(ledger_address(ledger_url), poolclass=NullPool)
    try:
        async with engine.connect() as guard:
            await guard.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            await guard.commit()  # the lock is the session's; an idle transaction would hold back vacuum
            async with engine.begin() as connection:
                await connection.run_sync(_upgrade)
            async with engine.connect() as connection:
                raw = (await connection.get_raw_connection()).driver_connection
                await make_partitions(raw, clock())
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    with as_file(files("dispatcher.ledger") / "migrations") as scripts:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(scripts))
        logging.getLogger("alembic").setLevel(logging.WARNING)
        command.upgrade(config, "head")
