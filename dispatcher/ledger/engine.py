"""The ledger's connections under SQLAlchemy: one pool a process, and what counts as a lost one.

Hot statements run on asyncpg directly, one round trip each (:mod:`dispatcher.ledger.driver`); SQLAlchemy keeps the
pool, builds the plainer queries and runs the migrations.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from dispatcher.ledger import driver as plain
from dispatcher.ledger.driver import (
    CONNECT_WITHIN_S,
    SERVER_SETTINGS,
    STATEMENTS_KEPT,
    Connection,
    Unreachable,
    ask,
    ask_together,
    driver,
)

__all__ = [
    "Connection",
    "ask",
    "ask_core",
    "ask_together",
    "driver",
    "is_lost",
    "ledger_address",
    "open_ledger",
]

Result = TypeVar("Result")
_WATCH = "pushpath_watch"


def ledger_address(url: str) -> URL:
    """*url* with the driver this package uses; refuses anything but PostgreSQL with ValueError."""
    address = make_url(url)
    if address.get_backend_name() not in {"postgresql", "postgres"}:
        raise ValueError(f"the ledger is PostgreSQL; {address.drivername} is not")
    return address.set(drivername="postgresql+asyncpg")


def open_ledger(url: str, *, pool_size: int = 8, overflow: int = 8, command_timeout_s: float = 30.0) -> AsyncEngine:
    """The process's pool. Connects on first use; close it with ``await engine.dispose()`` on the same event loop.

    A connection that the server closed while it lay idle is seen on checkout without a round trip; one that breaks in
    use takes all older ones with it. So a restarted PostgreSQL costs nobody an error.
    """
    engine = create_async_engine(
        ledger_address(url),
        pool_size=pool_size,
        max_overflow=overflow,
        pool_timeout=5,
        connect_args={
            "timeout": CONNECT_WITHIN_S,
            "command_timeout": command_timeout_s,
            "statement_cache_size": STATEMENTS_KEPT,
            "prepared_statement_cache_size": STATEMENTS_KEPT,
            "server_settings": SERVER_SETTINGS,
        },
        execution_options={_WATCH: (watch := _Watch())},
    )
    event.listen(engine.sync_engine, "connect", watch.connected)
    event.listen(engine.sync_engine, "checkout", watch.checked_out)
    return engine


class _Watch:
    """Keeps connections that died while they lay idle from being handed out."""

    def __init__(self) -> None:
        self._generation = 0

    def lost(self) -> None:
        """A connection broke in use: what was opened before is not trusted any more."""
        self._generation += 1

    def connected(self, _connection: Any, record: Any) -> None:
        record.info[_WATCH] = self._generation

    def checked_out(self, connection: Any, record: Any, _proxy: Any) -> None:
        """The pool opens another connection in place of one that is refused here."""
        if connection.driver_connection.is_closed() or record.info.get(_WATCH) != self._generation:
            raise DisconnectionError("this connection is from before the ledger went away")


def is_lost(error: BaseException) -> bool:
    """Whether *error* says that the ledger could not be reached, rather than that it refused."""
    if isinstance(error, DBAPIError):
        cause = getattr(error.orig, "__cause__", None)
        return error.connection_invalidated or (cause is not None and plain.is_lost(cause))
    return isinstance(error, PoolTimeout | DisconnectionError) or plain.is_lost(error)


def _collided(error: BaseException) -> bool:
    if isinstance(error, DBAPIError):
        error = getattr(error.orig, "__cause__", None) or error
    return plain.collided(error)


@driver.register(AsyncEngine)
def _pooled(source: AsyncEngine) -> AbstractAsyncContextManager[Connection]:
    return _connection(source)


@asynccontextmanager
async def _connection(engine: AsyncEngine) -> AsyncIterator[Connection]:
    """See :func:`dispatcher.ledger.driver.driver`."""
    try:
        pooled = await engine.raw_connection()  # a quarter of what a SQLAlchemy connection around it would cost
    except (DBAPIError, DisconnectionError, PoolTimeout) as error:
        if is_lost(error):
            raise Unreachable(str(getattr(error, "orig", None) or error)) from error
        raise
    connection: Connection = pooled.driver_connection
    whole = False
    try:
        yield connection
        whole = True
    except Exception as error:
        if is_lost(error):
            engine.get_execution_options()[_WATCH].lost()
            connection.terminate()
        else:
            whole = True
        raise
    finally:
        if whole and not connection.is_in_transaction():
            await greenlet_spawn(pooled.close)
        else:
            await greenlet_spawn(pooled.invalidate)


async def ask_core(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    """Like :func:`ask_together`, for statements built with SQLAlchemy."""

    async def on_core() -> Result:
        async with engine.begin() as connection:
            return await work(connection)

    return await plain.repeat(on_core, is_lost, _collided)
