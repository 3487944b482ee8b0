"""Users, devices, inbox, receipts, callbacks."""

import asyncio
from typing import Any

import httpx
import pytest

from dispatcher.domain.delivery import Proof
from dispatcher.domain.device import TokenState
from dispatcher.domain.paths import Path
from dispatcher.domain.requests import Window
from dispatcher.ports.presence import Line, Presence

IPHONE = {
    "user_id": "li",
    "platform": "ios",
    "tokens": [
        {"path": "apns", "kind": "device", "value": "ab" * 32, "environment": "production", "topic": "com.example.im"}
    ],
    "alerts_enabled": True,
    "app_version": "8.1.0",
    "os_version": "19.1",
    "manufacturer": "Apple",
    "locale": "zh-CN",
    "time_zone": "Asia/Shanghai",
}
USER = {
    "phone": "+8613800138012",
    "phone_verified": True,
    "locale": "zh-CN",
    "time_zone": "Asia/Shanghai",
    "quiet_hours": {"from": "22:00", "to": "07:00"},
    "sms_opt_in": True,
    "muted_classes": ["campaign"],
}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_user_is_201_then_200_and_shows_a_masked_number(client: httpx.AsyncClient, core: Any) -> None:
    first = await client.put("/v1/users/li", json=USER)
    again = await client.put("/v1/users/li", json={"sms_opt_in": False})
    assert (first.status_code, again.status_code) == (201, 200)
    shown = (await client.get("/v1/users/li")).json()
    assert shown == {**USER, "user_id": "li", "phone": "+86*********12", "sms_opt_in": False, "devices": []}
    assert core.profiles.written[-1].rev == 2


async def test_a_number_is_sealed_before_it_leaves_the_door(client: httpx.AsyncClient, core: Any) -> None:
    await client.put("/v1/users/li", json=USER)
    (change,) = core.directory.changes
    assert change.values["phone"].startswith(b"sealed:")
    assert change.values["phone_country"] == "86"
    assert change.values["phone_hash"] == b"hash of 12"
    assert change.changed_phone_usable_from == core.now + 600_000
    assert change.by == "key:all"


async def test_only_what_was_sent_changes_and_null_takes_away(client: httpx.AsyncClient, core: Any) -> None:
    await client.put("/v1/users/li", json={"phone": None, "quiet_hours": None, "locale": None})
    assert core.directory.changes[0].values == {
        "phone": None,
        "phone_hash": None,
        "phone_country": None,
        "quiet_from": None,
        "quiet_to": None,
        "locale": None,
    }


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("+12025550123", "1"),
        ("+447911123456", "44"),
        ("+85251234567", "852"),
        ("+79161234567", "7"),
        ("+35312345678", "353"),
    ],
)
async def test_the_country_of_a_number_is_its_calling_code(
    client: httpx.AsyncClient, core: Any, number: str, country: str
) -> None:
    await client.put("/v1/users/li", json={"phone": number})
    assert core.directory.changes[0].values["phone_country"] == country


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"fone": 1}, "fone"),
        ({"phone": "13800138000"}, "phone"),
        ({"phone": "+0123456789"}, "phone"),
        ({"phone": "+86 138 0013 8000"}, "phone"),
        ({"phone": "+8613800138000\n"}, "phone"),
        ({"phone": "+" + "1" * 16}, "phone"),
        ({"phone": "+٨٦١٣٨٠٠١٣٨٠٠٠"}, "phone"),
        ({"phone_verified": 1}, "phone_verified"),
        ({"locale": "z"}, "locale"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": ""}, "time_zone"),
        ({"quiet_hours": {"from": "22:00"}}, "quiet_hours.to"),
        ({"quiet_hours": {"from": "24:00", "to": "07:00"}}, "quiet_hours.from"),
        ({"quiet_hours": {"from": "22:00", "to": "7:00"}}, "quiet_hours.to"),
        ({"quiet_hours": {"from": "22:00", "to": "22:00"}}, "quiet_hours.to"),
        ({"quiet_hours": {"from": "22:00", "to": "07:00", "zone": "x"}}, "quiet_hours.zone"),
        ({"muted_classes": ["Chat"]}, "muted_classes[0]"),
        ({"muted_classes": "chat"}, "muted_classes"),
    ],
)
async def test_a_bad_user_field_is_422_by_name(
    client: httpx.AsyncClient, core: Any, change: dict[str, Any], field: str
) -> None:
    answer = await client.put("/v1/users/li", json=change)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert core.directory.changes == []


