"""The APNs end, row by row: what Apple refuses, what a script makes it answer, how the wire fails."""

import asyncio
import json
import time
import uuid
from typing import Any

import httpx
import pytest

ALERT = b'{"aps":{"alert":"hello"}}'


async def push(
    apple: httpx.AsyncClient, lab: Any, device: str = "aa11", body: bytes = ALERT, **headers: str
) -> httpx.Response:
    return await apple.post(f"/3/device/{device}", content=body, headers=lab.apns_headers(**headers), timeout=5)


async def test_a_good_push_is_answered_200_with_the_same_apns_id_and_logged(lab: Any, apple: httpx.AsyncClient) -> None:
    apns_id = str(uuid.uuid4())
    reply = await push(apple, lab, apns_id=apns_id, apns_collapse_id="c" * 64, apns_expiration="0", apns_priority="5")
    assert (reply.status_code, reply.headers["apns-id"], reply.content) == (200, apns_id, b"")
    (logged,) = await lab.requests("apns")
    assert logged["n"] == 1
    assert (logged["method"], logged["url"], logged["target"]) == ("POST", "/3/device/aa11", "aa11")
    assert logged["answer"] == {"status": 200, "reason": None}
    assert logged["headers"]["apns-id"] == apns_id
    assert json.loads(logged["body"]) == {"aps": {"alert": "hello"}}


async def test_without_an_apns_id_apple_gives_one(lab: Any, apple: httpx.AsyncClient) -> None:
    reply = await push(apple, lab)
    assert uuid.UUID(reply.headers["apns-id"]).version == 4


@pytest.mark.parametrize(
    ("headers", "body", "status", "reason"),
    [
        ({"authorization": ""}, ALERT, 403, "MissingProviderToken"),
        ({"authorization": "bearer nonsense"}, ALERT, 403, "InvalidProviderToken"),
        ({"apns_topic": ""}, ALERT, 400, "MissingTopic"),
        ({"apns_topic": "com.other"}, ALERT, 400, "TopicDisallowed"),
        ({"apns_push_type": "voip"}, ALERT, 400, "TopicDisallowed"),
        ({"apns_push_type": "shout"}, ALERT, 400, "InvalidPushType"),
        ({"apns_id": "not-a-uuid"}, ALERT, 400, "BadMessageId"),
        ({"apns_id": str(uuid.uuid4()).upper()}, ALERT, 400, "BadMessageId"),
        ({"apns_priority": "7"}, ALERT, 400, "BadPriority"),
        ({"apns_priority": "10", "apns_push_type": "background"}, ALERT, 400, "BadPriority"),
        ({"apns_expiration": "soon"}, ALERT, 400, "BadExpirationDate"),
        ({"apns_expiration": "1700000000000"}, ALERT, 400, "BadExpirationDate"),
        ({"apns_collapse_id": "c" * 65}, ALERT, 400, "BadCollapseId"),
        ({}, b"", 400, "PayloadEmpty"),
        ({}, b"{", 400, "PayloadEmpty"),
        ({}, b'{"aps":"\xff"}', 400, "PayloadEmpty"),
        ({}, b"{}", 400, "PayloadEmpty"),
        ({}, b'{"aps":{},"x":"' + b"y" * 4090 + b'"}', 413, "PayloadTooLarge"),
    ],
)
async def test_apple_refuses(
    lab: Any, apple: httpx.AsyncClient, headers: dict[str, str], body: bytes, status: int, reason: str
) -> None:
    reply = await push(apple, lab, body=body, **headers)
    assert (reply.status_code, reply.json()["reason"]) == (status, reason)
    assert "apns-id" in reply.headers
    assert (await lab.requests("apns"))[0]["answer"] == {"status": status, "reason": reason}


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/3/device/aa", 405, "MethodNotAllowed"),
        ("POST", "/3/device/", 400, "MissingDeviceToken"),
        ("POST", "/2/device/aa", 404, "BadPath"),
    ],
)
async def test_wrong_paths_and_methods(
    lab: Any, apple: httpx.AsyncClient, method: str, path: str, status: int, reason: str
) -> None:
    reply = await apple.request(method, path, headers=lab.apns_headers())
    assert (reply.status_code, reply.json()["reason"]) == (status, reason)


