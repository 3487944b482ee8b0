"""Who may do what: keys, scopes, device tokens, rate limits, and what strangers see."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from dispatcher.domain.device import Platform
from dispatcher.domain.device_token import DeviceIdentity, DeviceTokens

SCOPES = ("send", "users", "devices", "read", "strategies", "admin")

#: Every route behind a login, and which scopes open it.
ROUTES = [
    ("POST", "/v1/messages", {"send"}),
    ("POST", "/v1/messages/batch", {"send"}),
    ("GET", "/v1/messages/a", {"send", "read"}),
    ("GET", "/v1/messages/a/timeline", {"send", "read"}),
    ("POST", "/v1/messages/a/recall", {"send"}),
    ("PUT", "/v1/users/li", {"users"}),
    ("GET", "/v1/users/li", {"users"}),
    ("DELETE", "/v1/users/li", {"users"}),
    ("POST", "/v1/device-tokens", {"devices"}),
    ("PUT", "/v1/devices/d-1", {"devices"}),
    ("GET", "/v1/devices/d-1", {"devices"}),
    ("DELETE", "/v1/devices/d-1", {"devices"}),
    ("GET", "/v1/inbox", {"read"}),
    ("POST", "/v1/receipts", {"devices"}),
    ("GET", "/v1/strategies", {"strategies"}),
    ("GET", "/v1/strategies/default", {"strategies"}),
    ("GET", "/v1/strategies/default/draft", {"strategies"}),
    ("PUT", "/v1/strategies/default/draft", {"strategies"}),
    ("POST", "/v1/strategies/validate", {"strategies"}),
    ("POST", "/v1/strategies/default/publish", {"strategies"}),
    ("GET", "/v1/strategies/default/versions", {"strategies"}),
    ("GET", "/v1/strategies/default/versions/1", {"strategies"}),
    ("GET", "/v1/facts", {"strategies"}),
    ("GET", "/v1/audit", {"strategies", "admin"}),
    ("GET", "/v1/books", {"read"}),
    ("GET", "/metrics", {"read"}),
]


@pytest.mark.parametrize(
    ("method", "path", "scopes"), ROUTES, ids=lambda value: value if isinstance(value, str) else "+".join(sorted(value))
)
async def test_a_route_opens_to_its_scopes_and_no_others(
    client: httpx.AsyncClient, method: str, path: str, scopes: set[str]
) -> None:
    for scope in SCOPES:
        answer = await client.request(method, path, headers={"Authorization": f"Bearer only-{scope}"})
        if scope in scopes:
            assert answer.status_code not in {401, 403, 500}, (scope, answer.text)
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope"), scope


@pytest.mark.parametrize(
    ("method", "path", "scopes"), ROUTES, ids=lambda value: value if isinstance(value, str) else "+".join(sorted(value))
)
async def test_nobody_gets_in_without_a_key(
    client: httpx.AsyncClient, method: str, path: str, scopes: set[str]
) -> None:
    answer = await client.request(method, path, headers={"Authorization": ""})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "all",
        "Basic YWxsOg==",
        "Bearer",
        "Bearer ",
        "Bearer nobody-has-this-key",
        "Bearer a.b.c",
        "Bearer " + "x" * 5_000,
    ],
)
async def test_a_bearer_text_that_is_none_of_ours_is_401(client: httpx.AsyncClient, header: str) -> None:
    answer = await client.get("/v1/books", headers={"Authorization": header})
    assert answer.status_code == 401
    assert "nobody-has" not in answer.text


async def test_a_bearer_text_of_strange_bytes_is_401(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/books", headers=[(b"Authorization", b"Bearer \xff\xfe")])
    assert answer.status_code == 401


async def test_open_addresses_need_no_key(client: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert (await client.get(path, headers={"Authorization": ""})).status_code == 200


async def test_a_revoked_key_is_out_after_one_second(client: httpx.AsyncClient, core: Any) -> None:
    assert (await client.get("/v1/books")).status_code == 200
    del core.apps.secrets["all"]
    core.now += 999
    assert (await client.get("/v1/books")).status_code == 200
    core.now += 1
    assert (await client.get("/v1/books")).status_code == 401


async def test_a_key_is_read_once_a_second_also_by_fifty_at_once(client: httpx.AsyncClient, core: Any) -> None:
    await asyncio.gather(*(client.get("/v1/books") for _ in range(50)))
    assert core.apps.asked == 1


async def test_a_store_that_is_away_is_503_with_retry_after(client: httpx.AsyncClient, core: Any) -> None:
    core.apps.away = True
    answer = await client.get("/v1/books")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["retry"] is True
    core.apps.away = False
    assert (await client.get("/v1/books")).status_code == 200


async def test_a_fault_of_ours_is_500_without_its_text(client: httpx.AsyncClient, core: Any) -> None:
    core.break_with = RuntimeError("secret detail")
    body = {"message_id": "a", "to": {"user_ids": ["li"]}, "data": {}}
    answer = await client.post("/v1/messages", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "secret detail" not in answer.text


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_device_token_reaches_only_what_phones_may(client: httpx.AsyncClient, core: Any) -> None:
    phone = bearer(core.phone())
    assert (await client.get("/v1/inbox", headers=phone)).status_code == 200
    assert (await client.post("/v1/receipts", json={"receipts": []}, headers=phone)).status_code == 200
    for method, path in (("POST", "/v1/messages"), ("GET", "/v1/books"), ("POST", "/v1/device-tokens")):
        answer = await client.request(method, path, headers=phone)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_an_expired_device_token_is_401_and_says_so(client: httpx.AsyncClient, core: Any) -> None:
    phone = bearer(core.phone(ttl=10_000))
    core.now += 10_000
    answer = await client.get("/v1/inbox", headers=phone)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


async def test_a_forged_device_token_is_401(client: httpx.AsyncClient, core: Any) -> None:
    token = core.phone()
    head, payload, signature = token.split(".")
    other = DeviceTokens(b"another secret of thirty-two bytes at least").mint(
        DeviceIdentity(app="im", user_id="li", device_id="d-1", epoch=1, expires_at=core.now + 60_000), core.now
    )
    none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"
    for forged in (
        other,
        f"{none}.{payload}.",
        f"{head}.{payload}.{'A' * len(signature)}",
        f"{head}.{payload}x.{signature}",
    ):
        assert (await client.get("/v1/inbox", headers=bearer(forged))).status_code == 401


async def test_a_moved_devices_old_token_is_401(client: httpx.AsyncClient, core: Any) -> None:
    old = core.phone(user_id="li")
    minted = await client.post("/v1/device-tokens", json={"user_id": "wu", "device_id": "d-1"})
    assert minted.status_code == 201
    assert (await client.get("/v1/inbox", headers=bearer(old))).status_code == 401
    assert (await client.get("/v1/inbox", headers=bearer(minted.json()["token"]))).status_code == 200
    ((device_id, binding),) = core.rebindings
    assert (device_id, binding.moved_from, binding.user_id) == ("d-1", "li", "wu")


async def test_a_key_is_limited_and_told_when_to_come_back(open_door: Any, core: Any) -> None:
    core.settings = msgspec.structs.replace(core.settings, rate_per_key=10)
    async with open_door(bearer("all")) as client:
        statuses = [(await client.get("/v1/books")).status_code for _ in range(11)]
        assert statuses == [200] * 10 + [429]
        refused = await client.get("/v1/books")
        assert (refused.json()["code"], refused.headers["retry-after"]) == ("rate_limited", "1")
        assert (await client.get("/v1/books", headers=bearer("only-read"))).status_code == 200
        assert (await client.get("/healthz")).status_code == 200
        core.now += 1_000
        assert (await client.get("/v1/books")).status_code == 200


async def test_an_address_is_limited_before_its_key_is_looked_at(open_door: Any, core: Any) -> None:
    core.settings = msgspec.structs.replace(core.settings, rate_per_address=5)
    async with open_door(bearer("guess")) as client:
        statuses = [(await client.get("/v1/books", headers=bearer(f"guess-{n}"))).status_code for n in range(7)]
    assert statuses == [401] * 5 + [429] * 2


async def test_the_default_limit_lets_2000_a_second_pass_with_few_questions(
    client: httpx.AsyncClient, core: Any
) -> None:
    statuses = {(await client.get("/v1/books")).status_code for _ in range(400)}
    assert statuses == {200}
    assert core.throttle.asked <= 2 * (400 // 40 + 1)


async def test_limits_can_be_switched_off(open_door: Any, core: Any) -> None:
    core.settings = msgspec.structs.replace(core.settings, rate_limits=False, rate_per_key=1, rate_per_address=1)
    async with open_door(bearer("all")) as client:
        assert [(await client.get("/v1/books")).status_code for _ in range(5)] == [200] * 5
    assert core.throttle.asked == 0


async def test_only_a_trusted_proxy_says_for_whom_it_asks(open_door: Any, core: Any) -> None:
    core.settings = msgspec.structs.replace(core.settings, rate_per_address=2, trusted_proxies=("127.0.0.0/8",))
    async with open_door(client=("127.0.0.1", 1)) as client:

        async def ask(forwarded: str) -> int:
            headers = {**bearer("all"), "X-Forwarded-For": forwarded}
            answer: httpx.Response = await client.get("/v1/books", headers=headers)
            return answer.status_code

        assert [await ask("spoofed, 9.9.9.9") for _ in range(3)] == [200, 200, 429]
        assert await ask("9.9.9.9, 8.8.8.8, 127.0.0.7") == 200
        assert [await ask("2001:db8::1"), await ask("2001:db8::2"), await ask("2001:db8::3")] == [200, 200, 429]
    assert ("address:9.9.9.9", core.now // 1_000) in core.throttle.spent


async def test_beyond_the_limit_of_requests_at_once_the_answer_is_503(open_door: Any, core: Any) -> None:
    core.settings = msgspec.structs.replace(core.settings, api_max_in_flight=1)
    async with open_door(bearer(core.phone())) as client:
        parked = asyncio.create_task(client.get("/v1/inbox?wait=5s"))
        await core.parked.wait()
        refused = await client.get("/healthz")
        core.draining.set()
        assert (await parked).status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == "1"


async def test_unknown_addresses_and_methods_are_problems_too(client: httpx.AsyncClient) -> None:
    missing = await client.get("/v1/nothing")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
    wrong = await client.delete("/v1/messages")
    assert (wrong.status_code, wrong.headers["content-type"]) == (405, "application/problem+json")
    assert "POST" in wrong.headers["allow"]


async def test_the_platform_of_a_minted_device_is_not_known_yet(client: httpx.AsyncClient, core: Any) -> None:
    await client.post("/v1/device-tokens", json={"user_id": "li", "device_id": "d-9"})
    assert core.directory.owner["im", "d-9"][1].platform is Platform.NONE