async def test_erasing_is_204_once_and_then_404(client: httpx.AsyncClient) -> None:
    await client.put("/v1/users/li", json={})
    assert (await client.delete("/v1/users/li", headers=bearer("stranger"))).status_code == 404
    assert (await client.delete("/v1/users/li")).status_code == 204
    assert (await client.delete("/v1/users/li")).status_code == 404
    assert (await client.get("/v1/users/li")).status_code == 404


async def test_a_device_is_201_then_200_and_shows_only_the_ends_of_its_token(
    client: httpx.AsyncClient, core: Any
) -> None:
    first = await client.put("/v1/devices/d-1", json=IPHONE)
    again = await client.put("/v1/devices/d-1", json=IPHONE)
    assert (first.status_code, again.status_code) == (201, 200)
    core.presences.lines = [
        Presence(device_id="d-1", node="n", session="s", line=Line.LOST, foreground=True, since=core.now - 5_000)
    ]
    shown = (await client.get("/v1/devices/d-1")).json()
    (token,) = shown["tokens"]
    assert (token["value"], token["state"], token["environment"]) == ("abab...abab", "active", "production")
    assert shown["presence"] == {"state": "reconnecting", "foreground": False, "since": "2030-03-17T17:46:35.000Z"}
    assert shown["learned"] == {"longconn": {"ack_rate": 0.9}}
    assert "ab" * 32 not in first.text + again.text
    assert core.directory.owner["im", "d-1"][1].token(Path.APNS).state is TokenState.ACTIVE


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user_id": ""}, "user_id"),
        ({"platform": "none"}, "platform"),
        ({"platform": "windows"}, "platform"),
        ({"tokens": None}, "tokens"),
        ({"tokens": [{"path": "sms", "kind": "device", "value": "x"}]}, "tokens[0].path"),
        ({"tokens": [{"path": "apns", "kind": "fid", "value": "x"}]}, "tokens[0].kind"),
        ({"tokens": [{"path": "fcm", "kind": "device", "value": "x"}]}, "tokens[0].kind"),
        ({"tokens": [{"path": "fcm", "kind": "voip", "value": "x"}]}, "tokens[0].kind"),
        ({"tokens": [{"path": "fcm", "kind": "fid", "value": "x", "environment": "sandbox"}]}, "tokens[0].environment"),
        ({"tokens": [{"path": "apns", "kind": "device", "value": ""}]}, "tokens[0].value"),
        ({"tokens": [{"path": "apns", "kind": "device", "value": "x", "state": "active"}]}, "tokens[0].state"),
        ({"tokens": [{"path": "apns", "kind": "device", "value": "x"}] * 11}, "tokens"),
        ({"alerts_enabled": "yes"}, "alerts_enabled"),
        ({"time_zone": "CST8"}, "time_zone"),
        ({"model": "x"}, "model"),
    ],
)
async def test_a_bad_device_field_is_422_by_name(
    client: httpx.AsyncClient, core: Any, change: dict[str, Any], field: str
) -> None:
    answer = await client.put("/v1/devices/d-1", json={**IPHONE, **change})
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert core.directory.owner == {}


async def test_a_phone_registers_itself_and_nobody_else(client: httpx.AsyncClient, core: Any) -> None:
    phone = bearer(core.phone("li", "d-1"))
    assert (await client.put("/v1/devices/d-1", json=IPHONE, headers=phone)).status_code == 201
    foreign = [
        await client.put("/v1/devices/d-2", json=IPHONE, headers=phone),
        await client.put("/v1/devices/d-1", json={**IPHONE, "user_id": "wu"}, headers=phone),
        await client.get("/v1/devices/d-2", headers=phone),
        await client.delete("/v1/devices/d-2", headers=phone),
    ]
    assert {(answer.status_code, answer.json()["code"]) for answer in foreign} == {(403, "not_yours")}
    assert (await client.get("/v1/devices/d-1", headers=phone)).status_code == 200


async def test_logout_ends_the_device_token_too(client: httpx.AsyncClient, core: Any) -> None:
    phone = bearer(core.phone("li", "d-1"))
    assert (await client.delete("/v1/devices/d-1", headers=phone)).status_code == 204
    assert (await client.get("/v1/inbox", headers=phone)).status_code == 401
    assert (await client.delete("/v1/devices/d-1")).status_code == 404
    assert core.rebindings[-1][0] == "d-1"


