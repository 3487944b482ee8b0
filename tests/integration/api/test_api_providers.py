"""Providers through the real door: how they fare, what they asked us to wait for, how old their credentials are."""

from typing import Any

import httpx
import pytest

from dispatcher.doctor import credentials_of
from dispatcher.domain.clock import SECOND
from dispatcher.domain.paths import Path
from dispatcher.hot.carrier_health import RedisCarrierHealth
from dispatcher.pipeline.brakes import brake_key

TWILIO = {"account_sid": "AC1", "auth_token": "not to be seen", "from_number": "+15550001111"}
HTTP = {
    "carrier": "http",
    "endpoint": "https://sms.example/texts",
    "token": "not to be seen",
    "secret": "nor this",
    "sender": "Us",
}
BOTH = {"carriers": [TWILIO, HTTP]}


async def shown(backend: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = await backend.get("/v1/providers")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = next(one for one in answer.json()["providers"] if one["path"] == path)
    return found


async def test_what_a_path_answered_is_counted_by_reason_and_against_its_quota(
    backend: httpx.AsyncClient, serving: Any
) -> None:
    circuits, now = serving.core.stores.desk.circuits, serving.core.clock()
    assert (await shown(backend, "fcm"))["health"]["state"] == "unknown"
    answers = [("handed_over", "")] * 6 + [("token_dead", "UNREGISTERED")] * 2 + [("retry_later", "UNAVAILABLE")]
    circuits.answered("im", Path.FCM, answers, now)
    for after_s in (1, 1, 2):
        circuits.received("im", Path.FCM, after_s * SECOND, now)
    circuits.waited("im", Path.FCM, 1, now)
    await circuits.flush()
    fcm = await shown(backend, "fcm")
    assert fcm["answers"] == {"handed_over": 6, "token_dead": 2, "retry_later": 1}
    assert fcm["reasons"] == [
        {"outcome": "token_dead", "reason": "UNREGISTERED", "count": 2},
        {"outcome": "retry_later", "reason": "UNAVAILABLE", "count": 1},
    ]
    assert fcm["health"] == {
        "state": "well",
        "reason": None,
        "proven": 3,
        "unproven": 1,
        "rate": 0.75,
        "usual_rate": None,
        "usual_p95_s": None,
    }
    assert fcm["receipt_s"] == pytest.approx(1, rel=0.1)
    assert fcm["quota"] == {"limit": 600_000, "window_s": 60, "used": 9, "left": 599_991}
    assert (await shown(backend, "apns"))["quota"] is None


async def test_a_vendors_wish_to_wait_is_shown_while_it_lasts(backend: httpx.AsyncClient, serving: Any) -> None:
    throttle, now = serving.core.parts.throttle, serving.core.clock()
    await throttle.brake(brake_key("im", Path.FCM), now + 60 * SECOND, now)
    await throttle.brake_members(brake_key("im", Path.FCM), {"d1": now + 5 * SECOND}, now)
    await throttle.brake(brake_key("other", Path.APNS), now + 60 * SECOND, now)
    fcm = await shown(backend, "fcm")
    assert 50 < fcm["brake"]["left_s"] <= 60
    assert fcm["braked_devices"] == 1
    apns = await shown(backend, "apns")
    assert (apns["brake"], apns["braked_devices"]) == (None, 0)


async def test_an_open_circuit_says_when_it_is_tried_next(backend: httpx.AsyncClient, serving: Any) -> None:
    circuits, now = serving.core.parts.circuits, serving.core.clock()
    await circuits.faulted("im", Path.APNS, "InvalidProviderToken", now, probe=False)
    apns = await shown(backend, "apns")
    assert (apns["circuit"], apns["health"]["state"]) == ("open", "unwell")
    assert apns["health"]["reason"] == "InvalidProviderToken"
    assert apns["probe_at"] > apns["since"]
    await circuits.proven_well("im", Path.APNS)
    assert (await shown(backend, "apns"))["probe_at"] is None


async def test_metrics_hear_of_a_circuit_that_closed(serving: Any) -> None:
    circuits, now = serving.core.stores.desk.circuits, serving.core.clock()
    await circuits.faulted("im", Path.APNS, "InvalidProviderToken", now, probe=False)
    told = []
    told.append(await circuits.tell_again(now))
    await circuits.proven_well("im", Path.APNS)  # between two turns, by another process
    told.append(await circuits.tell_again(now + SECOND))
    told.append(await circuits.tell_again(now + 2 * SECOND))
    assert told == [{("im", Path.APNS): "open"}, {("im", Path.APNS): "closed"}, {}]


async def test_credentials_have_an_age_and_a_last_check(backend: httpx.AsyncClient, serving: Any) -> None:
    assert (await shown(backend, "sms"))["credentials"] is None
    assert (await backend.post("/v1/credentials/sms/check")).status_code == 404
    put = await backend.put("/v1/credentials/sms", json=TWILIO)
    assert (put.json()["age_s"], put.json()["check"]["well"]) == (0, True)
    told = (await shown(backend, "sms"))["credentials"]
    assert (told["changed_at"], told["check"]["text"]) == (put.json()["changed_at"], "credentials can be used")
    stores = serving.core.stores
    await stores.apps.set_credentials("im", Path.SMS, stores.sealer.seal(b'{"carrier": "pigeon"}'), stores.clock())
    checked = await backend.post("/v1/credentials/sms/check")
    assert checked.status_code == 200
    assert checked.json()["check"]["well"] is False
    assert "twilio or http" in (await shown(backend, "sms"))["credentials"]["check"]["text"]
    await backend.delete("/v1/credentials/sms")
    await backend.put("/v1/credentials/sms", json=TWILIO)
    assert (await shown(backend, "sms"))["credentials"]["check"]["well"] is True


async def test_what_cannot_be_unsealed_is_said_and_stops_no_other_answer(
    backend: httpx.AsyncClient, serving: Any
) -> None:
    stores = serving.core.stores
    await stores.apps.set_credentials("im", Path.SMS, b"sealed by nobody", stores.clock())
    assert (await shown(backend, "sms"))["carriers"] == []
    assert (await backend.get("/v1/credentials")).status_code == 200
    assert "secret_key" in (await backend.post("/v1/credentials/sms/check")).json()["check"]["text"]


async def test_several_carriers_are_set_checked_and_shown_with_who_rests(
    backend: httpx.AsyncClient, serving: Any
) -> None:
    put = await backend.put("/v1/credentials/sms", json=BOTH)
    assert put.status_code == 201, put.text
    assert put.json()["about"] == {
        "carriers": [
            {"account_sid": "AC1"},
            {"carrier": "http", "endpoint": "https://sms.example/texts"},
        ]
    }
    assert [one["name"] for one in (await shown(backend, "sms"))["carriers"]] == ["twilio", "http"]
    health = RedisCarrierHealth(serving.core.stores.hot, "im")
    await health.failed("twilio", "transport_connect", serving.core.clock(), at_least=0)
    first, second = (await shown(backend, "sms"))["carriers"]
    assert (first["state"], first["reason"], second["state"]) == ("resting", "transport_connect", "well")
    assert 10 < first["left_s"] <= 15
    listed, audited = await backend.get("/v1/credentials"), await backend.get("/v1/audit")
    for answer in (put, listed, audited, await backend.get("/v1/providers")):
        assert "not to be seen" not in answer.text
        assert "nor this" not in answer.text
    assert (await backend.put("/v1/credentials/sms", json=BOTH)).status_code == 200
    assert [one["state"] for one in (await shown(backend, "sms"))["carriers"]] == ["well", "well"]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"carriers": []}, "carriers"),
        ({"carriers": [TWILIO] * 5}, "carriers"),
        ({"carriers": [TWILIO, {**HTTP, "token": ""}]}, "carriers[1].token"),
        ({"carriers": [TWILIO], "auth_token": "x"}, "auth_token"),
        ({"carriers": [BOTH]}, "carriers[0]"),
    ],
)
async def test_a_faulty_carrier_is_named_and_nothing_is_stored(
    backend: httpx.AsyncClient, document: dict[str, Any], field: str
) -> None:
    refused = await backend.put("/v1/credentials/sms", json=document)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)
    assert (await backend.get("/v1/credentials/sms")).status_code == 404


async def test_credentials_that_read_well_and_are_anothers_are_told_by_what_the_vendor_said(
    backend: httpx.AsyncClient, serving: Any
) -> None:
    stores = serving.core.stores
    circuits, now = stores.desk.circuits, serving.core.clock()
    assert (await backend.put("/v1/credentials/sms", json=TWILIO)).json()["check"]["well"]
    await circuits.faulted("im", Path.SMS, "twilio_21606", now, probe=False)
    check = (await backend.post("/v1/credentials/sms/check")).json()["check"]
    assert (check["well"], "from_number belongs to another account" in check["text"]) == (False, True)
    findings = {finding.subject: finding for finding in await credentials_of(stores, "im")}
    assert findings["im sms"].text == check["text"]
    assert "not to be seen" not in check["text"]
    assert (await shown(backend, "sms"))["credentials"]["check"]["text"] == check["text"]
    again = await backend.put("/v1/credentials/sms", json={**TWILIO, "from_number": "+15550002222"})
    assert again.json()["check"]["well"]
