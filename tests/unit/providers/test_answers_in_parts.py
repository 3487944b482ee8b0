"""Answers as they come: what stays silent holds up no other, and nothing is told twice."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import pytest

from dispatcher.domain.outcome import HandedOver, Outcome, Rejected, RetryLater, Unknown
from dispatcher.domain.paths import Path
from providers.apns.provider import ApnsProvider
from providers.base import AnswersInParts, Attempt, Part
from providers.fcm.access import NoAccess
from providers.fcm.provider import FcmProvider
from providers.http2 import Batch, Cause, Kind, Reply, Request, TransportFault

Make = Callable[..., Attempt]
YES, AT_ONCE = Reply(200, [], b"{}"), 0.0
AGED = Reply(403, [], b'{"reason":"ExpiredProviderToken"}')
LOST = TransportFault(Kind.UNKNOWN, Cause.DEADLINE)


class Wire:
    """A transport on which a test answers."""

    def __init__(self) -> None:
        self.batches: list[tuple[Batch, Sequence[Request]]] = []
        self.abandoned: list[int] = []
        self.renewed = 0

    def begin(self, requests: Sequence[Request], deadline_ms: int) -> Batch:
        batch = Batch(len(requests), deadline_ms, lambda given_up: self.abandoned.append(given_up.left))
        self.batches.append((batch, requests))
        return batch

    async def exchange(self, requests: Sequence[Request], deadline_ms: int) -> list[Reply | TransportFault]:
        return await self.begin(requests, deadline_ms).whole()

    async def renew(self) -> None:
        self.renewed += 1

    async def close(self) -> None: ...

    def answer(self, place: int, answer: Reply | TransportFault = YES, batch: int = -1) -> None:
        self.batches[batch][0].answer(place, answer)


class Team:
    """A signer whose provider tokens can be told apart."""

    def bearer(self, now: int) -> str:
        return "bearer old"

    def renewed_bearer(self, now: int) -> str:
        return "bearer new"


class Access:
    """Access tokens, one after the other."""

    def __init__(self, *values: str | NoAccess) -> None:
        self.values = list(values)

    async def bearer(self, now: int) -> str:
        value = self.values[0]
        if isinstance(value, NoAccess):
            raise value
        return value

    def forget(self, value: str) -> None:
        if self.values[0] == value:
            self.values.pop(0)

    async def close(self) -> None: ...


def apns(**wires: Wire) -> Any:
    return ApnsProvider(transports=wires, topic="com.example.im", signer=Team())  # type: ignore[arg-type]


def fcm(wire: Wire, *access: str | NoAccess) -> Any:
    return FcmProvider(transport=wire, access=Access(*access), project_id="p")  # type: ignore[arg-type]


async def part(answers: AsyncGenerator[Part, None]) -> dict[int, Outcome]:
    return dict(await anext(answers))


def test_both_vendors_answer_in_parts() -> None:
    assert isinstance(apns(), AnswersInParts)
    assert isinstance(fcm(Wire(), "b"), AnswersInParts)


async def test_what_was_answered_is_told_while_others_are_silent(make_attempt: Make, now: int) -> None:
    production, sandbox = Wire(), Wire()
    attempts = [
        make_attempt(place=0),
        make_attempt(place=1, environment="sandbox"),
        make_attempt(place=2),
        make_attempt(place=3, environment="moon"),
        make_attempt(place=4, value="not a token!"),
        make_attempt(place=5, token=None),
    ]
    answers = apns(production=production, sandbox=sandbox).send_in_parts(attempts, now, AT_ONCE)
    assert await part(answers) == {
        3: Rejected("unknown_environment"),
        4: Rejected("BadDeviceToken"),
        5: Rejected("no_token"),
    }
    assert await part(answers) == {}
    production.answer(1)
    sandbox.answer(0, Reply(400, [], b'{"reason":"BadTopic"}'))
    assert [type(found) for found in (await part(answers)).values()] == [HandedOver, Rejected]
    production.answer(0, LOST)
    assert await part(answers) == {0: Unknown("transport_deadline")}
    with pytest.raises(StopAsyncIteration):
        await anext(answers)


async def test_an_aged_provider_token_costs_one_resend_and_waits_for_no_silent_push(
    make_attempt: Make, now: int
) -> None:
    wire = Wire()
    answers = apns(production=wire).send_in_parts([make_attempt(place=place) for place in range(3)], now, AT_ONCE)
    await part(answers)
    wire.answer(0, AGED)
    wire.answer(1)
    assert list(await part(answers)) == [1]
    assert [dict(found.headers)["authorization"] for _, sent in wire.batches for found in sent] == [
        *["bearer old"] * 3,
        "bearer new",
    ]
    wire.answer(0, AGED)
    assert await part(answers) == {0: Rejected("ExpiredProviderToken", configuration=True)}
    wire.answer(2, batch=0)
    assert list(await part(answers)) == [2]
    assert len(wire.batches) == 2


async def test_a_connection_that_apple_wants_closed_is_left_before_silent_pushes_end(
    make_attempt: Make, now: int
) -> None:
    wire = Wire()
    answers = apns(production=wire).send_in_parts([make_attempt(place=place) for place in range(2)], now, AT_ONCE)
    await part(answers)
    wire.answer(0, Reply(503, [], b'{"reason":"Shutdown"}'))
    assert await part(answers) == {0: RetryLater("Shutdown")}
    assert wire.renewed == 1
    await answers.aclose()


async def test_whoever_closes_gives_up_what_is_silent(make_attempt: Make, now: int) -> None:
    for wire in (Wire(), Wire()):
        of_apns = not wire.abandoned
        provider = apns(production=wire) if of_apns else fcm(wire, "b")
        answers = provider.send_in_parts([make_attempt(place=place) for place in range(3)], now, AT_ONCE)
        await part(answers)
        wire.answer(0)
        await part(answers)
        await answers.aclose()
        assert wire.abandoned == [2]


async def test_the_whole_answer_keeps_the_order_and_a_cancelled_one_is_given_up(make_attempt: Make, now: int) -> None:
    wire = Wire()
    attempts = [make_attempt(place=0), make_attempt(place=1, token=None), make_attempt(place=2)]
    sending = asyncio.create_task(apns(production=wire).send(attempts, now))
    await asyncio.sleep(0)
    wire.answer(1)
    wire.answer(0, LOST)
    unknown, rejected, taken = await sending
    assert (unknown, rejected) == (Unknown("transport_deadline"), Rejected("no_token"))
    assert isinstance(taken, HandedOver)
    cut_off = asyncio.create_task(apns(production=wire).send(attempts, now))
    await asyncio.sleep(0)
    cut_off.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut_off
    assert wire.abandoned == [2]


async def test_fcm_tells_parts_and_resends_once_what_its_access_token_cost(make_attempt: Make, now: int) -> None:
    wire = Wire()
    attempts = [make_attempt(Path.FCM, place=place) for place in range(3)] + [make_attempt(Path.FCM, token=None)]
    answers = fcm(wire, "Bearer old", "Bearer new").send_in_parts(attempts, now, AT_ONCE)
    assert await part(answers) == {3: Rejected("no_token")}
    wire.answer(0)
    assert list(await part(answers)) == [0]
    wire.answer(1, Reply(401, [], b"{}"))
    assert await part(answers) == {}
    wire.answer(2, LOST)
    assert await part(answers) == {2: Unknown("transport_deadline")}
    assert [dict(found.headers)["authorization"] for found in wire.batches[1][1]] == ["Bearer new"]
    wire.answer(0, Reply(401, [], b"{}"))
    assert await part(answers) == {1: Rejected("status_401", configuration=True)}
    assert len(wire.batches) == 2


async def test_without_an_access_token_nothing_leaves(make_attempt: Make, now: int) -> None:
    wire = Wire()
    lack = NoAccess(RetryLater("oauth_unavailable"))
    answers = fcm(wire, lack).send_in_parts([make_attempt(Path.FCM)], now, AT_ONCE)
    assert await part(answers) == {0: RetryLater("oauth_unavailable")}
    assert wire.batches == []
    await answers.aclose()