async def test_another_apps_device_is_not_found(client: httpx.AsyncClient) -> None:
    await client.put("/v1/devices/d-1", json=IPHONE)
    assert (await client.get("/v1/devices/d-1", headers=bearer("stranger"))).status_code == 404


async def test_a_minted_token_names_the_gateways_and_its_end(client: httpx.AsyncClient, core: Any) -> None:
    answer = await client.post("/v1/device-tokens", json={"user_id": "li", "device_id": "d-1", "ttl": "2h"})
    assert answer.status_code == 201
    minted = answer.json()
    assert minted["gateways"] == ["ws://127.0.0.1:8081/v1/connect"]
    assert minted["expires_at"] == "2030-03-17T19:46:40.000Z"
    assert core.device_tokens.read(minted["token"], core.now).user_id == "li"


@pytest.mark.parametrize("ttl", ["25h", "500ms", "1", "", 3_600])
async def test_a_device_token_lives_a_second_to_a_day(client: httpx.AsyncClient, ttl: Any) -> None:
    answer = await client.post("/v1/device-tokens", json={"user_id": "li", "device_id": "d-1", "ttl": ttl})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "ttl")


async def test_a_phone_pulls_its_own_inbox(client: httpx.AsyncClient, core: Any) -> None:
    answer = await client.get("/v1/inbox?limit=7&after=c1&window=month", headers=bearer(core.phone()))
    assert answer.json()["poll_after"] == "30s"
    ((app, user, device, query, wait),) = core.pulls
    assert (app, user, device, wait) == ("im", "li", "d-1", 0)
    assert (query.limit, query.after, query.before, query.window) == (7, "c1", None, Window.MONTH)


async def test_a_backend_pulls_for_a_user_it_names(client: httpx.AsyncClient, core: Any) -> None:
    missing = await client.get("/v1/inbox")
    assert (missing.status_code, missing.json()["errors"][0]["field"]) == (422, "user_id")
    assert (await client.get("/v1/inbox?user_id=wu")).status_code == 200
    assert core.pulls[0][1:3] == ("wu", None)
    other = await client.get("/v1/inbox?user_id=wu", headers=bearer(core.phone("li")))
    assert other.status_code == 403


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("wait=61s", "wait"),
        ("wait=5", "wait"),
        ("window=all", "window"),
        ("before=a&after=b", "before"),
        ("page=2", "page"),
        ("after=", "after"),
        ("after=foreign", "after"),
        ("limit=1&limit=2", "limit"),
    ],
)
async def test_a_bad_inbox_query_is_422_by_name(client: httpx.AsyncClient, core: Any, query: str, field: str) -> None:
    answer = await client.get(f"/v1/inbox?{query}", headers=bearer(core.phone()))
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])


@pytest.mark.parametrize("query", ["after=%ff", "after=%00", "%ff=1"])
async def test_an_unreadable_query_is_400(client: httpx.AsyncClient, core: Any, query: str) -> None:
    assert (await client.get(f"/v1/inbox?{query}", headers=bearer(core.phone()))).status_code == 400


async def test_a_wait_is_cut_to_five_seconds_here(client: httpx.AsyncClient, core: Any) -> None:
    core.draining.clear()
    pulling = asyncio.create_task(client.get("/v1/inbox?wait=30s", headers=bearer(core.phone())))
    await core.parked.wait()
    core.draining.set()
    assert (await pulling).status_code == 200
    assert core.pulls[0][4] == 5_000


async def test_draining_parks_nobody_anew(client: httpx.AsyncClient, core: Any) -> None:
    core.draining.set()
    assert (await client.get("/v1/inbox?wait=5s", headers=bearer(core.phone()))).status_code == 200
    assert core.pulls[0][4] == 0
    assert (await client.get("/readyz")).status_code == 503


async def test_receipts_of_a_phone_are_its_own(client: httpx.AsyncClient, core: Any) -> None:
    await client.post("/v1/messages", json={"message_id": "m", "to": {"user_ids": ["li"]}, "data": {}})
    receipts = [
        {"message_id": "m", "event": "opened", "via": "apns", "attempt_id": "x-1", "at": "2030-03-17T17:46:39.5Z"},
        {"delivery_id": "unknown", "event": "delivered", "user_id": "li", "device_id": "d-1"},
    ]
    answer = await client.post("/v1/receipts", json={"receipts": receipts}, headers=bearer(core.phone()))
    assert (answer.status_code, answer.json()) == (200, {"accepted": 1, "unknown": 1, "duplicate": 0})
    opened, delivered = core.receipts
    assert (opened.user_id, opened.device_id, opened.event, opened.via) == ("li", "d-1", Proof.OPENED, Path.APNS)
    assert (opened.attempt_id, opened.at) == ("x-1", core.now - 500)
    assert (delivered.via, delivered.at, delivered.delivery_id) == (None, None, "unknown")


