"""The real door over an in-memory core, asked over ASGI."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx
import pytest

from dispatcher.api.app import create_app
from dispatcher.settings import Settings
from dispatcher.settings_source import load_settings
from tests.unit.api.stores import ALL_SCOPES, SECRET
from tests.unit.api.twin import MemoryCore, is_a_core


def environ(**more: str) -> dict[str, str]:
    return {
        "PUSHPATH_LEDGER_URL": "postgresql+asyncpg://u@h/d",
        "PUSHPATH_HOT_STORE_URL": "redis://h",
        "PUSHPATH_SECRET_KEY": SECRET,
        **more,
    }


@pytest.fixture
def settings() -> Settings:
    return load_settings(None, environ())


@pytest.fixture
def core(settings: Settings) -> MemoryCore:
    core = MemoryCore(settings)
    core.apps.add("all", "im", *ALL_SCOPES)
    for scope in ALL_SCOPES:
        core.apps.add(f"only-{scope}", "im", scope)
    core.apps.add("stranger", "other", *ALL_SCOPES)
    return core


@pytest.fixture
def open_door(core: MemoryCore) -> Callable[..., httpx.AsyncClient]:
    """A door over ASGI, made now: with the core's settings as they are."""

    def made(headers: Mapping[str, str] | None = None, *, client: tuple[str, int] = ("10.0.0.1", 1)) -> Any:
        app: Any = create_app(is_a_core(core))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=client)
        return httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers or {})

    return made


@pytest.fixture
async def client(open_door: Callable[..., httpx.AsyncClient]) -> AsyncIterator[httpx.AsyncClient]:
    """The door, asked by a backend with every scope unless a call says otherwise."""
    async with open_door({"Authorization": "Bearer all"}) as client:
        yield client
