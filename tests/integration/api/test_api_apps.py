"""Apps side by side through the real door: rules, keys, credentials, block lists; nothing reaches across."""

from time import monotonic
from typing import Any

import httpx
import pytest

TWILIO = {"account_sid": "AC1", "auth_token": "not to be seen", "from_number": "+15550001111"}


def message(number: int, klass: str = "chat") -> dict[str, Any]:
    return {
        "message_id": f"cm-{number}",
        "to": {"user_ids": ["li"]},
        "class": klass,
        "notification": {"title": "a", "body": "b"},
    }


async def test_credentials_go_in_and_never_come_out(backend: httpx.AsyncClient, serving: Any) -> None:
    put = await backend.put("/v1/credentials/sms", json=TWILIO)
    assert (put.status_code, put.json()["about"]) == (201, {"account_sid": "AC1"})
    shown = await backend.get("/v1/credentials/sms")
    listed = await backend.get("/v1/credentials")
    audited = await backend.get("/v1/audit")
    for answer in (put, shown, listed, audited):
        assert "not to be seen" not in answer.text
        assert "5550001111" not in answer.text
    (row,) = await serving.core.stores.apps.credential_rows("im")
    assert b"not to be seen" not in row[1]
    assert (await backend.delete("/v1/credentials/sms")).status_code == 204
    assert (await backend.get("/v1/credentials/sms")).status_code == 404


@pytest.mark.parametrize(
    ("path", "document", "field"),
    [
        ("apns", {"topic": "com.x", "key_pem": "no PEM", "key_id": "K", "team_id": "T"}, "key_pem"),
        ("apns", {"topic": " ", "key_pem": "no PEM", "key_id": "K", "team_id": "T"}, "topic"),
        ("fcm", {"service_account": "{}"}, "service_account"),
        ("sms", {"account_sid": "AC1", "auth_token": ""}, "auth_token"),
        ("pigeon", {}, "path"),
        ("longconn", {}, "path"),
    ],
)
async def test_credentials_that_cannot_work_are_refused_by_field(
    backend: httpx.AsyncClient, path: str, document: dict[str, Any], field: str
) -> None:
    answer = await backend.put(f"/v1/credentials/{path}", json=document)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert all(not one["set"] for one in (await backend.get("/v1/credentials")).json()["credentials"])


async def test_credentials_of_one_app_are_not_anothers(serving: Any, backend: httpx.AsyncClient) -> None:
    await backend.put("/v1/credentials/sms", json=TWILIO)
    headers = {"Authorization": f"Bearer {serving.stranger}"}
    async with httpx.AsyncClient(base_url=serving.url, headers=headers, trust_env=False) as stranger:
        assert (await stranger.get("/v1/credentials/sms")).status_code == 404
        assert (await stranger.delete("/v1/credentials/sms")).status_code == 404


async def test_an_app_dispatches_its_classes_only(backend: httpx.AsyncClient) -> None:
    changed = await backend.put("/v1/apps/im", json={"classes": ["chat", "otp"]})
    assert changed.json()["classes"] == ["chat", "otp"]
    refused = await _eventually(backend, 422, message(1, "campaign"))
    assert refused.json()["errors"][0]["field"] == "class"
    batch = await backend.post("/v1/messages/batch", json={"messages": [message(2, "campaign"), message(3)]})
    assert [result["status"] for result in batch.json()["results"]] == [422, 202]
    assert (await backend.put("/v1/apps/im", json={"classes": None})).json()["classes"] is None


async def _eventually(backend: httpx.AsyncClient, status: int, body: dict[str, Any]) -> httpx.Response:
    """What an app's rules say is in force within a second."""
    until = monotonic() + 5
    while (answer := await backend.post("/v1/messages", json=body)).status_code != status and monotonic() < until:
        pass
    return answer


async def test_an_app_changes_itself_only(backend: httpx.AsyncClient) -> None:
    assert (await backend.put("/v1/apps/other", json={"name": "ours now"})).status_code == 404
    assert [app["app_id"] for app in (await backend.get("/v1/apps")).json()["apps"]] == ["im"]


async def test_a_tighter_rate_of_an_app_is_kept(backend: httpx.AsyncClient) -> None:
    await backend.put("/v1/apps/im", json={"rate_per_key": 1})
    limited = await _eventually(backend, 429, message(1))
    assert limited.status_code == 429
    assert int(limited.headers["Retry-After"]) >= 1


async def test_a_key_is_made_shown_once_and_revoked(serving: Any, backend: httpx.AsyncClient) -> None:
    made = (await backend.post("/v1/keys", json={"name": "batch", "scopes": ["send"]})).json()
    headers = {"Authorization": f"Bearer {made['api_key']}"}
    assert (await backend.post("/v1/messages", json=message(1), headers=headers)).status_code == 202
    assert made["api_key"] not in (await backend.get("/v1/keys")).text
    assert (await backend.delete(f"/v1/keys/{made['key_id']}")).status_code == 204
    assert (await backend.delete(f"/v1/keys/{made['key_id']}")).status_code == 404
    assert (await backend.post("/v1/keys", json={"name": "x", "scopes": ["fly"]})).status_code == 422


async def test_a_blocked_user_is_kept_out_until_lifted(serving: Any, backend: httpx.AsyncClient) -> None:
    minted = await backend.post("/v1/device-tokens", json={"user_id": "mallory", "device_id": "d1"})
    phone = {"Authorization": f"Bearer {minted.json()['token']}"}
    assert (await backend.get("/v1/inbox", headers=phone)).status_code == 200
    put = await backend.put("/v1/blocks", json={"kind": "user", "value": "mallory", "reason": "spam"})
    assert (put.status_code, put.json()["by"]) == (201, "key:tests")
    until = monotonic() + 5
    while (kept_out := await backend.get("/v1/inbox", headers=phone)).status_code != 403 and monotonic() < until:
        pass
    assert kept_out.json()["code"] == "blocked"
    assert (await backend.get("/v1/blocks")).json()["blocks"][0]["value"] == "mallory"
    gone = {"kind": "user", "value": "mallory"}
    assert (await backend.delete("/v1/blocks", params=gone)).status_code == 204
    assert (await backend.delete("/v1/blocks", params=gone)).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "address", "value": "no-address"}, "value"),
        ({"kind": "address", "value": "10.0.0.1/8"}, "value"),
        ({"kind": "planet", "value": "x"}, "kind"),
        ({"kind": "user", "value": "x", "until": "2020-01-01T00:00:00Z"}, "until"),
    ],
)
async def test_a_bad_block_is_refused_by_field(backend: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    answer = await backend.put("/v1/blocks", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
