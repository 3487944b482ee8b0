"""Operators through the real door: who may do what, and what the audit says of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from dispatcher.passwords import Passwords
from dispatcher.ports.operations import Role

PASSWORD = "correct horse battery"


async def put_operator(serving: Any, login: str, role: Role, *apps: str) -> None:
    hashed = await Passwords().hash(PASSWORD)
    store = serving.core.operations.operators
    await store.put_operator(login, role, apps or None, hashed, serving.core.clock())


@asynccontextmanager
async def signed_in(serving: Any, login: str, app: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Pushpath-App": app} if app else {}
    async with httpx.AsyncClient(base_url=serving.url, trust_env=False, timeout=15, headers=headers) as client:
        answer = await client.post("/v1/sessions", json={"login": login, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        yield client


@pytest.fixture
async def admin(serving: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Ada, an admin of all apps, looking at ``im``."""
    await put_operator(serving, "ada", Role.ADMIN)
    async with signed_in(serving, "ada", "im") as client:
        yield client


async def test_a_session_names_person_role_scopes_and_apps(serving: Any) -> None:
    await put_operator(serving, "eve", Role.EDITOR, "im")
    async with signed_in(serving, "eve") as eve:
        who = (await eve.get("/v1/sessions")).json()
        assert (who["login"], who["role"], who["scopes"]) == ("eve", "editor", ["read", "strategies"])
        assert who["apps"] == [{"app_id": "im", "name": "im"}]
        assert not who["all_apps"]


@pytest.mark.parametrize(
    ("role", "method", "address", "body", "status"),
    [
        (Role.VIEWER, "GET", "/v1/strategies", None, 200),
        (Role.VIEWER, "GET", "/v1/stats", None, 200),
        (Role.VIEWER, "POST", "/v1/strategies/validate", {"strategy": "x"}, 200),
        (Role.VIEWER, "POST", "/v1/strategies/default/publish", {}, 403),
        (Role.VIEWER, "PUT", "/v1/users/li", {}, 403),
        (Role.EDITOR, "PUT", "/v1/users/li", {}, 403),
        (Role.EDITOR, "POST", "/v1/strategies/nothing/publish", {}, 404),
        (Role.EDITOR, "POST", "/v1/providers/apns/pause", {}, 403),
        (Role.EDITOR, "GET", "/v1/credentials", None, 403),
        (Role.ADMIN, "GET", "/v1/credentials", None, 200),
        (Role.ADMIN, "POST", "/v1/providers/apns/pause", {}, 200),
        (Role.ADMIN, "GET", "/v1/operators", None, 403),  # of one app only
        (Role.VIEWER, "GET", "/v1/inbox?user_id=li", None, 200),
        (Role.VIEWER, "GET", "/v1/inbox", None, 422),  # whose?
        (Role.EDITOR, "GET", "/v1/inbox?user_id=li&unmask=true", None, 403),
        (Role.ADMIN, "GET", "/v1/inbox?user_id=li&wait=1s", None, 422),
    ],
)
async def test_a_role_reaches_so_far(
    serving: Any, role: Role, method: str, address: str, body: Any, status: int
) -> None:
    await put_operator(serving, "somebody", role, "im")
    async with signed_in(serving, "somebody") as client:
        answer = await client.request(method, address, json=body)
        assert answer.status_code == status, answer.text


async def test_who_sees_several_apps_says_which(serving: Any) -> None:
    await put_operator(serving, "ada", Role.ADMIN)
    async with signed_in(serving, "ada") as ada:
        refused = await ada.get("/v1/stats")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "Pushpath-App")
        assert (await ada.get("/v1/stats", headers={"Pushpath-App": "other"})).status_code == 200
        assert (await ada.get("/v1/stats", headers={"Pushpath-App": "nobody's"})).status_code == 403


async def test_another_app_than_theirs_is_403(serving: Any) -> None:
    await put_operator(serving, "eve", Role.ADMIN, "im")
    async with signed_in(serving, "eve", "other") as eve:
        assert (await eve.get("/v1/stats")).status_code == 403


