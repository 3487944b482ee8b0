"""Templates, webhooks and listings at the door: shapes, scopes, refusals."""

from typing import Any

import httpx
import pytest

TEXTS = {"en": {"title": "Hi {name}"}, "zh-Hant": {"title": "妳好 {name}", "sms": "{name}"}}
HOOK = {"url": "https://hooks.example/in", "events": ["settled", "delivered", "settled"]}


async def test_a_template_is_put_read_listed_and_removed(client: httpx.AsyncClient) -> None:
    made = await client.put("/v1/templates/greet", json={"texts": TEXTS, "default_locale": "EN"})
    assert (made.status_code, made.json()["parameters"], made.json()["default_locale"]) == (201, ["name"], "en")
    read = await client.get("/v1/templates/greet")
    assert (read.json(), read.headers["etag"]) == (made.json(), made.headers["etag"])
    (row,) = (await client.get("/v1/templates")).json()["templates"]
    assert row["locales"] == ["en", "zh-Hant"]
    assert (await client.get("/v1/templates", headers={"Authorization": "Bearer stranger"})).json()["templates"] == []
    assert (await client.delete("/v1/templates/greet")).status_code == 204
    assert (await client.get("/v1/templates/greet")).status_code == 404
    assert (await client.delete("/v1/templates/greet")).status_code == 404


async def test_of_two_admins_the_second_hears_of_the_first(client: httpx.AsyncClient) -> None:
    first = await client.put("/v1/templates/greet", json={"texts": {"en": {"title": "A"}}})
    seen = {"If-Match": first.headers["etag"]}
    assert (await client.put("/v1/templates/greet", json={"texts": TEXTS, "default_locale": "en"})).status_code == 200
    lost = await client.put("/v1/templates/greet", json={"texts": {"en": {"title": "B"}}}, headers=seen)
    assert (lost.status_code, lost.json()["code"]) == (412, "stale")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"texts": {}}, "texts"),
        ({"texts": TEXTS}, "default_locale"),
        ({"texts": TEXTS, "default_locale": "fr"}, "default_locale"),
        ({"texts": {"en": {}}}, "texts.en"),
        ({"texts": {"en": {"title": "{a.b}"}}}, "texts.en.title"),
        ({"texts": {"en": {"title": "a", "sms": "{"}}}, "texts.en.sms"),
        ({"texts": {"en": {"title": "a"}, "EN": {"title": "b"}}, "default_locale": "en"}, "texts.EN"),
        ({"texts": {"en": {"subject": "a"}}}, "texts[...].subject"),
    ],
)
async def test_templates_that_cannot_be_filled_in_are_refused_by_field(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    refused = await client.put("/v1/templates/greet", json=body)
    assert refused.status_code == 422
    assert field in {error["field"] for error in refused.json()["errors"]}, refused.text


async def test_a_preview_shows_one_locale_and_names_what_is_missing(client: httpx.AsyncClient) -> None:
    await client.put("/v1/templates/greet", json={"texts": TEXTS, "default_locale": "en"})
    shown = await client.post("/v1/templates/greet/preview", json={"locale": "zh-Hant-HK", "params": {"name": "{x}"}})
    assert shown.json() == {
        "locale": "zh-Hant",
        "notification": {"title": "妳好 {x}"},
        "sms": {"text": "{x}", "segments": 1},
        "bytes": 22,
    }
    missing = await client.post("/v1/templates/greet/preview", json={"params": {"other": 1}})
    assert [error["field"] for error in missing.json()["errors"]] == ["params.name"]
    bad = await client.post("/v1/templates/greet/preview", json={"params": {"name": {"a": 1}}})
    assert [error["field"] for error in bad.json()["errors"]] == ["params.name"]
    draft = {"texts": {"en": {"title": "{a}"}}, "params": {"a": True}}
    assert (await client.post("/v1/template-preview", json=draft)).json()["notification"] == {"title": "true"}


async def test_a_webhook_is_registered_shown_paused_and_removed(client: httpx.AsyncClient, core: Any) -> None:
    made = await client.post("/v1/webhooks", json=HOOK)
    assert (made.status_code, made.json()["secret"], made.json()["events"]) == (
        201,
        "whsec_made",
        ["delivered", "settled"],
    )
    hook = f"/v1/webhooks/{made.json()['webhook_id']}"
    assert (await client.post("/v1/webhooks", json=HOOK)).status_code == 200
    assert "secret" not in (await client.get(hook)).json()
    assert (await client.post(f"{hook}/pause")).json()["state"] == "paused"
    assert (await client.post(f"{hook}/resume")).json()["state"] == "active"
    assert (await client.get(hook, headers={"Authorization": "Bearer stranger"})).status_code == 404
    assert (await client.delete("/v1/webhooks")).status_code == 422
    gone = await client.request("DELETE", "/v1/webhooks", json={"url": HOOK["url"]})
    assert gone.status_code == 204
    assert (await client.delete(hook)).status_code == 404
    assert [entry.action for entry in core.audit.recorded] == [
        "webhook.create",
        "webhook.update",
        "webhook.pause",
        "webhook.resume",
        "webhook.delete",
    ]


@pytest.mark.parametrize(
    "body",
    [
        {**HOOK, "url": "https://10.0.0.1/"},
        {**HOOK, "events": []},
        {**HOOK, "events": ["opened", "read"]},
        {"url": HOOK["url"]},
        {**HOOK, "retries": 3},
    ],
)
async def test_bad_webhooks_are_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await client.post("/v1/webhooks", json=body)).status_code == 422


