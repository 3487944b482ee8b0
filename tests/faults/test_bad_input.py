"""Bad input through the real doors: a clear 4xx or close code, never a 5xx, and nothing changes."""

import asyncio
import json
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import connect as dial
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

pytestmark = pytest.mark.xdist_group("bad-input")
GOOD = {"message_id": "bad", "to": {"user_ids": ["li"]}, "notification": {"title": "T"}}


def changed(**values: Any) -> bytes:
    return json.dumps(GOOD | values).encode()


BODIES = {
    "no json": b"{",
    "empty": b"",
    "an array": b"[]",
    "a number": b"7",
    "unknown field": changed(message="x"),
    "unknown field inside": changed(to={"user_ids": ["li"], "groups": []}),
    "wrong type": changed(ttl=5),
    "wrong type inside": changed(to={"user_ids": "li"}),
    "no recipient": changed(to={"user_ids": []}),
    "too many recipients": changed(to={"user_ids": [f"u{number}" for number in range(1_001)]}),
    "no content": json.dumps({"message_id": "bad", "to": {"user_ids": ["li"]}}).encode(),
    "too much content": changed(data={"x": "y" * 4_001}),
    "id with a space": changed(message_id="b a d"),
    "id too long": changed(message_id="b" * 129),
    "class too long": changed(**{"class": "c" * 33}),
    "not before too far": changed(not_before="2099-01-01T00:00:00Z"),
    "not before without zone": changed(not_before="2026-11-22T00:00:00"),
    "ttl negative": changed(ttl="-1s"),
    "bad utf-8": b'{"message_id": "\xff\xfe", "to": {"user_ids": ["li"]}}',
    "lone surrogate": b'{"message_id": "bad", "to": {"user_ids": ["li"]}, "notification": {"title": "\\ud800"}}',
    "nul": b'{"message_id": "bad", "to": {"user_ids": ["li"]}, "notification": {"title": "\\u0000"}}',
    "nul in data": b'{"message_id": "bad", "to": {"user_ids": ["li"]}, "data": {"a": {"b\\u0000": 1}}}',
    "nan": b'{"message_id": "bad", "to": {"user_ids": ["li"]}, "data": {"x": NaN}}',
    "infinity": b'{"message_id": "bad", "to": {"user_ids": ["li"]}, "data": {"x": 1e999}}',
    "deep": b'{"message_id": "bad", "to": {"user_ids": ["li"]}, "data": ' + b'{"a":' * 9_000 + b"1" + b"}" * 9_001,
    "deep arrays": b'{"message_id": "bad", "to": {"user_ids": ["li"]}, "data": {"a": ' + b"[" * 60_000,
    "2 MB": changed(data={"x": "y" * 2_000_000}),
    "unknown template": changed(template="nobody's", notification=None),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_bad_dispatch_is_refused_and_stores_nothing(up: Any, name: str) -> None:
    before = up.http.get("/v1/books").json()["classes"]
    response = up.http.post("/v1/messages", content=BODIES[name], headers={"Content-Type": "application/json"})
    assert 400 <= response.status_code < 500, response.text
    assert response.headers["Content-Type"].startswith("application/problem+json")
    assert {"type", "title", "status", "code"} <= set(response.json())
    assert up.http.get("/v1/messages/bad").status_code == 404
    assert up.http.get("/v1/books").json()["classes"] == before


async def test_a_bad_item_of_a_batch_fails_alone(up: Any) -> None:
    name = uuid4().hex[:8]
    items = [GOOD | {"message_id": f"{name}-1"}, {"message_id": f"{name}-2"}, 7, GOOD | {"message_id": f"{name}-3"}]
    response = up.http.post("/v1/messages/batch", json={"messages": items})
    assert response.status_code == 200
    assert [one["status"] for one in response.json()["results"]][::3] == [202, 202]
    assert all(400 <= one["status"] < 500 for one in response.json()["results"][1:3])


TOKENS = {
    "none": None,
    "empty": "Bearer",
    "no bearer": "Basic eDp5",
    "unknown key": "Bearer pp_aaaaaaaaaaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    "nonsense": "Bearer ~~ ,;=",
    "no signature": "Bearer eyJhbGciOiJub25lIn0.eyJhcHAiOiJkZW1vIn0.",
    "long": "Bearer " + "x" * 7_000,
}


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("door", ["/v1/messages/x", "/v1/inbox", "/v1/strategies", "/v1/books"])
def test_without_a_key_nothing_opens(up: Any, name: str, door: str) -> None:
    value = TOKENS[name]
    headers = {} if value is None else {"Authorization": value}
    response = httpx.get(up.document["api_url"] + door, headers=headers, trust_env=False)
    assert response.status_code == 401, response.text


def token_of(up: Any, user: str, device: str, **values: Any) -> str:
    response = up.http.post("/v1/device-tokens", json={"user_id": user, "device_id": device, **values})
    assert response.status_code == 201, response.text
    return str(response.json()["token"])


def as_phone(up: Any, token: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=up.document["api_url"], headers=headers, trust_env=False, timeout=10)


def test_a_device_is_new_after_its_first_token_and_changed_after_that(up: Any) -> None:
    user, device = f"u{uuid4().hex[:8]}", f"d{uuid4().hex[:8]}"
    with as_phone(up, token_of(up, user, device)) as phone:
        body = {"user_id": user, "platform": "ios", "tokens": []}
        assert [phone.put(f"/v1/devices/{device}", json=body).status_code for _ in range(2)] == [201, 200]


def test_a_phone_does_only_what_is_its_own(up: Any) -> None:
    user, device = f"u{uuid4().hex[:8]}", f"d{uuid4().hex[:8]}"
    with as_phone(up, token_of(up, user, device)) as phone:
        other = {"user_id": "wang", "platform": "ios", "tokens": []}
        assert phone.put(f"/v1/devices/{device}", json=other).status_code == 403
        own = {"user_id": user, "platform": "ios", "tokens": []}
        assert phone.put("/v1/devices/another", json=own).status_code == 403
        assert phone.post("/v1/messages", json=GOOD).status_code == 403
        assert phone.put("/v1/users/li", json={"locale": "en"}).status_code == 403
        assert phone.get("/v1/strategies").status_code == 403
        assert phone.get("/v1/inbox?after=" + "0" * 32).status_code == 422
        assert phone.get("/v1/inbox?limit=0").status_code == 422
        assert phone.get("/v1/inbox?wait=1h").status_code == 422
        assert phone.get("/v1/inbox?nonsense=1").status_code == 422


def test_a_moved_devices_old_token_is_worth_nothing(up: Any) -> None:
    user, device = f"u{uuid4().hex[:8]}", f"d{uuid4().hex[:8]}"
    with as_phone(up, token_of(up, user, device)) as phone:
        phone.put(f"/v1/devices/{device}", json={"user_id": user, "platform": "ios", "tokens": []}).raise_for_status()
        assert phone.get("/v1/inbox").status_code == 200
        token_of(up, "somebody", device)
        assert phone.get("/v1/inbox").status_code == 401


def test_foreign_receipts_count_as_unknown_and_prove_nothing(up: Any) -> None:
    name = uuid4().hex[:8]
    message = f"{name}-m"
    up.http.post(
        "/v1/messages", json=GOOD | {"message_id": message, "to": {"user_ids": [f"{name}-li", f"{name}-wang"]}}
    )
    deliveries = up.http.get(f"/v1/messages/{message}").json()["deliveries"]
    own, foreign = (one["delivery_id"] for one in deliveries)
    forged = foreign[:20] + own[20:]
    with as_phone(up, token_of(up, f"{name}-li", f"{name}-d")) as phone:
        for guess in (foreign, forged, "0" * 28, "x"):
            answer = phone.post("/v1/receipts", json={"receipts": [{"delivery_id": guess, "event": "opened"}]})
            assert answer.json() == {"accepted": 0, "unknown": 1, "duplicate": 0}
        for bad in ({"delivery_id": own, "event": "read"}, {"event": "opened"}, {"delivery_id": own}):
            assert phone.post("/v1/receipts", json={"receipts": [bad]}).status_code == 422
    after = up.http.get(f"/v1/messages/{message}").json()["deliveries"]
    assert [one["proof"] for one in after] == ["none", "none"]


async def test_a_forged_sms_callback_is_refused_and_changes_nothing(up: Any) -> None:
    name = uuid4().hex[:8]
    await up.person(f"{name}-u")
    up.script("sms", receipt={"after": "1h", "status": "delivered"})
    await up.dispatch(f"{name}-m", f"{name}-u")
    await up.until(lambda: any(name in text for text in up.texts()), 10)
    up.unscript("sms")
    (text,) = [request for request in up.requests("sms") if request["method"] == "POST" and name in request["body"]]
    callback = httpx.QueryParams(text["body"])["StatusCallback"]
    form = {"MessageSid": "SM" + "0" * 32, "MessageStatus": "delivered"}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    unknown = callback.rpartition("/")[0] + "/" + "0" * 28 + "-0.0.0s"
    async with httpx.AsyncClient(trust_env=False) as anybody:
        for signature in ("", "bm90IGEgc2lnbmF0dXJl", "x" * 5_000):
            signed = headers | {"X-Twilio-Signature": signature}
            answer = await anybody.post(callback, content=urlencode(form), headers=signed)
            assert answer.status_code == 403, answer.text
        answer = await anybody.post(unknown, content=urlencode(form), headers=headers)
        assert answer.status_code in {403, 404}
    assert up.states(f"{name}-m") == {(f"{name}-m", f"{name}-u"): "open"}


async def closed(up: Any, *frames: str | bytes, wait_s: float = 8) -> int:
    """The code with which the gateway ends a line after these frames."""
    async with dial(
        up.document["gateway_url"], subprotocols=[Subprotocol("pushpath.v1.json")], compression=None, proxy=None
    ) as line:
        try:
            for frame in frames:
                await line.send(frame)
            async with asyncio.timeout(wait_s):
                while True:
                    await line.recv()
        except ConnectionClosed:
            return line.close_code or 0


HELLOS: dict[str, tuple[tuple[str | bytes, ...], int]] = {
    "never": ((), 1008),
    "another frame first": (('{"t":"ping"}',), 1008),
    "no json": (("{",), 4003),
    "unknown frame": (('{"t":"dance"}',), 4003),
    "unknown field": (('{"t":"hello","token":"x","state":"foreground","x":1}',), 4003),
    "bad token": (('{"t":"hello","token":"x","state":"foreground"}',), 4001),
    "1 MB": (('{"t":"hello","token":"' + "x" * 1_000_000 + '","state":"foreground"}',), 1009),
}


@pytest.mark.parametrize("name", HELLOS)
async def test_a_bad_hello_is_told_why(up: Any, name: str) -> None:
    frames, code = HELLOS[name]
    assert await closed(up, *frames) == code


async def test_foreign_cursors_expired_and_moved_tokens_close_the_line(up: Any) -> None:
    name = uuid4().hex[:8]
    token = token_of(up, f"{name}-li", f"{name}-d")

    def hello(text: str, **values: Any) -> str:
        return json.dumps({"t": "hello", "token": text, "state": "foreground", **values})

    assert await closed(up, hello(token, cursor="0" * 32)) == 4003
    assert await closed(up, hello(token[:-2] + ("AA" if token[-2:] != "AA" else "BB"))) == 4001
    short = token_of(up, f"{name}-li", f"{name}-d", ttl="1s")
    await asyncio.sleep(1.2)
    assert await closed(up, hello(short)) == 4001
    token_of(up, f"{name}-wang", f"{name}-d")
    assert await closed(up, hello(token)) == 4010


async def test_fifty_identical_dispatches_at_once_are_one_message(up: Any) -> None:
    name = uuid4().hex[:8]
    body = GOOD | {"message_id": f"{name}-m", "to": {"user_ids": [f"{name}-u"]}}
    async with httpx.AsyncClient(
        base_url=up.document["api_url"], headers=up.http.headers, trust_env=False, timeout=20
    ) as client:
        answers = await asyncio.gather(*(client.post("/v1/messages", json=body) for _ in range(50)))
        assert sorted(answer.status_code for answer in answers) == [200] * 49 + [202]
        assert len({answer.json()["accepted_at"] for answer in answers}) == 1
        other = await client.post("/v1/messages", json=body | {"ttl": "1h"})
        assert other.status_code == 409
