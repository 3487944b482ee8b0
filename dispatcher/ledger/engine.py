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

    A connection that the server closed while it lay idle is seen on checkout without a round trip, and the whole pool
    is renewed then: a restarted PostgreSQL costs nobody an error but those it interrupted.
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
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def _refuse_closed(connection: Any, _record: Any, _proxy: Any) -> None:
    if connection.driver_connection.is_closed():
        gone = DisconnectionError("the server closed this connection")
        gone.invalidate_pool = True
        raise gone


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
    """A pooled asyncpg connection, one implicit transaction a statement."""
    pooled = await engine.raw_connection()  # a quarter of what a SQLAlchemy connection around it would cost
    connection: Connection = pooled.driver_connection
    try:
        yield connection
    finally:
        if not connection.is_closed() and connection.is_in_transaction():
            connection.terminate()
        await greenlet_spawn(pooled.close)


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
        async with driver(engine) as connection, connection.transaction():
            return await work(connection)

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