async def test_signing_out_ends_the_token_and_renewing_replaces_it(serving: Any, admin: httpx.AsyncClient) -> None:
    old = admin.headers["Authorization"]
    renewed = await admin.post("/v1/sessions/renew")
    assert renewed.status_code == 201
    assert (await admin.get("/v1/sessions")).status_code == 401
    admin.headers["Authorization"] = f"Bearer {renewed.json()['token']}"
    assert old != admin.headers["Authorization"]
    assert (await admin.get("/v1/sessions")).status_code == 200
    assert (await admin.delete("/v1/sessions")).status_code == 204
    assert (await admin.get("/v1/sessions")).status_code == 401


async def test_guessing_is_slowed_down_and_a_wrong_login_sounds_like_a_wrong_password(serving: Any) -> None:
    await put_operator(serving, "ada", Role.ADMIN)
    async with httpx.AsyncClient(base_url=serving.url, trust_env=False, timeout=30) as client:
        wrong = await client.post("/v1/sessions", json={"login": "ada", "password": "wrong"})
        nobody = await client.post("/v1/sessions", json={"login": "nobody", "password": "wrong"})
        assert (wrong.status_code, wrong.json()["detail"]) == (nobody.status_code, nobody.json()["detail"])
        answers = [
            (await client.post("/v1/sessions", json={"login": "ada", "password": "wrong"})).status_code
            for _ in range(8)
        ]
        assert answers[-1] == 429
        right = await client.post("/v1/sessions", json={"login": "ada", "password": PASSWORD})
        assert right.status_code == 429
        assert int(right.headers["Retry-After"]) > 1


async def test_a_disabled_operator_is_out_at_once_and_cannot_come_back(serving: Any, admin: httpx.AsyncClient) -> None:
    made = await admin.put("/v1/operators/eve", json={"role": "viewer", "apps": ["im"], "password": PASSWORD})
    assert made.status_code == 201
    async with signed_in(serving, "eve") as eve:
        assert (await admin.delete("/v1/operators/eve")).status_code == 204
        assert (await eve.get("/v1/sessions")).status_code == 401
        again = await eve.post("/v1/sessions", json={"login": "eve", "password": PASSWORD})
        assert again.status_code == 401
    listed = (await admin.get("/v1/operators")).json()["operators"]
    assert [one["disabled_at"] is not None for one in listed if one["login"] == "eve"] == [True]


@pytest.mark.parametrize(
    ("login", "body", "field"),
    [
        ("a:b", {"role": "viewer", "password": PASSWORD}, "login"),
        ("eve", {"role": "viewer"}, "password"),
        ("eve", {"role": "viewer", "password": "short"}, "password"),
        ("eve", {"role": "king", "password": PASSWORD}, "role"),
        ("eve", {"role": "viewer", "password": PASSWORD, "apps": ["nobody's"]}, "apps[0]"),
    ],
)
async def test_a_bad_operator_is_refused_by_field(
    admin: httpx.AsyncClient, login: str, body: dict[str, Any], field: str
) -> None:
    answer = await admin.put(f"/v1/operators/{login}", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_nobody_locks_themselves_out(admin: httpx.AsyncClient) -> None:
    assert (await admin.delete("/v1/operators/ada")).status_code == 409
    assert (await admin.put("/v1/operators/ada", json={"role": "viewer"})).status_code == 409


async def test_a_look_at_a_number_needs_an_admin_who_signed_in_and_is_in_the_audit(
    serving: Any, admin: httpx.AsyncClient, backend: httpx.AsyncClient
) -> None:
    await backend.put("/v1/users/li", json={"phone": "+8613800138000"})
    assert (await backend.post("/v1/unmask", json={"user_id": "li"})).status_code == 403
    seen = await admin.post("/v1/unmask", json={"user_id": "li", "reason": "ticket 7"})
    assert seen.json() == {"user_id": "li", "phone": "+8613800138000"}
    entry = (await admin.get("/v1/audit")).json()["entries"][0]
    assert (entry["who"], entry["action"], entry["subject"]) == ("ada", "unmask.user", "li")
    assert entry["detail"] == {"reason": "ticket 7"}


async def test_a_look_at_tokens_shows_them_whole(admin: httpx.AsyncClient, backend: httpx.AsyncClient) -> None:
    token = {"path": "apns", "kind": "device", "value": "ab" * 32, "environment": "production", "topic": "com.x"}
    await backend.put("/v1/devices/d1", json={"user_id": "li", "platform": "ios", "tokens": [token]})
    seen = (await admin.post("/v1/unmask", json={"device_id": "d1"})).json()
    assert [one["value"] for one in seen["tokens"]] == ["ab" * 32]
    assert (await admin.post("/v1/unmask", json={"device_id": "nobody's"})).status_code == 404
    assert (await admin.post("/v1/unmask", json={})).status_code == 422


async def test_an_inbox_is_masked_unless_an_admin_says_so_and_is_named(
    serving: Any, admin: httpx.AsyncClient, backend: httpx.AsyncClient
) -> None:
    dispatched = {
        "message_id": "cm-1",
        "to": {"user_ids": ["li"]},
        "notification": {"title": "Wang", "body": "your code is 4711", "badge": 3},
        "data": {"code": 4711, "seen": None, "of": [{"name": "Wang"}]},
    }
    assert (await backend.post("/v1/messages", json=dispatched)).status_code == 202
    await put_operator(serving, "vic", Role.VIEWER, "im")
    async with signed_in(serving, "vic") as viewer:
        masked = (await viewer.get("/v1/inbox", params={"user_id": "li"})).json()
    assert masked["masked"] is True
    (message,) = masked["messages"]
    assert message["message_id"] == "cm-1"
    assert message["notification"] == {"title": "•••", "body": "•••", "badge": "•••"}
    assert message["data"] == {"code": "•••", "seen": None, "of": [{"name": "•••"}]}
    before = (await admin.get("/v1/audit")).json()["entries"]
    whole = (await admin.get("/v1/inbox", params={"user_id": "li", "unmask": "true"})).json()
    assert (whole["masked"], whole["messages"][0]["data"]) == (False, dispatched["data"])
    entries = (await admin.get("/v1/audit")).json()["entries"]
    assert len(entries) == len(before) + 1
    assert (entries[0]["who"], entries[0]["action"], entries[0]["subject"]) == ("ada", "unmask.inbox", "li")
    refused = await admin.get("/v1/inbox", params={"user_id": "li", "after": whole["messages"][0]["cursor"]})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "after")
    state = (await backend.get("/v1/messages/cm-1")).json()["deliveries"][0]
    assert state["proof"] == "none"  # nobody's phone has it
    assert (await backend.get("/v1/inbox", params={"user_id": "li", "unmask": "true"})).status_code == 422


