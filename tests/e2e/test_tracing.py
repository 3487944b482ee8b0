"""Traces through real processes: every `pushpath` of an `up` tells a real collector, decoded from its protobuf."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest

from tests.collector import Collector, Told
from tests.running import RunningUp

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(240)]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NUMBER, TOKEN, TEXT = "+8613800138777", "77" * 32, "Nobody may read this in a trace"
LADDER = """
strategy: traced
limits: {sms: {per_user: 9/1d}}
rules:
  - name: push-then-text
    ladder:
      - {path: push, wait: 2s}
      - {path: sms, wait: 30s}
"""


@pytest.fixture
def traced(watched: tuple[RunningUp, Collector]) -> tuple[RunningUp, Collector]:
    return watched


@pytest.fixture
def backend(watched: tuple[RunningUp, Collector]) -> Iterator[httpx.Client]:
    document = watched[0].document
    headers = {"authorization": f"Bearer {document['api_key']}"}
    with httpx.Client(base_url=document["api_url"], headers=headers, trust_env=False) as client:
        yield client


def person(backend: httpx.Client, user_id: str) -> None:
    told = {"phone": NUMBER, "phone_verified": True, "sms_opt_in": True}
    backend.put(f"/v1/users/{user_id}", json=told).raise_for_status()
    token = {"path": "apns", "kind": "device", "value": TOKEN, "environment": "production", "topic": "com.example.im"}
    device = {"user_id": user_id, "platform": "ios", "alerts_enabled": True, "tokens": [token]}
    backend.put(f"/v1/devices/{user_id}-phone", json=device).raise_for_status()


def dispatch(backend: httpx.Client, message_id: str, user_id: str, trace_id: str, **more: Any) -> None:
    body = {"message_id": message_id, "to": {"user_ids": [user_id]}, "notification": {"title": "Li", "body": TEXT}}
    headers = {"traceparent": f"00-{trace_id}-{SPAN}-01"}
    assert backend.post("/v1/messages", json={**body, **more}, headers=headers).status_code == 202


def connected(spans: Sequence[Told]) -> None:
    """Every span stands under another of the same trace, but the request, which stands under its caller's."""
    known = {span.span_id for span in spans}
    assert len(known) == len(spans)
    for span in spans:
        assert span.parent in known or (span.name == "POST /v1/messages" and span.parent == SPAN), span
        assert span.ended >= span.started


def test_a_push_is_one_connected_trace_from_request_to_receipt(
    traced: tuple[RunningUp, Collector], backend: httpx.Client
) -> None:
    collector = traced[1]
    person(backend, "tess")
    dispatch(backend, "traced-1", "tess", TRACE)
    collector.wait_for(TRACE, "send apns")
    receipt = {"message_id": "traced-1", "user_id": "tess", "device_id": "tess-phone", "event": "displayed"}
    assert backend.post("/v1/receipts", json={"receipts": [receipt]}).json()["accepted"] == 1
    spans = collector.wait_for(TRACE, "POST /v1/messages", "plan", "send apns", "apns request", "receipt displayed")
    connected(spans)
    (request,) = [span for span in spans if span.name == "POST /v1/messages"]
    assert request.attributes["http.response.status_code"] == 202
    assert collector.services == {"pushpath"}


def test_an_escalation_to_a_text_is_told_up_to_the_carriers_word(
    traced: tuple[RunningUp, Collector], backend: httpx.Client
) -> None:
    collector, trace_id = traced[1], "5" * 32
    person(backend, "tom")
    draft = backend.put("/v1/strategies/traced/draft", content=LADDER, headers={"content-type": "application/yaml"})
    assert draft.status_code in {200, 201}, draft.text
    backend.post("/v1/strategies/traced/publish", json={}).raise_for_status()
    dispatch(backend, "traced-2", "tom", trace_id, strategy="traced")
    spans = collector.wait_for(trace_id, "escalate", "send sms", "sms request", "receipt delivered", within_s=40)
    connected(spans)
    by_name = {span.name: span for span in spans}
    assert by_name["receipt delivered"].parent == by_name["send sms"].span_id
    assert by_name["send apns"].parent == by_name["send sms"].parent == by_name["plan"].span_id


def test_what_nobody_wants_recorded_is_not_and_nothing_of_a_person_is(
    traced: tuple[RunningUp, Collector], backend: httpx.Client
) -> None:
    collector = traced[1]
    person(backend, "tim")
    body = {"message_id": "traced-3", "to": {"user_ids": ["tim"]}, "notification": {"title": "x"}}
    unsampled = {"traceparent": f"00-{'6' * 32}-{SPAN}-00"}
    assert backend.post("/v1/messages", json=body, headers=unsampled).status_code == 202
    dispatch(backend, "traced-4", "tim", "7" * 32)
    collector.wait_for("7" * 32, "send apns")
    time.sleep(1.5)  # what the first one had left behind would have come with this batch or the next
    assert not collector.of("6" * 32)
    raw = collector.raw + json.dumps([dict(span.attributes) for span in collector.spans]).encode()
    for secret in (NUMBER, NUMBER[1:], TOKEN, TEXT, "tess", traced[0].document["api_key"]):
        assert secret.encode() not in raw
