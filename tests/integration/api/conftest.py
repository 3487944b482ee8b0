"""The API as a server on a free port, over real stores."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from dispatcher.api.server import serve_api
from dispatcher.bootstrap import open_stores
from dispatcher.core import AppCore
from dispatcher.domain.clock import system_clock
from dispatcher.ports.directory import App
from dispatcher.settings_source import load_settings
from workers.chores import reconcile_turn

SCOPES = ("send", "users", "devices", "read", "strategies", "admin")


@dataclass(frozen=True, slots=True)
class Serving:
    """A running API: stop it with ``core`` and wait for ``task``."""

    url: str
    core: AppCore
    task: "asyncio.Task[None]"
    key: str
    stranger: str


@pytest.fixture
async def serving(ledger_url: str, hot_store_url: str) -> AsyncIterator[Serving]:
    settings = load_settings(
        None,
        {
            "PUSHPATH_LEDGER_URL": ledger_url,
            "PUSHPATH_HOT_STORE_URL": hot_store_url,
            "PUSHPATH_SECRET_KEY": "integration-tests-have-a-key-of-their-own",
            "PUSHPATH_API_PORT": "0",
        },
    )
    stores = await open_stores(settings)
    core = AppCore(stores)
    keys = []
    for app in ("im", "other"):
        await stores.apps.create_app(App(app_id=app, name=app), system_clock())
        keys.append((await stores.apps.create_key(app, "tests", SCOPES, system_clock()))[1])
    await reconcile_turn(stores)
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve_api(settings, core, started=started.set_result))
    port = await asyncio.wait_for(started, 10)
    try:
        yield Serving(f"http://127.0.0.1:{port}", core, task, *keys)
    finally:
        core.draining.set()
        await asyncio.wait_for(task, 10)
        await core.close()


@pytest.fixture
async def backend(serving: Serving) -> AsyncIterator[httpx.AsyncClient]:
    """An IM backend with every scope."""
    headers = {"Authorization": f"Bearer {serving.key}"}
    async with httpx.AsyncClient(base_url=serving.url, headers=headers, trust_env=False, timeout=15) as client:
        yield client
