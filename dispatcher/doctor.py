"""What `pushpath doctor` looks at: servers, the ledger's tables, credentials. Each finding says what to do."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from dispatcher.bootstrap import Stores, open_stores
from dispatcher.domain.paths import Path
from dispatcher.sealing import SealBroken
from dispatcher.settings import Settings
from providers.credentials import BadCredentials, read_credentials

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
    """One finding a vendor path of an app: whether its credentials are there, can be opened and can work."""
    findings = []
    for path in (Path.APNS, Path.FCM, Path.SMS):
        well, said = True, "credentials can be used"
        sealed = await stores.apps.credentials(app_id, path)
        try:
            if sealed is None:
                said = "no credentials: this path is skipped"
            else:
                read_credentials(path, stores.sealer.open(sealed))
        except SealBroken:
            well, said = False, "sealed with another secret_key: set previous_secret_keys"
        except BadCredentials as fault:
            well, said = False, str(fault)
        findings.append(Finding(subject=f"{app_id} {path}", well=well, text=said))
    return findings