async def test_an_operator_who_gets_a_phones_token_is_in_the_audit(
    admin: httpx.AsyncClient, backend: httpx.AsyncClient
) -> None:
    wanted = {"user_id": "li", "device_id": "d1"}
    assert (await backend.post("/v1/device-tokens", json=wanted)).status_code == 201
    assert (await admin.get("/v1/audit")).json()["entries"] == []  # a backend's daily work
    assert (await admin.post("/v1/device-tokens", json=wanted)).status_code == 201
    (entry,) = (await admin.get("/v1/audit")).json()["entries"]
    assert (entry["who"], entry["action"], entry["subject"]) == ("ada", "device.token", "d1")
    assert entry["detail"] == {"user_id": "li"}


async def test_every_change_names_the_person(admin: httpx.AsyncClient) -> None:
    await admin.put("/v1/users/li", json={"locale": "zh-CN"})
    await admin.post("/v1/providers/apns/pause", json={"reason": "storm"})
    entries = (await admin.get("/v1/audit")).json()["entries"]
    assert {(entry["who"], entry["action"]) for entry in entries} >= {("ada", "user.update"), ("ada", "provider.pause")}


async def test_of_two_admins_who_change_an_operator_the_second_hears_of_the_first(admin: httpx.AsyncClient) -> None:
    body = {"role": "viewer", "apps": ["im"], "password": PASSWORD}
    made = await admin.put("/v1/operators/eve", json=body, headers={"If-None-Match": "*"})
    assert made.status_code == 201
    again = await admin.put("/v1/operators/eve", json=body, headers={"If-None-Match": "*"})
    assert again.status_code == 412
    seen = {"If-Match": made.headers["etag"]}
    password = await admin.put("/v1/operators/eve", json={**body, "password": f"{PASSWORD}!"}, headers=seen)
    assert password.status_code == 200
    lost = await admin.put("/v1/operators/eve", json={"role": "admin"}, headers=seen)
    assert (lost.status_code, lost.json()["code"]) == (412, "stale")
    (eve,) = [one for one in (await admin.get("/v1/operators")).json()["operators"] if one["login"] == "eve"]
    assert (eve["role"], f'"{eve["etag"]}"') == ("viewer", password.headers["etag"])
