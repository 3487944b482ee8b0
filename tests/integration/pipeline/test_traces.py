"""Traces of dispatched messages: connected from request to receipt, without anything handed over but the message."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from dispatcher.core import AppCore
from dispatcher.domain.clock import MINUTE, SECOND
from dispatcher.domain.delivery import Proof
from dispatcher.domain.outcome import HandedOver, RetryLater
from dispatcher.domain.paths import Path
from dispatcher.domain.trace import Attribute, Span, TraceContext
from dispatcher.pipeline.traces import Traces
from dispatcher.ports.tracing import Tracing

ROOT = TraceContext(0xAA, 0xBB)


class Told:
    """Keeps spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def record(self, span: Span) -> None:
        self.spans.append(span)

    async def close(self) -> None:
        """Nothing waits."""

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def tree(self, name: str = "") -> list[str]:
        """Parent and child, by name, in order of telling."""
        names = {span.context: span.name for span in self.spans} | {ROOT: "request"}
        assert len(names) == len(self.spans) + 1, "every span has an id of its own"
        return [f"{names[span.parent or ROOT]} > {span.name}" for span in self.spans if name in span.name]


@pytest.fixture
def told(world: Any) -> Told:
    """The world with tracing on."""
    kept = Told()
    tracing: Tracing = kept
    traces = Traces(tracing, ratio=1, dice=Random(1).getrandbits)
    world.stores = replace(world.stores, parts=replace(world.stores.parts, traces=traces))
    world.core = AppCore(world.stores)
    world.drains = world.worker(world.stores)
    return kept


async def settle_traces(world: Any) -> None:
    """What is told behind answers has been told."""
    while behind := world.core.traces._behind:
        await asyncio.wait(behind)
    await world.core.traces.close()


async def test_one_dispatch_is_one_connected_trace(world: Any, told: Told) -> None:
    await world.app()
    await world.user("li", "d1")
    await world.dispatch("cm1", "li", trace=ROOT.pack())
    await world.work()
    attempt = world.sent[-1].attempt
    await world.receipt("", "li", "d1", delivery_id=attempt.delivery_id, attempt_id=attempt.attempt_id)
    await settle_traces(world)
    assert told.tree() == [
        "request > plan",
        "plan > send apns",
        "send apns > apns request",
        "send apns > receipt delivered",
    ]
    assert {span.context.trace_id for span in told.spans} == {0xAA}
    (plan,), (send,) = told.named("plan"), told.named("send apns")
    assert plan.attributes[Attribute.RULE] == "everyone"
    assert send.attributes[Attribute.OUTCOME] == "handed_over"
    assert send.attributes[Attribute.ATTEMPT_ID] == attempt.attempt_id


async def test_an_escalation_is_told_with_both_of_its_steps(world: Any, told: Told) -> None:
    await world.app()
    await world.user("li", "d1")
    await world.dispatch("cm1", "li", trace=ROOT.pack())
    await world.advance(11 * SECOND)
    text = world.sent[-1]
    assert text.path is Path.SMS
    await world.core.receiver.carrier_status(text.attempt.attempt_id, "sent", proof=False, failed=False, now=world.now)
    await world.core.receiver.carrier_status(
        text.attempt.attempt_id, "delivered", proof=True, failed=False, now=world.now
    )
    await settle_traces(world)
    *stages, sent, delivered = told.tree()
    assert stages == [
        "request > plan",
        "plan > send apns",
        "send apns > apns request",
        "plan > escalate",
        "plan > send sms",
        "send sms > sms request",
    ]
    assert {sent, delivered} == {
        "send sms > receipt sms sent",
        "send sms > receipt delivered",
    }  # each behind its answer
    (escalate,) = told.named("escalate")
    assert (escalate.attributes[Attribute.REASON], escalate.attributes[Attribute.PATH]) == ("timeout", "sms")


async def test_every_retry_has_a_span_and_a_fault_is_marked(world: Any, told: Told) -> None:
    answers = [RetryLater("Shutdown", after_ms=1_000), HandedOver("x")]
    world.providers[Path.APNS].answer = lambda _: answers.pop(0)
    await world.app("{path: push, wait: 1m, retries: 2}")
    await world.user("li", "d1")
    await world.dispatch("cm1", "li", trace=ROOT.pack())
    await world.advance(5 * SECOND)
    first, second = told.named("send apns")
    assert (first.error, second.error) == ("Shutdown", None)
    assert first.context != second.context


async def test_a_receipt_that_comes_after_the_archive_belongs_to_it(world: Any, told: Told) -> None:
    await world.app()
    await world.user("li", "d1")
    await world.dispatch("cm1", "li", trace=ROOT.pack())
    await world.work()
    await world.receipt("cm1", "li", "d1")
    await world.archive()
    await world.advance(MINUTE)
    await world.archive()
    await world.receipt("cm1", "li", "d1", event=Proof.OPENED)
    await settle_traces(world)
    assert told.tree("receipt opened") == ["plan > receipt opened"]


async def test_recipients_and_devices_each_have_their_own_spans(world: Any, told: Told) -> None:
    await world.app(reach="each")
    await world.user("li", "d1", "d2")
    await world.user("wu", "d3")
    await world.dispatch("cm1", "li", "wu", trace=ROOT.pack())
    await world.work()
    assert len(told.named("plan")) == 2
    assert sorted(span.attributes[Attribute.TRACKS] for span in told.named("plan")) == [1, 2]
    assert len(told.tree("send apns")) == 3


async def test_what_nobody_records_leaves_no_span(world: Any, told: Told) -> None:
    await world.app()
    await world.user("li", "d1")
    await world.dispatch("cm1", "li")
    await world.work()
    await world.receipt("cm1", "li", "d1")
    await settle_traces(world)
    assert told.spans == []


async def test_spans_hold_no_number_token_or_text(world: Any, told: Told) -> None:
    await world.app()
    await world.user("li", "d1")
    await world.dispatch("cm1", "li", trace=ROOT.pack())
    await world.advance(11 * SECOND)
    written = repr(told.spans)
    attempts: Sequence[Any] = [sent.attempt for sent in world.sent]
    assert any(attempt.phone for attempt in attempts)
    for secret in ("Wang", "Are you there?", "'li'", "'d1'", "token-d1", *(one.phone for one in attempts if one.phone)):
        assert secret not in written