async def test_a_repeated_header_is_refused(lab: Any, apple: httpx.AsyncClient) -> None:
    headers = [*lab.apns_headers().items(), ("apns-topic", "com.example.im")]
    reply = await apple.post("/3/device/aa", content=ALERT, headers=headers)
    assert reply.json() == {"reason": "DuplicateHeaders"}


@pytest.mark.parametrize(
    ("age_s", "changes", "reason"),
    [
        (3500, {}, None),
        (3700, {}, "ExpiredProviderToken"),
        (-900, {}, "InvalidProviderToken"),
        (0, {"iss": "ANOTHERTEAM"}, "InvalidProviderToken"),
        (0, {"iat": "yesterday"}, "InvalidProviderToken"),
    ],
)
async def test_provider_tokens_are_judged_by_age_and_team(
    lab: Any, apple: httpx.AsyncClient, age_s: float, changes: dict[str, Any], reason: str | None
) -> None:
    reply = await push(apple, lab, authorization=f"bearer {lab.provider_token(age_s, **changes)}")
    assert (reply.json()["reason"] if reply.content else None) == reason


async def test_a_second_provider_token_within_20_minutes_bars_the_connection(
    lab: Any, apple: httpx.AsyncClient
) -> None:
    older, newer, newest = (f"bearer {lab.provider_token(age)}" for age in (2400, 1100, 900))
    replies = [await push(apple, lab, authorization=token) for token in (older, newer, older, newest, older)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429, 429]
    assert replies[3].json() == {"reason": "TooManyProviderTokenUpdates"}


@pytest.mark.parametrize(
    ("rule", "status", "body"),
    [
        ({"status": 400, "reason": "BadDeviceToken"}, 400, {"reason": "BadDeviceToken"}),
        ({"reason": "DeviceTokenNotForTopic"}, 400, {"reason": "DeviceTokenNotForTopic"}),
        ({"status": 403, "reason": "ExpiredProviderToken"}, 403, {"reason": "ExpiredProviderToken"}),
        ({"status": 410, "reason": "Unregistered", "timestamp_ms": 7}, 410, {"reason": "Unregistered", "timestamp": 7}),
        ({"reason": "ExpiredToken", "timestamp_ms": 8}, 410, {"reason": "ExpiredToken", "timestamp": 8}),
        ({"status": 429}, 429, {"reason": "TooManyRequests"}),
        ({"status": 500}, 500, {"reason": "InternalServerError"}),
        ({"status": 503, "reason": "Shutdown"}, 503, {"reason": "Shutdown"}),
        ({"status": 418, "reason": "Brewing"}, 418, {"reason": "Brewing"}),
        ({"status": 503, "wire": "split"}, 503, {"reason": "ServiceUnavailable"}),
    ],
)
async def test_scripted_errors_hit_the_matching_tokens_only(
    lab: Any, apple: httpx.AsyncClient, rule: dict[str, Any], status: int, body: dict[str, Any]
) -> None:
    await lab.script("apns", errors=[{"match": "dead*", **rule}])
    reply = await push(apple, lab, device="dead1")
    assert (reply.status_code, reply.json()) == (status, body)
    assert (await push(apple, lab, device="alive")).status_code == 200


async def test_a_410_without_a_timestamp_says_now_in_milliseconds(lab: Any, apple: httpx.AsyncClient) -> None:
    await lab.script("apns", errors=[{"status": 410}])
    reply = (await push(apple, lab)).json()
    assert abs(reply["timestamp"] / 1000 - time.time()) < 60


async def test_times_counts_down_and_delete_clears(lab: Any, apple: httpx.AsyncClient) -> None:
    await lab.script("apns", errors=[{"status": 503, "times": 2, "retry_after": 9}])
    replies = [await push(apple, lab) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [503, 503, 200]
    assert replies[0].headers["retry-after"] == "9"
    await lab.script("apns", errors=[{"status": 503}])
    assert (await lab.http.delete(f"{lab.sandbox.control_url}/control/apns")).status_code == 204
    assert (await push(apple, lab)).status_code == 200


async def test_an_empty_error_body_and_a_missing_apns_id(lab: Any, apple: httpx.AsyncClient) -> None:
    await lab.script("apns", errors=[{"match": "e*", "status": 503, "wire": "empty"}, {"status": 410, "wire": "no_id"}])
    empty, anonymous = await push(apple, lab, device="e1"), await push(apple, lab, device="n1")
    assert (empty.status_code, empty.content) == (503, b"")
    assert (anonymous.status_code, "apns-id" in anonymous.headers) == (410, False)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("reset", httpx.RemoteProtocolError),
        ("close", httpx.TransportError),
        ("stall", httpx.ReadTimeout),
        ("silent", httpx.ReadTimeout),
        ("drop", httpx.ReadTimeout),
    ],
)
async def test_wire_faults_are_logged_without_an_answer(
    lab: Any, apple: httpx.AsyncClient, fault: str, error: type[Exception]
) -> None:
    await lab.script("apns", errors=[{"match": "bad", "status": 503, "wire": fault}])
    with pytest.raises(error):
        await apple.post("/3/device/bad", content=ALERT, headers=lab.apns_headers(), timeout=0.3)
    (logged,) = await lab.requests("apns")
    assert (logged["target"], logged["answer"]) == ("bad", None)


