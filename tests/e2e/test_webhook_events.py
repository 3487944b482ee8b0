"""All eight status events through real processes, to a receiver that checks every signature."""

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from hashlib import sha256
from hmac import digest
from typing import Any

import httpx
import pytest

from tests.collector import Collector, listening
from tests.running import RunningUp

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(240)]
EVENTS = ["handed_over", "delivered", "displayed", "opened", "escalated", "settled", "token_dead", "sms_status"]
SECRET = b"a secret of twenty-four b"
GOOD, DEAD = "aa" * 32, "dd" * 32
LADDER = """
strategy: told
limits: {sms: {per_user: 9/1d}}
rules:
  - name: push-then-text
    ladder:
      - {path: push, wait: 20s}
      - {path: sms, wait: 30s}
"""


class Receiver:
    """Keeps what came; answers 500 for a while where told so."""

    def __init__(self) -> None:
        self.url = ""
        self.refusals = 0
        self.posts: list[tuple[str, bool]] = []
        self.events: list[dict[str, Any]] = []

    def take(self, headers: Any, body: bytes) -> int:
        name, at, signature = (headers[f"webhook-{part}"] for part in ("id", "timestamp", "signature"))
        expected = b64encode(digest(SECRET, f"{name}.{at}.".encode() + body, sha256)).decode()
        self.posts.append((name, signature == f"v1,{expected}" and abs(time.time() - int(at)) < 60))
        if self.refusals:
            self.refusals -= 1
            return 500
        self.events += json.loads(body)["events"]
        return 204

    def wait_for(self, message_id: str, *names: str, within_s: float = 40) -> dict[str, dict[str, Any]]:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            told = {event["event"]: event for event in list(self.events) if event["message_id"] == message_id}
            if set(names) <= set(told):
                return told
            time.sleep(0.05)
        raise AssertionError(f"{sorted(set(names) - set(told))} of {message_id} never came")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    kept = Receiver()
    with listening(lambda request, body: kept.take(request.headers, body)) as url:
        kept.url = f"{url}/in"
        yield kept


@pytest.fixture
def backend(watched: tuple[RunningUp, Collector], receiver: Receiver) -> Iterator[httpx.Client]:
    document = watched[0].document
    control = f"{document['sandbox']['control_url']}/control"
    headers = {"authorization": f"Bearer {document['api_key']}"}
    with httpx.Client(base_url=document["api_url"], headers=headers, trust_env=False) as client:
        hook = {"url": receiver.url, "events": EVENTS, "secret": f"whsec_{b64encode(SECRET).decode()}"}
        made = client.post("/v1/webhooks", json=hook).raise_for_status().json()
        assert b64decode(made["secret"].removeprefix("whsec_")) == SECRET
        yield client
        client.delete(f"/v1/webhooks/{made['webhook_id']}").raise_for_status()
    for end in ("apns", "sms"):
        httpx.delete(f"{control}/{end}", trust_env=False)


def person(backend: httpx.Client, user_id: str, token: str, **told: Any) -> None:
    backend.put(f"/v1/users/{user_id}", json=told).raise_for_status()
    tokens = [
        {"path": "apns", "kind": "device", "value": token, "environment": "production", "topic": "com.example.im"}
    ]
    device = {"user_id": user_id, "platform": "ios", "alerts_enabled": True, "tokens": tokens}
    backend.put(f"/v1/devices/{user_id}-phone", json=device).raise_for_status()


def dispatch(backend: httpx.Client, message_id: str, user_id: str, **more: Any) -> None:
    body = {"message_id": message_id, "to": {"user_ids": [user_id]}, "notification": {"title": "t", "body": "b"}}
    backend.post("/v1/messages", json={**body, **more}).raise_for_status()


def test_a_push_is_told_from_hand_over_to_opened(backend: httpx.Client, receiver: Receiver) -> None:
    person(backend, "wanda", GOOD)
    receiver.refusals = 1  # the first POST is sent again, under its id
    dispatch(backend, "told-1", "wanda")
    receiver.wait_for("told-1", "handed_over")
    for event in ("delivered", "displayed", "opened"):
        receipt = {"message_id": "told-1", "user_id": "wanda", "device_id": "wanda-phone", "event": event}
        backend.post("/v1/receipts", json={"receipts": [receipt]}).raise_for_status()
    told = receiver.wait_for("told-1", "handed_over", "delivered", "displayed", "opened", "settled")
    assert told["handed_over"]["attempt_id"].startswith(told["handed_over"]["delivery_id"])
    assert told["settled"]["detail"]["state"] == "confirmed"
    assert all(well for _, well in receiver.posts), "every POST is signed"
    assert receiver.posts[0][0] == receiver.posts[1][0], "a retry keeps its id"


def test_a_dead_token_an_escalation_and_the_carriers_code_are_told(
    watched: tuple[RunningUp, Collector], backend: httpx.Client, receiver: Receiver
) -> None:
    control = f"{watched[0].document['sandbox']['control_url']}/control"
    dead = {"errors": [{"match": DEAD, "status": 410, "reason": "Unregistered"}]}
    httpx.put(f"{control}/apns", json=dead, trust_env=False).raise_for_status()
    failing = {"receipt": {"after": "500ms", "status": "undelivered", "error_code": 30003}}
    httpx.put(f"{control}/sms", json=failing, trust_env=False).raise_for_status()
    draft = backend.put("/v1/strategies/told/draft", content=LADDER, headers={"content-type": "application/yaml"})
    assert draft.is_success, draft.text
    backend.post("/v1/strategies/told/publish", json={}).raise_for_status()
    person(backend, "walt", DEAD, phone="+8613800138666", phone_verified=True, sms_opt_in=True)
    dispatch(backend, "told-2", "walt", strategy="told")
    told = receiver.wait_for("told-2", "token_dead", "escalated", "handed_over", "sms_status", "settled")
    assert told["token_dead"]["detail"] == {"reason": "Unregistered"}
    assert told["escalated"]["detail"]["reason"] in {"token_dead", "failed"}
    assert told["handed_over"]["path"] == "sms"
    carrier = [
        one["detail"] for one in receiver.events if (one["message_id"], one["event"]) == ("told-2", "sms_status")
    ]
    assert carrier[-1] == {"status": "undelivered", "error": "30003"}
    assert told["settled"]["detail"]["state"] == "exhausted"


def test_the_command_line_sees_and_switches_them(
    watched: tuple[RunningUp, Collector], backend: httpx.Client, receiver: Receiver
) -> None:
    up = watched[0]
    (one,) = json.loads(up.run("webhooks", "list", "--json").stdout)
    assert (one["url"], one["state"]) == (receiver.url, "active")
    assert "paused" in up.run("webhooks", "pause", one["webhook_id"]).stdout
    assert "active" in up.run("webhooks", "resume", one["webhook_id"]).stdout
    replayed = json.loads(up.run("webhooks", "replay", one["webhook_id"], "--json").stdout)
    assert replayed["id"] == one["webhook_id"]
