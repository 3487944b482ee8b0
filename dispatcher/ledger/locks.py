"""Advisory locks: named, held by a session or a transaction, gone with the connection."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import blake2b

from dispatcher.ledger.driver import Connection, Source, driver, is_lost
from dispatcher.ports.messages import LedgerUnavailable


def lock_key(*names: str) -> int:
    """The 64-bit key under which PostgreSQL knows the lock of *names*."""
    digest = blake2b("\0".join(names).encode(), digest_size=8, person=b"pushpath-lock").digest()
    return int.from_bytes(digest, "big", signed=True)


async def hold(connection: Connection, *keys: int) -> None:
    """Waits for *keys*, in one order for everybody, and holds them until the transaction ends."""
    if keys:
        await connection.execute(
            "SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key", sorted(set(keys))
        )


@asynccontextmanager
async def try_lock(engine: Source, name: str) -> AsyncIterator[bool]:
    """True inside where *name* is ours until the block ends, False where another process has it.

    Keeps one pooled connection for as long, and ends with it. Raises LedgerUnavailable on entering.
    """
    key = lock_key("named", name)
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(driver(engine))
            mine = await connection.fetchval("SELECT pg_try_advisory_lock($1)", key)
        except Exception as error:
            if is_lost(error):
                raise LedgerUnavailable("the ledger cannot be reached") from error
            raise
        try:
            yield mine
        finally:
            if mine and not connection.is_closed():
                await connection.execute("SELECT pg_advisory_unlock($1)", key)