async def test_drop_rate_one_leaves_every_request_unanswered(lab: Any, apple: httpx.AsyncClient) -> None:
    await lab.script("apns", drop_rate=1)
    with pytest.raises(httpx.ReadTimeout):
        await apple.post("/3/device/aa", content=ALERT, headers=lab.apns_headers(), timeout=0.3)
    assert [request["answer"] for request in await lab.requests("apns")] == [None]


async def test_latency_delays_answers(lab: Any, apple: httpx.AsyncClient) -> None:
    await lab.script("apns", latency="150ms")
    begun = time.monotonic()
    assert (await push(apple, lab)).status_code == 200
    assert time.monotonic() - begun >= 0.15


async def test_slow_tls_delays_the_handshake(lab: Any, apple: httpx.AsyncClient) -> None:
    await lab.script("apns", tls_delay="200ms")
    begun = time.monotonic()
    assert (await push(apple, lab)).status_code == 200
    assert time.monotonic() - begun >= 0.2


async def test_goaway_after_n_requests_names_the_nth_and_the_client_goes_on_elsewhere(
    lab: Any, apple: httpx.AsyncClient
) -> None:
    await lab.script("apns", goaway_after=3)
    replies = [await push(apple, lab, device=f"t{number}") for number in range(8)]
    assert [reply.status_code for reply in replies] == [200] * 8
    logged = await lab.requests("apns")
    assert [entry["connection"] for entry in logged] == [1, 1, 1, 2, 2, 2, 3, 3]


async def test_environments_bind_tokens_to_a_listener(lab: Any, apple: httpx.AsyncClient) -> None:
    await lab.script("apns", environments=[{"match": "sb*", "environment": "sandbox"}])
    wrong = await push(apple, lab, device="sb1")
    assert (wrong.status_code, wrong.json()) == (400, {"reason": "BadDeviceToken"})
    right = await apple.post(f"{lab.sandbox.apns_sandbox_url}/3/device/sb1", content=ALERT, headers=lab.apns_headers())
    assert right.status_code == 200
    assert "apns-unique-id" in right.headers


async def test_a_client_that_speaks_no_http2_is_turned_away(lab: Any, trust: Any) -> None:
    async with httpx.AsyncClient(verify=trust(lab.sandbox.ca_file), trust_env=False) as old:
        with pytest.raises(httpx.TransportError):
            await old.post(f"{lab.sandbox.apns_url}/3/device/aa", content=ALERT)


async def test_an_untrusted_certificate_is_noticed_by_clients(lab: Any) -> None:
    async with httpx.AsyncClient(http2=True, trust_env=False) as stranger:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.post(f"{lab.sandbox.apns_url}/3/device/aa", content=ALERT)


async def test_a_thousand_requests_at_once_are_each_logged_and_answered_once(
    lab: Any, apple: httpx.AsyncClient
) -> None:
    await push(apple, lab)
    headers = lab.apns_headers()
    targets = {f"t{number}" for number in range(1100)}
    replies = await asyncio.gather(
        *(apple.post(f"/3/device/{target}", content=ALERT, headers=headers, timeout=60) for target in targets)
    )
    assert {reply.status_code for reply in replies} == {200}
    first = await lab.requests("apns")
    logged = [*first, *await lab.requests("apns", after=first[-1]["n"])]
    assert len(first) == 1000
    assert [entry["n"] for entry in logged] == list(range(1, 1102))
    assert {entry["target"] for entry in logged[1:]} == targets
