"""Pages on another origin: refused without a word unless the settings name them."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import msgspec
import pytest

from dispatcher.settings_source import SettingsError, load_settings

PAGE = "https://app.example.com"
ASKS = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


@pytest.fixture
async def shared(core: Any, open_door: Callable[..., httpx.AsyncClient]) -> AsyncIterator[httpx.AsyncClient]:
    core.settings = msgspec.structs.replace(core.settings, cors_origins=(PAGE + "/",))
    async with open_door() as client:
        yield client


async def test_a_listed_page_may_poll_and_send_receipts(shared: httpx.AsyncClient) -> None:
    asked = await shared.options("/v1/receipts", headers=ASKS)
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == PAGE
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert "POST" in asked.headers["access-control-allow-methods"]
    polled = await shared.get(
        "/v1/inbox", headers={"Origin": PAGE, "Authorization": "Bearer all"}, params={"user_id": "li"}
    )
    assert (polled.status_code, polled.headers["access-control-allow-origin"]) == (200, PAGE)
    assert polled.headers["vary"] == "origin"


async def test_a_page_can_read_its_refusals_too(shared: httpx.AsyncClient) -> None:
    for path in ("/v1/inbox", "/v1/users/li", "/nowhere"):
        refused = await shared.get(path, headers={"Origin": PAGE})
        assert refused.status_code in {401, 404}
        assert refused.headers["access-control-allow-origin"] == PAGE
        assert "retry-after" in refused.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", ["https://evil.example", PAGE + ".evil.example", "null", "http://app.example.com"])
async def test_others_get_no_permission(shared: httpx.AsyncClient, origin: str) -> None:
    asked = await shared.options("/v1/receipts", headers={**ASKS, "Origin": origin})
    called = await shared.get("/healthz", headers={"Origin": origin})
    for answer in (asked, called):
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "origin"
    assert "access-control-allow-methods" not in asked.headers


async def test_nothing_is_said_of_credentials(shared: httpx.AsyncClient) -> None:
    asked = await shared.options("/v1/receipts", headers=ASKS)
    assert "access-control-allow-credentials" not in asked.headers


async def test_a_star_lets_every_page_in(core: Any, open_door: Callable[..., httpx.AsyncClient]) -> None:
    core.settings = msgspec.structs.replace(core.settings, cors_origins=("*",))
    async with open_door() as client:
        answer = await client.get("/healthz", headers={"Origin": "https://any.example"})
        assert answer.headers["access-control-allow-origin"] == "https://any.example"


async def test_off_by_default(client: httpx.AsyncClient) -> None:
    asked = await client.options("/v1/receipts", headers=ASKS)
    called = await client.get("/healthz", headers={"Origin": PAGE})
    assert not [name for name in (*asked.headers, *called.headers) if name.startswith("access-control")]


@pytest.mark.parametrize("origin", ["app.example.com", "https://app.example.com/page", "ftp://x"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    needed = {"ledger_url": "postgresql+asyncpg://p@h/p", "hot_store_url": "redis://h", "secret_key": "s" * 40}
    with pytest.raises(SettingsError, match="cors_origins"):
        load_settings(None, {}, {**needed, "cors_origins": [origin]})
