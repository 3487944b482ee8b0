"""A pool of asyncpg connections without SQLAlchemy, for processes that ask the ledger little and must stay small."""

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote

import asyncpg

from dispatcher.ledger.driver import CONNECT_WITHIN_S, SERVER_SETTINGS, STATEMENTS_KEPT, Connection, driver, is_lost

#: A ledger URL as SQLAlchemy reads it: what is not escaped in a password must mean the same to every process.
_URL = re.compile(
    r"(?P<scheme>[\w+]+)://(?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?"
    r"(?:\[(?P<v6>[^/?]+)\]|(?P<host>[^/:?]+))?(?::(?P<port>[^/?]*))?(?:/(?P<database>[^?]*))?(?:\?(?P<query>.*))?\Z"
)
#: What it may say to SQLAlchemy's side of the driver.
_NOT_THE_DRIVERS = ("async_fallback", "prepared_statement_cache_size", "prepared_statement_name_func")


def connect_arguments(url: str) -> dict[str, Any]:
    """What asyncpg is asked for *url*; refuses anything but PostgreSQL with ValueError."""
    parts = _URL.match(url)
    backend = parts["scheme"].partition("+")[0] if parts is not None else "no URL"
    if parts is None or backend not in {"postgresql", "postgres"}:
        raise ValueError(f"the ledger is PostgreSQL; {backend} is not")
    found: dict[str, Any] = {
        "host": parts["v6"] or parts["host"],
        "port": int(parts["port"]) if parts["port"] else None,
        "user": parts["user"] and unquote(parts["user"]),
        "password": parts["password"] and unquote(parts["password"]),
        "database": parts["database"] and unquote(parts["database"]),
    }
    asked = parse_qsl(parts["query"] or "")
    found |= {name: int(value) if name == "port" else value for name, value in asked if name not in _NOT_THE_DRIVERS}
    hosts = [value.partition(":") for name, value in asked if name == "host"]
    if len(hosts) > 1:
        found["host"] = [host for host, _, _ in hosts]
        found["port"] = [int(port) if port else 5432 for _, _, port in hosts]
    elif hosts and hosts[0][2]:
        found["host"], found["port"] = hosts[0][0], int(hosts[0][2])
    return {name: value for name, value in found.items() if value}


class LeanPool:
    """Connects on first use; close it on the same event loop.

    A connection that the server closed while it lay idle is not handed out; one that breaks in use takes all older
    ones with it. So a restarted PostgreSQL costs nobody an error.
    """

    def __init__(self, url: str, *, size: int = 4, command_timeout_s: float = 30.0) -> None:
        self._arguments = connect_arguments(url)
        self._size = size
        self._command_timeout_s = command_timeout_s
        self._pool: Any = None

    async def close(self) -> None:
        """Ends all connections, whatever they do."""
        if self._pool is not None:
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """See :func:`dispatcher.ledger.driver.driver`."""
        if self._pool is None:
            self._pool = asyncpg.create_pool(
                min_size=0,
                max_size=self._size,
                timeout=CONNECT_WITHIN_S,
                command_timeout=self._command_timeout_s,
                statement_cache_size=STATEMENTS_KEPT,
                server_settings=SERVER_SETTINGS,
                reset=_nothing_to_reset,
                **self._arguments,
            )
        await self._pool  # connects nothing yet
        connection: Connection = await self._pool.acquire(timeout=CONNECT_WITHIN_S)
        whole = False
        try:
            yield connection
            whole = True
        except Exception as error:
            if is_lost(error):
                await self._pool.expire_connections()
            else:
                whole = True
            raise
        finally:
            if not whole or connection.is_closed() or connection.is_in_transaction():
                connection.terminate()
            await self._pool.release(connection)


@driver.register(LeanPool)
def _leaned(source: LeanPool) -> AbstractAsyncContextManager[Connection]:
    return source.connection()


async def _nothing_to_reset(_connection: Connection) -> None:
    """Nothing here leaves anything behind on a connection: no session setting, listener or lock."""