async def test_users_and_devices_are_listed_page_by_page(client: httpx.AsyncClient) -> None:
    for name in ("ann", "bob", "bill"):
        await client.put(f"/v1/users/{name}", json={"locale": "en"})
        await client.put(f"/v1/devices/d-{name}", json={"user_id": name, "platform": "ios"})
    first = (await client.get("/v1/users?limit=2")).json()
    assert ([user["user_id"] for user in first["users"]], first["next"]) == (["ann", "bill"], "bill")
    second = (await client.get(f"/v1/users?limit=2&before={first['next']}")).json()
    assert ([user["user_id"] for user in second["users"]], second["next"]) == (["bob"], None)
    assert [user["user_id"] for user in (await client.get("/v1/users?query=b")).json()["users"]] == ["bill", "bob"]
    of_bob = (await client.get("/v1/devices?user_id=bob")).json()
    assert ([device["device_id"] for device in of_bob["devices"]], of_bob["next"]) == (["d-bob"], None)
    assert (await client.get("/v1/devices/d-bob/tokens")).json() == {"tokens": []}
    assert (await client.get("/v1/devices/nope/tokens")).status_code == 404
    assert (await client.get("/v1/users?limit=0")).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/webhooks", "admin"),
        ("POST", "/v1/webhooks", "admin"),
        ("GET", "/v1/templates", "strategies"),
        ("PUT", "/v1/templates/x", "strategies"),
        ("GET", "/v1/users", "users"),
        ("GET", "/v1/devices", "devices"),
    ],
)
async def test_each_door_has_its_scope(client: httpx.AsyncClient, method: str, path: str, scope: str) -> None:
    for one in ("send", "users", "devices", "read", "strategies", "admin"):
        answer = await client.request(method, path, headers={"Authorization": f"Bearer only-{one}"})
        assert (answer.status_code != 403) is (one == scope), (one, answer.text)


async def test_a_recall_says_what_cannot_be_taken_back(client: httpx.AsyncClient) -> None:
    message = {"message_id": "m-1", "to": {"user_ids": ["li"]}, "notification": {"title": "x"}}
    await client.post("/v1/messages", json=message)
    recalled = await client.post("/v1/messages/m-1/recall")
    assert recalled.status_code == 202
    assert recalled.json() == {
        "message_id": "m-1",
        "state": "recalled",
        "deliveries": 1,
        "pending": 1,
        "sms_sent": ["li"],
        "sms_possible": [],
    }
