"""FCM as it answers and fails, its token endpoint included."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from dispatcher.domain.outcome import HandedOver, Rejected, RetryLater, TokenDead, Unknown
from dispatcher.domain.paths import Path
from providers.base import Limits


@pytest.mark.parametrize("kind", ["registration", "fid"])
@pytest.mark.parametrize("clear_text", [True, False])
async def test_tokens_of_both_kinds_are_taken(lab: Any, kind: str, clear_text: bool) -> None:
    changes = {"endpoint": lab.sandbox.fcm_url} if clear_text else {}
    provider = lab.provider(Path.FCM, **changes)
    (outcome,) = await provider.send([lab.attempt(Path.FCM, value="tok", kind=kind)], lab.now)
    assert isinstance(outcome, HandedOver)
    assert outcome.reference is not None
    (entry,) = await lab.requests("fcm")
    message = json.loads(entry["body"])["message"]
    assert message["fid" if kind == "fid" else "token"] == "tok"
    assert json.loads(message["data"]["pushpath"])["message_id"] == "cm-0"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"reason": "INVALID_ARGUMENT"}, TokenDead("INVALID_ARGUMENT")),
        ({"status": 400, "field": "message.data"}, Rejected("INVALID_ARGUMENT")),
        ({"reason": "UNREGISTERED"}, TokenDead("UNREGISTERED")),
        ({"reason": "SENDER_ID_MISMATCH"}, TokenDead("SENDER_ID_MISMATCH")),
        ({"reason": "THIRD_PARTY_AUTH_ERROR"}, Rejected("THIRD_PARTY_AUTH_ERROR", configuration=True)),
        ({"reason": "QUOTA_EXCEEDED", "retry_after": 60}, RetryLater("QUOTA_EXCEEDED", 60_000, brake=True)),
        ({"reason": "QUOTA_EXCEEDED"}, RetryLater("QUOTA_EXCEEDED", 60_000, brake=True)),
        ({"reason": "INTERNAL"}, RetryLater("INTERNAL")),
        ({"reason": "UNAVAILABLE", "retry_after": 7}, RetryLater("UNAVAILABLE", 7_000)),
        ({"reason": "UNREGISTERED", "wire": "empty"}, Rejected("status_404", configuration=True)),
        ({"reason": "UNREGISTERED", "wire": "split"}, TokenDead("UNREGISTERED")),
        ({"wire": "reset"}, Unknown("transport_reset")),
        ({"wire": "close"}, Unknown("transport_lost")),
        ({"wire": "silent"}, Unknown("transport_deadline")),
    ],
    ids=lambda value: str(value),
)
async def test_each_row_over_the_wire(lab: Any, rule: dict[str, Any], expected: object) -> None:
    provider = lab.provider(Path.FCM)
    provider.limits = Limits(batch=500, payload_bytes=4096, concurrent=1_000, deadline_ms=600)
    await lab.script("fcm", errors=[{"match": "*", **rule}])
    assert await provider.send([lab.attempt(Path.FCM, value="tok")], lab.now) == [expected]
    assert len(await lab.requests("fcm")) == 1


async def test_a_refused_access_token_is_fetched_anew_once(lab: Any) -> None:
    provider = lab.provider(Path.FCM)
    await lab.script("fcm", oauth_ttl="1s")
    assert isinstance((await provider.send([lab.attempt(Path.FCM, value="a")], lab.now))[0], HandedOver)
    provider._access._ends_at = lab.now + 600_000  # believed to live on: only FCM's 401 can tell
    await asyncio.sleep(1.1)
    await lab.script("fcm")
    (outcome,) = await provider.send([lab.attempt(Path.FCM, value="b")], lab.now)
    assert isinstance(outcome, HandedOver)
    assert [entry["answer"]["status"] for entry in await lab.requests("fcm")] == [200, 401, 200]


async def test_a_slow_token_endpoint_blocks_nobody_and_is_asked_once(lab: Any) -> None:
    provider = lab.provider(Path.FCM)
    await lab.script("fcm", oauth_latency="300ms")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    sends = [provider.send([lab.attempt(Path.FCM, value=f"t{n}", place=n)], lab.now) for n in range(20)]
    outcomes = [outcome for found in await asyncio.gather(*sends) for outcome in found]
    ticking.cancel()
    assert all(isinstance(outcome, HandedOver) for outcome in outcomes)
    assert ticks > 10
    reply = await lab.http.get(f"{lab.sandbox.control_url}/control/fcm/requests")
    assert Counter(entry["url"] for entry in reply.json()["requests"])["/token"] == 1


async def test_a_token_near_its_end_is_renewed_beside_the_sends(lab: Any) -> None:
    provider = lab.provider(Path.FCM)
    start = lab.now
    await provider.send([lab.attempt(Path.FCM, value="a")], start)
    provider._access._ends_at = start + 200_000
    await provider.send([lab.attempt(Path.FCM, value="b")], start)
    for _ in range(200):
        if provider._access._ends_at > start + 200_000:
            break
        await asyncio.sleep(0.01)
    assert provider._access._ends_at > start + 3_000_000
    assert len(await lab.requests("fcm")) == 2


async def test_a_refused_account_is_a_fault_of_configuration(lab: Any) -> None:
    account = {**lab.sandbox.credentials.fcm, "private_key_id": "another"}
    provider = lab.provider(Path.FCM, service_account=account)
    outcomes = await provider.send([lab.attempt(Path.FCM, value=f"t{n}", place=n) for n in range(5)], lab.now)
    assert set(outcomes) == {Rejected("oauth_invalid_grant", configuration=True)}
    assert await lab.requests("fcm") == []


async def test_goaway_amid_a_hundred_streams_loses_and_doubles_nothing(lab: Any) -> None:
    provider = lab.provider(Path.FCM)
    await provider.send([lab.attempt(Path.FCM, value="first")], lab.now)
    await lab.script("fcm", goaway_after=30, latency="20ms")
    attempts = [lab.attempt(Path.FCM, value=f"t{n}", place=n) for n in range(100)]
    outcomes = await provider.send(attempts, lab.now)
    assert all(isinstance(outcome, HandedOver) for outcome in outcomes)
    answered = Counter(entry["target"] for entry in await lab.requests("fcm") if entry["answer"] is not None)
    assert set(answered.values()) == {1}
