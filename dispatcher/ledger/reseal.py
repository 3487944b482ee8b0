"""Everything sealed in the ledger, a page at a time: to seal it again with the key in use, or to see what is left.

Each page is its own transaction and skips what is done, so a pass that ends early is simply begun again. What was
changed meanwhile was sealed with the key in use anyway: nothing is written over it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import Millis
from dispatcher.ledger.engine import Connection, ask

BATCH = 1_000
#: Answers a value under the key in use, or None where it is already; raises ValueError where no key opens it. The text
#: is the app for what is sealed for one app.
Reseal = Callable[[bytes, str], bytes | None]

_DONE = "SELECT true FROM resealed WHERE key_tag = $1"
_NOTE = "INSERT INTO resealed (key_tag, at) VALUES ($1, $2) ON CONFLICT (key_tag) DO UPDATE SET at = excluded.at"
_CREDENTIALS = "SELECT app_id AS one, path AS two, sealed, '' AS about FROM credentials ORDER BY 1, 2"
_SEAL_CREDENTIALS = "UPDATE credentials SET sealed = $4 WHERE app_id = $1 AND path = $2 AND sealed = $3"
_WEBHOOKS = "SELECT app AS one, webhook_id AS two, secret AS sealed, app AS about FROM webhooks ORDER BY 1, 2"
_SEAL_WEBHOOK = "UPDATE webhooks SET secret = $4 WHERE app = $1 AND webhook_id = $2 AND secret = $3"
#: Primary key of users, a page at a time.
_NUMBERS = """
SELECT app AS one, user_id AS two, phone AS sealed, '' AS about FROM users
WHERE (app, user_id) > ($1, $2) AND phone IS NOT NULL ORDER BY app, user_id LIMIT $3
"""
_SEAL_NUMBER = """
UPDATE users SET phone = $4, rev = nextval('profile_revisions') WHERE app = $1 AND user_id = $2 AND phone = $3
"""

Place = tuple[str, str]
START: Place = ("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one page came to. *earlier*: rows that were not under the key in use; *broken*: which no key opens."""

    read: int = 0
    earlier: Sequence[Place] = field(default=())
    broken: Sequence[Place] = field(default=())
    next: Place | None = None


async def is_done(engine: AsyncEngine, key_tag: bytes) -> bool:
    """Whether a pass for the key that *key_tag* stands for ended before."""

    async def work(connection: Connection) -> bool:
        return bool(await connection.fetchval(_DONE, key_tag))

    return await ask(engine, work)


async def note_done(engine: AsyncEngine, key_tag: bytes, now: Millis) -> None:
    """A pass ended."""

    async def work(connection: Connection) -> None:
        await connection.execute(_NOTE, key_tag, now)

    await ask(engine, work)


async def credentials(engine: AsyncEngine, again: Reseal, *, write: bool) -> Page:
    """All of them; rows are named by app and path."""
    return await _turn(engine, again, _CREDENTIALS, _SEAL_CREDENTIALS if write else None)


async def webhooks(engine: AsyncEngine, again: Reseal, *, write: bool) -> Page:
    """The secrets of all of them; rows are named by app and webhook."""
    return await _turn(engine, again, _WEBHOOKS, _SEAL_WEBHOOK if write else None)


async def numbers(engine: AsyncEngine, again: Reseal, place: Place, *, write: bool) -> Page:
    """Phone numbers after *place*; rows are named by app and user. They get a new revision, hot copies are the caller's
    to renew."""
    return await _turn(engine, again, _NUMBERS, _SEAL_NUMBER if write else None, *place, BATCH)


async def _turn(engine: AsyncEngine, again: Reseal, read: str, seal: str | None, *values: object) -> Page:
    async def work(connection: Connection) -> Page:
        rows: list[Any] = await connection.fetch(read, *values)
        earlier: list[Place] = []
        broken: list[Place] = []
        for row in rows:
            where = (row["one"], row["two"])
            try:
                fresh = again(row["sealed"], row["about"])
            except ValueError:
                broken.append(where)
                continue
            if fresh is not None:
                earlier.append(where)
                if seal is not None:
                    await connection.execute(seal, *where, row["sealed"], fresh)
        following = (rows[-1]["one"], rows[-1]["two"]) if values and len(rows) == BATCH else None
        return Page(read=len(rows), earlier=earlier, broken=broken, next=following)

    return await ask(engine, work)
