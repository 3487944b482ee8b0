"""What `pushpath doctor` looks at: servers, the ledger's tables, credentials. Each finding says what to do."""

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from dispatcher.bootstrap import Stores, open_stores
from dispatcher.credential_check import PATHS, Found, check_of, look_at
from dispatcher.domain.paths import Path
from dispatcher.ports.circuits import PathView
from dispatcher.settings import Settings

WITHIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at."""

    subject: str
    well: bool
    text: str


async def examine(settings: Settings) -> list[Finding]:
    """All findings; never raises for a server that is away."""
    stores = await open_stores(settings)
    try:
        findings = [
            await _look("ledger", settings.ledger_url.masked, _ledger(stores)),
            await _look("hot store", settings.hot_store_url.masked, _hot_store(stores)),
        ]
        if findings[0].well:
            findings += await _credentials(stores)
        return findings
    finally:
        await stores.close()


async def _look(subject: str, where: str, check: Awaitable[str]) -> Finding:
    try:
        said = await asyncio.wait_for(check, WITHIN_S)
    except (OSError, RedisError, DBAPIError, TimeoutError) as error:
        return Finding(
            subject=subject, well=False, text=f"{where} does not answer ({type(error).__name__}): is it running?"
        )
    return Finding(subject=subject, well=not said.startswith("!"), text=said.removeprefix("!"))


async def _ledger(stores: Stores) -> str:
    async with stores.engine.connect() as connection:
        version = (await connection.execute(text("SHOW server_version"))).scalar_one()
        known = (await connection.execute(text("SELECT to_regclass('message_keys')"))).scalar_one()
    if known is None:
        return "!its tables are missing: run pushpath migrate"
    return f"PostgreSQL {version}, tables are there"


async def _hot_store(stores: Stores) -> str:
    server = await stores.hot.client.info("server")
    memory = await stores.hot.client.info("memory")
    name = f"Valkey {server['valkey_version']}" if "valkey_version" in server else f"Redis {server['redis_version']}"
    if memory.get("maxmemory_policy") not in {None, "noeviction"}:
        return f"!{name} evicts ({memory['maxmemory_policy']}): set maxmemory-policy to noeviction"
    return f"{name}, keeps what it is given"


async def _credentials(stores: Stores) -> list[Finding]:
    return [finding for app in await stores.apps.apps() for finding in await credentials_of(stores, app.app_id)]


async def credentials_of(stores: Stores, app_id: str) -> list[Finding]:
    """What :func:`looked_at` found, as findings."""
    return [
        Finding(subject=" ".join(filter(None, (app_id, found.path, found.carrier))), well=found.well, text=found.text)
        for found in await looked_at(stores, app_id)
    ]


async def looked_at(stores: Stores, app_id: str) -> list[Found]:
    """One finding a vendor path of an app, or one for each of several carriers: whether its credentials are there, can
    be opened and can work. What came of it is kept for ``GET /v1/providers`` where the hot store can be reached."""
    found, now = [], stores.clock()
    views: Mapping[Path, PathView] = {}
    with suppress(RedisError, OSError):
        views = await stores.desk.circuits.view(app_id, now)
    for path in PATHS:
        sealed = await stores.apps.credentials(app_id, path)
        here = look_at(path, sealed, stores.sealer, now, views.get(path))
        if sealed is not None:
            with suppress(RedisError, OSError):
                await stores.desk.checks.checked(app_id, path, check_of(here, now))
        found += here
    return found
