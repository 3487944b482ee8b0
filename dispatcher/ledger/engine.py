"""The ledger's connections: one pool a process, and what counts as a lost one.

Hot statements run on asyncpg directly, one round trip each; SQLAlchemy keeps the pool, builds the plainer queries and
runs the migrations.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from dispatcher.ports.messages import LedgerUnavailable

Result = TypeVar("Result")
Connection = Any  #: an asyncpg.Connection, which ships without types that mypy strict takes

#: Statements kept prepared on each connection; the package has about a hundred.
STATEMENTS_KEPT = 256
_TRIES = 4
_WATCH = "pushpath_watch"

#: The server or the way to it is gone. https://www.postgresql.org/docs/current/errcodes-appendix.html, 08, 53, 57P0x
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    PoolTimeout,
    DisconnectionError,
)
#: Lost to another transaction: the same work may succeed now. A check violation here is a row on its way into the
#: default partition while the real one appeared.
_COLLIDED = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.CheckViolationError,
)


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
            "timeout": 5,
            "command_timeout": command_timeout_s,
            "statement_cache_size": STATEMENTS_KEPT,
            "prepared_statement_cache_size": STATEMENTS_KEPT,
            "server_settings": {"application_name": "pushpath", "jit": "off", "timezone": "UTC"},
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
        return error.connection_invalidated or (cause is not None and is_lost(cause))
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error) or "released" in str(error)
    return isinstance(error, _LOST)


def _collided(error: BaseException) -> bool:
    if isinstance(error, DBAPIError):
        error = getattr(error.orig, "__cause__", None) or error
    return isinstance(error, _COLLIDED)


@asynccontextmanager
async def driver(engine: AsyncEngine) -> AsyncIterator[Connection]:
    """A pooled asyncpg connection, one implicit transaction a statement.

    Where the caller is cancelled the statement is cancelled too, and the connection closed: what state it is in is
    not to be known cheaply.
    """
    pooled = await engine.raw_connection()  # a quarter of what a SQLAlchemy connection around it would cost
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


async def ask(engine: AsyncEngine, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Runs *work*, which must be safe to repeat, on a connection.

    Repeats it at once where it lost to another transaction, and once where the connection was lost; raises
    LedgerUnavailable where there is no ledger.
    """

    async def on_driver() -> Result:
        async with driver(engine) as connection:
            return await work(connection)

    return await _repeat(on_driver)


async def ask_together(engine: AsyncEngine, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Like :func:`ask`, in one transaction."""

    async def on_driver() -> Result:
        async with driver(engine) as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                result = await work(connection)
            except Exception:
                if not connection.is_closed():
                    await transaction.rollback()
                raise
            await transaction.commit()
            return result

    return await _repeat(on_driver)


async def ask_core(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    """Like :func:`ask_together`, for statements built with SQLAlchemy."""

    async def on_core() -> Result:
        async with engine.begin() as connection:
            return await work(connection)

    return await _repeat(on_core)


async def _repeat(run: Callable[[], Awaitable[Result]]) -> Result:
    lost = 0
    for last in (False,) * (_TRIES - 1) + (True,):
        try:
            return await run()
        except Exception as error:
            if is_lost(error):
                lost += 1
                if last or lost > 1:
                    raise LedgerUnavailable("the ledger cannot be reached") from error
            elif last or not _collided(error):
                raise
    raise AssertionError("unreachable")
