"""Sealing again what was sealed with an earlier key, so that the earlier one can be dropped."""

from collections.abc import Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import Millis
from dispatcher.ledger.engine import Connection, ask

BATCH = 1_000
#: Answers the value under the newest key, or None where it is already.
Reseal = Callable[[bytes], bytes | None]

_DONE = "SELECT true FROM resealed WHERE key_tag = $1"
_NOTE = "INSERT INTO resealed (key_tag, at) VALUES ($1, $2) ON CONFLICT (key_tag) DO UPDATE SET at = excluded.at"
_CREDENTIALS = "SELECT app_id, path, sealed FROM credentials"
#: What was changed meanwhile was sealed with the newest key anyway.
_SEAL_CREDENTIALS = "UPDATE credentials SET sealed = $4 WHERE app_id = $1 AND path = $2 AND sealed = $3"
#: Primary key of users, a page at a time.
_NUMBERS = """
SELECT app, user_id, phone FROM users WHERE (app, user_id) > ($1, $2) AND phone IS NOT NULL
ORDER BY app, user_id LIMIT $3
"""
_SEAL_NUMBER = """
UPDATE users SET phone = $4, rev = nextval('profile_revisions') WHERE app = $1 AND user_id = $2 AND phone = $3
"""


async def reseal(engine: AsyncEngine, key_tag: bytes, again: Reseal, now: Millis) -> int:
    """Goes once through everything sealed for the key that *key_tag* stands for; how many values were changed.

    Numbers get a new revision, so that hot copies follow as users are read or written next.
    """

    async def done(connection: Connection) -> bool:
        return bool(await connection.fetchval(_DONE, key_tag))

    if await ask(engine, done):
        return 0

    async def of_credentials(connection: Connection) -> int:
        count = 0
        for row in await connection.fetch(_CREDENTIALS):
            fresh = again(row["sealed"])
            if fresh is not None:
                await connection.execute(_SEAL_CREDENTIALS, row["app_id"], row["path"], row["sealed"], fresh)
                count += 1
        return count

    changed = await ask(engine, of_credentials)
    place: tuple[str, str] | None = ("", "")
    while place is not None:
        place, count = await _page(engine, place, again)
        changed += count

    async def note(connection: Connection) -> None:
        await connection.execute(_NOTE, key_tag, now)

    await ask(engine, note)
    return changed


async def _page(engine: AsyncEngine, place: tuple[str, str], again: Reseal) -> tuple[tuple[str, str] | None, int]:
    """One page of numbers: where the next one starts, and how many were sealed again."""

    async def work(connection: Connection) -> tuple[tuple[str, str] | None, int]:
        rows: list[Any] = await connection.fetch(_NUMBERS, *place, BATCH)
        fresh = [(row, again(row["phone"])) for row in rows]
        changes = [(row["app"], row["user_id"], row["phone"], new) for row, new in fresh if new is not None]
        if changes:
            await connection.executemany(_SEAL_NUMBER, changes)
        following = (rows[-1]["app"], rows[-1]["user_id"]) if len(rows) == BATCH else None
        return following, len(changes)

    return await ask(engine, work)
