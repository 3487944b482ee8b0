"""Two admins at one thing, over the real ledger: with a condition one is told, without one nothing is half written."""

import asyncio
from typing import Any

import httpx
import pytest

TWILIO = {"account_sid": "AC1", "auth_token": "a", "from_number": "+15550001111"}
HOOK = {"url": "https://hooks.example.com/in", "events": ["settled"]}
OPERATOR = {"role": "viewer", "apps": ["im"], "password": "correct horse battery"}
#: method, address, what is there first, what each of the two wants
THINGS = [
    ("PUT", "/v1/apps/im", {"rate_per_key": 10}, [{"rate_per_key": 11}, {"rate_per_key": 12}]),
    ("PUT", "/v1/credentials/sms", TWILIO, [{**TWILIO, "auth_token": "b"}, {**TWILIO, "auth_token": "c"}]),
    ("POST", "/v1/webhooks", HOOK, [{**HOOK, "events": ["opened"]}, {**HOOK, "events": ["delivered"]}]),
    (
        "PUT",
        "/v1/templates/greet",
        {"texts": {"en": {"title": "A"}}},
        [{"texts": {"en": {"title": "B"}}}, {"texts": {"en": {"title": "C"}}}],
    ),
    (
        "PUT",
        "/v1/blocks",
        {"kind": "address", "value": "203.0.113.7"},
        [{"kind": "address", "value": "203.0.113.7", "reason": reason} for reason in ("spam", "fraud")],
    ),
]


@pytest.mark.parametrize(("method", "address", "first", "wanted"), THINGS, ids=[thing[1] for thing in THINGS])
async def test_of_two_admins_who_read_the_same_one_is_told(
    backend: httpx.AsyncClient, method: str, address: str, first: Any, wanted: list[Any]
) -> None:
    made = await backend.request(method, address, json=first)
    assert made.status_code in {200, 201}, made.text
    seen = {"If-Match": made.headers["etag"]}
    answers = await asyncio.gather(*(backend.request(method, address, json=body, headers=seen) for body in wanted))
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    won = next(answer for answer in answers if answer.status_code == 200)
    assert won.headers["etag"] != made.headers["etag"]
    again = await backend.request(method, address, json=wanted[0], headers={"If-Match": won.headers["etag"]})
    assert again.status_code == 200


@pytest.mark.parametrize(("method", "address", "first", "wanted"), THINGS[1:], ids=[thing[1] for thing in THINGS[1:]])
async def test_of_two_who_make_the_same_one_is_told(
    backend: httpx.AsyncClient, method: str, address: str, first: Any, wanted: list[Any]
) -> None:
    fresh = {"If-None-Match": "*"}
    answers = await asyncio.gather(*(backend.request(method, address, json=body, headers=fresh) for body in wanted))
    assert sorted(answer.status_code for answer in answers) == [201, 412]
    assert (await backend.request(method, address, json=first, headers=fresh)).status_code == 412


async def test_changes_of_different_fields_at_once_all_stand(backend: httpx.AsyncClient) -> None:
    bodies: list[dict[str, Any]] = [
        {"name": "Instant"},
        {"time_zone": "Asia/Shanghai"},
        {"classes": ["chat"]},
        {"rate_per_key": 2_000},
        {"rate_per_device": 7},
        {"default_locale": "zh-CN"},
    ]
    answers = await asyncio.gather(*(backend.put("/v1/apps/im", json=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {200}
    shown = (await backend.get("/v1/apps/im")).json()
    for body in bodies:
        for name, value in body.items():
            assert shown[name] == value


async def test_credentials_say_who_was_first_in_list_and_alone(backend: httpx.AsyncClient) -> None:
    made = await backend.put("/v1/credentials/sms", json=TWILIO)
    alone = await backend.get("/v1/credentials/sms")
    listed = (await backend.get("/v1/credentials")).json()["credentials"]
    tags = {one["path"]: one["etag"] for one in listed}
    assert made.headers["etag"] == alone.headers["etag"] == f'"{tags["sms"]}"'
    assert tags["apns"] is None


async def test_credentials_set_at_once_without_a_condition_are_all_taken(backend: httpx.AsyncClient) -> None:
    bodies = [{**TWILIO, "auth_token": f"token-{number}"} for number in range(5)]
    answers = await asyncio.gather(*(backend.put("/v1/credentials/sms", json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 201]
