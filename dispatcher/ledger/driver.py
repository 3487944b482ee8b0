"""Statements on asyncpg, whatever keeps the connections: a SQLAlchemy engine or a lean pool. What counts as a lost one.

Nothing here imports SQLAlchemy, which weighs twenty megabytes: a process that only asks plain questions needs none.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import singledispatch
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import asyncpg

from dispatcher.ports.messages import LedgerUnavailable

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from dispatcher.ledger.lean import LeanPool

Result = TypeVar("Result")
Connection = Any  #: an asyncpg.Connection, which ships without types that mypy strict takes
Source: TypeAlias = "AsyncEngine | LeanPool"  #: where connections come from

#: Statements kept prepared on each connection; the package has about a hundred.
STATEMENTS_KEPT = 256
#: What every connection says of itself.
SERVER_SETTINGS = {"application_name": "pushpath", "jit": "off", "timezone": "UTC"}
CONNECT_WITHIN_S = 5.0
_TRIES = 4


class Unreachable(ConnectionError):
    """No connection could be had."""


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
)
#: Lost to another transaction: the same work may succeed now. A check violation here is a row on its way into the
#: default partition while the real one appeared.
_COLLIDED = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.CheckViolationError,
)


def is_lost(error: BaseException) -> bool:
    """Whether asyncpg's *error* says that the ledger could not be reached, rather than that it refused."""
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error) or "released" in str(error)
    return isinstance(error, _LOST)


def collided(error: BaseException) -> bool:
    """Whether asyncpg's *error* says that the same work may succeed now."""
    return isinstance(error, _COLLIDED)


@singledispatch
def driver(source: Any) -> AbstractAsyncContextManager[Connection]:
    """A pooled asyncpg connection, one implicit transaction a statement.

    Where the caller is cancelled the statement is cancelled too, and the connection closed: what state it is in is
    not to be known cheaply. Raises :class:`Unreachable`, or what asyncpg does where there is no connection.
    """
    raise TypeError(f"{type(source).__name__} keeps no connections")


async def ask(source: Source, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Runs *work*, which must be safe to repeat, on a connection.

    Repeats it at once where it lost to another transaction, and once where the connection was lost; raises
    LedgerUnavailable where there is no ledger.
    """

    async def on_driver() -> Result:
        async with driver(source) as connection:
            return await work(connection)

    return await repeat(on_driver)


async def ask_together(source: Source, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Like :func:`ask`, in one transaction."""

    async def on_driver() -> Result:
        async with driver(source) as connection:
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

    return await repeat(on_driver)


async def repeat(
    run: Callable[[], Awaitable[Result]],
    lost: Callable[[BaseException], bool] = is_lost,
    again: Callable[[BaseException], bool] = collided,
) -> Result:
    """Runs *run* as :func:`ask` says, by what *lost* and *again* say of its errors."""
    losses = 0
    for last in (False,) * (_TRIES - 1) + (True,):
        try:
            return await run()
        except Exception as error:
            if lost(error):
                losses += 1
                if last or losses > 1:
                    raise LedgerUnavailable("the ledger cannot be reached") from error
            elif last or not again(error):
                raise
    raise AssertionError("unreachable")
