"""APNs as it answers, fails and says goodbye: no hang, no loss, no double but the unknown ones."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from dispatcher.domain.device import PushToken
from dispatcher.domain.outcome import HandedOver, Rejected, RetryLater, TokenDead, Unknown
from dispatcher.domain.paths import Path
from providers.apns.answers import ROWS, Row, Verdict
from providers.apns.push_types import PushType
from providers.apns.requests import Push
from providers.base import Limits

SOON = Limits(batch=500, payload_bytes=4096, concurrent=1_000, deadline_ms=400)


async def test_both_environments_take_our_pushes(lab: Any) -> None:
    provider = lab.provider(Path.APNS)
    attempts = [lab.attempt(Path.APNS, environment=name) for name in ("production", "sandbox", None)]
    outcomes = await provider.send(attempts, lab.now)
    assert all(isinstance(outcome, HandedOver) for outcome in outcomes)
    requests = await lab.requests("apns")
    assert [entry["answer"]["status"] for entry in requests] == [200] * 3
    assert len({entry["headers"]["authorization"] for entry in requests}) == 1


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.status}-{row.reason}")
async def test_each_row_over_the_wire(lab: Any, row: Row) -> None:
    provider = lab.provider(Path.APNS)
    await lab.script("apns", errors=[{"match": "*", "status": row.status, "reason": row.reason}])
    (outcome,) = await provider.send([lab.attempt(Path.APNS)], lab.now)
    expected: type[TokenDead | Rejected | RetryLater] = {
        Verdict.DEAD: TokenDead,
        Verdict.OUR_FAULT: Rejected,
        Verdict.CONFIGURATION: Rejected,
        Verdict.AGED: Rejected,
        Verdict.OTHER_CONNECTION: RetryLater,
        Verdict.SLOW_DEVICE: RetryLater,
        Verdict.LATER: RetryLater,
    }[row.verdict]
    assert isinstance(outcome, expected)
    assert outcome.reason == row.reason
    sent = len(await lab.requests("apns"))
    assert sent == (2 if row.verdict is Verdict.AGED else 1)  # never the same bytes twice, but for an aged token
    await lab.script("apns")
    (outcome,) = await provider.send([lab.attempt(Path.APNS)], lab.now)
    assert isinstance(outcome, HandedOver)


async def test_an_aged_provider_token_is_replaced_once(lab: Any) -> None:
    provider = lab.provider(Path.APNS)
    await lab.script("apns", errors=[{"match": "*", "reason": "ExpiredProviderToken", "times": 1}])
    (outcome,) = await provider.send([lab.attempt(Path.APNS)], lab.now)
    first, second = await lab.requests("apns")
    assert first["headers"]["apns-id"] == second["headers"]["apns-id"]
    assert isinstance(outcome, HandedOver)


async def test_a_storm_of_403_touches_no_token(lab: Any) -> None:
    provider = lab.provider(Path.APNS)
    await lab.script("apns", errors=[{"match": "*", "reason": "InvalidProviderToken"}])
    outcomes = [
        outcome
        for start in (0, 500)
        for outcome in await provider.send([lab.attempt(Path.APNS, place=start + n) for n in range(500)], lab.now)
    ]
    assert set(outcomes) == {Rejected("InvalidProviderToken", configuration=True)}
    assert len(outcomes) == 1_000


async def test_too_many_token_updates_move_us_to_another_connection_with_the_same_token(lab: Any) -> None:
    provider = lab.provider(Path.APNS)
    await lab.script("apns", errors=[{"match": "*", "reason": "TooManyProviderTokenUpdates", "times": 1}])
    await provider.send([lab.attempt(Path.APNS)], lab.now)
    await provider.send([lab.attempt(Path.APNS)], lab.now)
    first, second = await lab.requests("apns")
    assert first["connection"] != second["connection"]
    assert first["headers"]["authorization"] == second["headers"]["authorization"]


async def test_goaway_amid_a_hundred_streams_loses_and_doubles_nothing(lab: Any) -> None:
    provider = lab.provider(Path.APNS)
    await provider.send([lab.attempt(Path.APNS)], lab.now)
    await lab.script("apns", goaway_after=40, latency="20ms")
    outcomes = await provider.send([lab.attempt(Path.APNS, place=n) for n in range(100)], lab.now)
    assert all(isinstance(outcome, HandedOver) for outcome in outcomes)
    answered = Counter(
        entry["headers"]["apns-id"] for entry in await lab.requests("apns") if entry["answer"] is not None
    )
    assert all(answered[outcome.reference] == 1 for outcome in outcomes[1:])


@pytest.mark.parametrize("wire", ["reset", "close", "silent", "stall"])
async def test_what_may_have_been_taken_is_unknown_and_sent_once(lab: Any, wire: str) -> None:
    provider = lab.provider(Path.APNS)
    provider.limits = SOON
    await provider.send([lab.attempt(Path.APNS)], lab.now)
    await lab.script("apns", errors=[{"match": "bad*", "wire": wire}])
    attempts = [lab.attempt(Path.APNS, value=f"bad{n}", place=n + 1) for n in range(3)]
    outcomes = await provider.send(attempts, lab.now)
    assert all(isinstance(outcome, Unknown) for outcome in outcomes), outcomes
    assert max(Counter(entry["target"] for entry in await lab.requests("apns")).values()) == 1
    (after,) = await provider.send([lab.attempt(Path.APNS)], lab.now)
    assert isinstance(after, HandedOver)


@pytest.mark.parametrize("wire", ["empty", "split", "no_id"])
async def test_odd_shapes_of_an_error_are_read(lab: Any, wire: str) -> None:
    provider = lab.provider(Path.APNS)
    await lab.script("apns", errors=[{"match": "*", "status": 410, "reason": "Unregistered", "wire": wire}])
    outcomes = await provider.send([lab.attempt(Path.APNS, place=n) for n in range(50)], lab.now)
    assert all(isinstance(outcome, TokenDead) for outcome in outcomes)


async def test_a_410_tells_since_when(lab: Any) -> None:
    provider = lab.provider(Path.APNS)
    await lab.script("apns", errors=[{"match": "*", "reason": "Unregistered", "timestamp_ms": 1_700_000_000_123}])
    assert await provider.send([lab.attempt(Path.APNS)], lab.now) == [TokenDead("Unregistered", 1_700_000_000_123)]


async def test_ten_percent_errors_of_every_kind_end_every_send(lab: Any) -> None:
    provider = lab.provider(Path.APNS)
    provider.limits = Limits(batch=500, payload_bytes=4096, concurrent=1_000, deadline_ms=3_000)
    rules = [
        {"match": f"*{digit}", "status": status, "reason": reason, "wire": wire}
        for digit, status, reason, wire in (
            ("01", 410, "Unregistered", None),
            ("12", 400, "BadDeviceToken", "empty"),
            ("23", 429, "TooManyRequests", "split"),
            ("34", 500, "InternalServerError", None),
            ("45", 503, "ServiceUnavailable", "no_id"),
            ("56", None, None, "reset"),
            ("67", 400, "PayloadEmpty", None),
        )
    ]
    await lab.script("apns", errors=rules)
    outcomes = []
    for start in range(0, 2_000, 500):
        attempts = [lab.attempt(Path.APNS, value=f"{start + n:064}", place=start + n) for n in range(500)]
        outcomes += await provider.send(attempts, lab.now)
    assert len(outcomes) == 2_000
    kinds = Counter(type(outcome) for outcome in outcomes)
    assert kinds[HandedOver] == 2_000 - 7 * 20
    sent = Counter(entry["target"] for entry in await lab.requests("apns"))
    assert len(sent) == 2_000
    assert max(sent.values()) == 1


async def test_a_peer_that_is_not_there_fails_at_once_and_is_not_hammered(lab: Any) -> None:
    provider = lab.provider(Path.APNS, endpoint="https://127.0.0.1:1")
    outcomes = await provider.send([lab.attempt(Path.APNS, place=n) for n in range(200)], lab.now)
    assert set(outcomes) == {RetryLater("transport_connect")}


async def test_a_peer_nobody_vouches_for_gets_nothing(lab: Any) -> None:
    provider = lab.provider(Path.APNS, ca_file=None)
    assert await provider.send([lab.attempt(Path.APNS)], lab.now) == [RetryLater("transport_tls")]
    assert await lab.requests("apns") == []


async def test_a_slow_handshake_ends_with_the_deadline(lab: Any) -> None:
    await lab.script("apns", tls_delay="5s")
    provider = lab.provider(Path.APNS)
    provider.limits = SOON
    started = asyncio.get_running_loop().time()
    assert await provider.send([lab.attempt(Path.APNS)], lab.now) == [RetryLater("transport_deadline")]
    assert asyncio.get_running_loop().time() - started < 2


async def test_one_callers_patience_costs_the_others_nothing(lab: Any) -> None:
    provider = lab.provider(Path.APNS)
    await provider.send([lab.attempt(Path.APNS)], lab.now)
    await lab.script("apns", latency="100ms")
    hasty = asyncio.create_task(provider.send([lab.attempt(Path.APNS, place=n) for n in range(100)], lab.now))
    patient = asyncio.create_task(provider.send([lab.attempt(Path.APNS, place=n) for n in range(100, 200)], lab.now))
    await asyncio.sleep(0.03)
    hasty.cancel()
    assert all(isinstance(outcome, HandedOver) for outcome in await patient)
    sent = Counter(entry["headers"]["apns-id"] for entry in await lab.requests("apns"))
    assert sent.most_common(1)[0][1] <= 2  # the first attempt's id was used twice by this test
    assert len({entry["connection"] for entry in await lab.requests("apns")}) <= 2


async def test_every_push_type_is_taken_in_both_environments(lab: Any) -> None:
    provider = lab.provider(Path.APNS)
    pushes = [
        Push(
            token=PushToken(path=Path.APNS, kind="device", value=f"{place:064x}", environment=environment),
            push_type=push_type,
            payload=b'{"aps":{"content-changed":true}}',
            push_id=f"0f0f0f0f-0000-4000-8000-{place:012x}",
            expires_at=lab.now + 60_000,
            collapse_id="k",
        )
        for environment in ("production", "sandbox")
        for place, push_type in enumerate(PushType)
    ]
    outcomes = await provider.push(pushes, lab.now)
    assert outcomes == [HandedOver(push.push_id) for push in pushes]
    seen = [entry["headers"]["apns-push-type"] for entry in await lab.requests("apns")]
    assert Counter(seen) == {push_type.value: 2 for push_type in PushType}