async def test_receipts_of_a_backend_name_their_user(client: httpx.AsyncClient, core: Any) -> None:
    receipts = [{"message_id": "m", "event": "delivered", "user_id": "li"}, {"message_id": "m", "event": "delivered"}]
    answer = await client.post("/v1/receipts", json={"receipts": receipts})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "receipts[1].user_id")
    assert core.receipts == []


@pytest.mark.parametrize(
    ("receipt", "field"),
    [
        ({"event": "delivered"}, "receipts[0].delivery_id"),
        ({"message_id": "m"}, "receipts[0].event"),
        ({"message_id": "m", "event": "read"}, "receipts[0].event"),
        ({"message_id": "m", "event": "opened", "via": "sms"}, "receipts[0].via"),
        ({"message_id": "m", "event": "opened", "at": "yesterday"}, "receipts[0].at"),
        ({"message_id": "m", "event": "opened", "mood": 1}, "receipts[0].mood"),
        ({"message_id": "", "event": "opened"}, "receipts[0].message_id"),
    ],
)
async def test_a_bad_receipt_is_422_and_none_is_applied(
    client: httpx.AsyncClient, core: Any, receipt: dict[str, Any], field: str
) -> None:
    answer = await client.post("/v1/receipts", json={"receipts": [receipt]}, headers=bearer(core.phone()))
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert core.receipts == []


async def test_receipts_for_others_are_403(client: httpx.AsyncClient, core: Any) -> None:
    for foreign in ({"user_id": "wu"}, {"device_id": "d-2"}):
        receipt = {"message_id": "m", "event": "opened", **foreign}
        answer = await client.post("/v1/receipts", json={"receipts": [receipt]}, headers=bearer(core.phone()))
        assert answer.status_code == 403
    assert core.receipts == []


async def test_more_than_500_receipts_are_422(client: httpx.AsyncClient, core: Any) -> None:
    receipts = [{"message_id": f"m{number}", "event": "delivered", "user_id": "li"} for number in range(501)]
    assert (await client.post("/v1/receipts", json={"receipts": receipts})).status_code == 422
    assert (await client.post("/v1/receipts", json={"receipts": receipts[:500]})).status_code == 200


async def test_a_signed_callback_reaches_the_core_as_it_was_sent(client: httpx.AsyncClient, core: Any) -> None:
    answer = await client.post(
        "/v1/callbacks/sms/twilio/at%2F1?x=%20y",
        data={"MessageStatus": "delivered", "To": "+8613800138000", "Empty": ""},
        headers={"X-Twilio-Signature": "good", "Authorization": ""},
    )
    assert answer.status_code == 204
    ((provider, attempt, path, params),) = core.callbacks
    assert (provider, attempt, path) == ("twilio", "at/1", "/v1/callbacks/sms/twilio/at%2F1?x=%20y")
    assert params == {"MessageStatus": "delivered", "To": "+8613800138000", "Empty": ""}


@pytest.mark.parametrize(("signature", "status"), [("bad", 403), (None, 403), ("", 403)])
async def test_a_forged_callback_is_403(
    client: httpx.AsyncClient, core: Any, signature: str | None, status: int
) -> None:
    headers = {} if signature is None else {"X-Twilio-Signature": signature}
    answer = await client.post("/v1/callbacks/sms/twilio/a-1", data={"MessageStatus": "sent"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, "bad_signature")
    assert core.callbacks == []


async def test_an_unknown_carrier_is_404_and_a_huge_callback_413(client: httpx.AsyncClient) -> None:
    headers = {"X-Twilio-Signature": "good"}
    assert (await client.post("/v1/callbacks/sms/acme/a-1", data={"a": "b"}, headers=headers)).status_code == 404
    huge = await client.post("/v1/callbacks/sms/twilio/a-1", content=b"a=" + b"x" * 70_000, headers=headers)
    assert huge.status_code == 413
    odd = await client.post("/v1/callbacks/sms/twilio/a-1", content=b"a=%ff", headers=headers)
    assert odd.status_code == 400
