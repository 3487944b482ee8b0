"""The FCM end through firebase-admin, httpx and curl: tokens, messages, errors."""

import asyncio
import json
import shutil
import subprocess
import time
import warnings
from collections.abc import Iterator
from typing import Any

import firebase_admin
import httpx
import jwt
import pytest
from firebase_admin import credentials, messaging
from firebase_admin._messaging_utils import QuotaExceededError, ThirdPartyAuthError
from firebase_admin.exceptions import FirebaseError, InvalidArgumentError

GOOD = {"message": {"token": "tok1", "data": {"pushpath": "{}"}}}


async def access_token(lab: Any, **changes: Any) -> httpx.Response:
    account = lab.sandbox.credentials.fcm
    now = int(time.time())
    claims = {
        "iss": account["client_email"],
        "aud": "https://oauth2.googleapis.com/token",
        "iat": now,
        "exp": now + 3600,
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
        **changes,
    }
    assertion = jwt.encode(claims, account["private_key"], "RS256", headers={"kid": account["private_key_id"]})
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    reply: httpx.Response = await lab.http.post(lab.sandbox.oauth_url, data=form)
    return reply


async def send(lab: Any, body: Any, token: str | None = None) -> httpx.Response:
    bearer = token or (await access_token(lab)).json()["access_token"]
    url = f"{lab.sandbox.fcm_url}/v1/projects/pushpath-sandbox/messages:send"
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply: httpx.Response = await lab.http.post(url, content=content, headers={"authorization": f"Bearer {bearer}"})
    return reply


async def test_a_good_message_gets_a_name_and_oauth_is_logged_too(lab: Any) -> None:
    reply = await send(lab, GOOD)
    assert reply.status_code == 200
    assert reply.json()["name"].startswith("projects/pushpath-sandbox/messages/")
    oauth, sent = await lab.requests("fcm")
    assert (oauth["url"], oauth["target"]) == ("/token", None)
    assert (sent["target"], sent["answer"]) == ("tok1", {"status": 200, "reason": None})


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, None),
        ({"iss": "somebody@else"}, "invalid_grant"),
        ({"aud": "https://example.com"}, "invalid_grant"),
        ({"iat": 1, "exp": 2}, "invalid_grant"),
        ({"exp": int(time.time()) + 90_000}, "invalid_grant"),
        ({"scope": "https://www.googleapis.com/auth/drive"}, "invalid_grant"),
    ],
)
async def test_assertions_are_verified(lab: Any, changes: dict[str, Any], error: str | None) -> None:
    reply = await access_token(lab, **changes)
    assert (reply.status_code, reply.json().get("error")) == (400 if error else 200, error)


@pytest.mark.parametrize("bearer", ["nonsense", "ya29.sandbox.1.AAAA"])
async def test_unknown_access_tokens_are_401(lab: Any, bearer: str) -> None:
    reply = await send(lab, GOOD, bearer)
    assert (reply.status_code, reply.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


async def test_access_tokens_end(lab: Any) -> None:
    await lab.script("fcm", oauth_ttl="1s")
    short = (await access_token(lab)).json()
    await lab.script("fcm", oauth_ttl="0s")
    over = (await access_token(lab)).json()
    assert short["expires_in"] == 1
    assert (await send(lab, GOOD, over["access_token"])).status_code == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", ""),
        ({"message": {"data": {}}}, "message"),
        ({"message": {"token": "a", "fid": "b"}}, "message"),
        ({"message": {"token": "a", "data": {"n": 1}}}, "message.data[n].value"),
        ({"message": {"token": "a", "data": {"from": "x"}}}, "message.data"),
        ({"message": {"token": "a", "color": "red"}}, "message.color"),
        ({"message": {"token": "a", "notification": {"title": 5}}}, "message.notification.title"),
        ({"message": {"token": "a", "android": {"ttl": "3600"}}}, "message.android.ttl"),
        ({"message": {"token": "a", "android": {"ttl": "2419201s"}}}, "message.android.ttl"),
        ({"message": {"token": "a", "android": {"priority": "URGENT"}}}, "message.android.priority"),
        ({"message": {"token": "a", "data": {"x": "y" * 4096}}}, "message"),
        ({"message": {"token": "a"}, "extra": 1}, "extra"),
    ],
)
async def test_faulty_messages_name_the_field(lab: Any, body: Any, field: str) -> None:
    reply = await send(lab, body)
    error = reply.json()["error"]
    assert (reply.status_code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["details"][0]["@type"].endswith("google.rpc.BadRequest")
    assert error["details"][0]["fieldViolations"][0]["field"] == field


@pytest.mark.parametrize(
    ("rule", "status", "word", "code"),
    [
        ({"status": 400}, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ({"status": 404, "reason": "UNREGISTERED"}, 404, "NOT_FOUND", "UNREGISTERED"),
        ({"reason": "UNREGISTERED"}, 404, "NOT_FOUND", "UNREGISTERED"),
        ({"reason": "SENDER_ID_MISMATCH"}, 403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
        ({"reason": "THIRD_PARTY_AUTH_ERROR"}, 401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"),
        ({"status": 429, "retry_after": 60}, 429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
        ({"status": 500}, 500, "INTERNAL", "INTERNAL"),
        ({"status": 503, "retry_after": 3}, 503, "UNAVAILABLE", "UNAVAILABLE"),
    ],
)
async def test_scripted_verdicts_carry_fcm_error(
    lab: Any, rule: dict[str, Any], status: int, word: str, code: str
) -> None:
    await lab.script("fcm", errors=[{"match": "tok*", **rule}])
    reply = await send(lab, GOOD)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["status"]) == (status, status, word)
    assert error["details"] == [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}]
    assert reply.headers.get("retry-after") == (str(rule["retry_after"]) if "retry_after" in rule else None)


async def test_a_scripted_payload_fault_names_its_field(lab: Any) -> None:
    await lab.script("fcm", errors=[{"field": "message.android.ttl", "reason": "bad ttl"}])
    detail = (await send(lab, GOOD)).json()["error"]["details"][0]
    assert detail["fieldViolations"] == [{"field": "message.android.ttl", "description": "bad ttl"}]


async def test_oauth_is_exempt_from_faults(lab: Any) -> None:
    await lab.script("fcm", errors=[{"status": 503}], drop_rate=1, goaway_after=1)
    assert [(await access_token(lab)).status_code for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("http2", [False, True])
async def test_clear_text_and_tls_speak_both_versions(lab: Any, trust: Any, http2: bool, secure: bool) -> None:
    base = lab.sandbox.fcm_tls_url if secure else lab.sandbox.fcm_url
    headers = {"authorization": f"Bearer {(await access_token(lab)).json()['access_token']}"}
    context = trust(lab.sandbox.ca_file)
    async with httpx.AsyncClient(http1=not http2, http2=http2, verify=context, trust_env=False) as client:
        reply = await client.post(f"{base}/v1/projects/pushpath-sandbox/messages:send", json=GOOD, headers=headers)
    assert (reply.status_code, reply.http_version) == (200, "HTTP/2" if http2 else "HTTP/1.1")


@pytest.fixture
def firebase(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[firebase_admin.App]:
    url = lab.sandbox.fcm_url + "/v1/projects/{0}/messages:send"
    monkeypatch.setattr(messaging._MessagingService, "FCM_URL", url)
    app = firebase_admin.initialize_app(credentials.Certificate(lab.sandbox.credentials.fcm), name="sandbox")
    yield app
    firebase_admin.delete_app(app)


async def test_firebase_admin_sends_to_installation_ids_and_tokens(lab: Any, firebase: firebase_admin.App) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old = messaging.Message(token="tok9", notification=messaging.Notification("t", "b"))
    android = messaging.AndroidConfig(ttl=60, priority="high", collapse_key="c42")
    new = messaging.Message(fid="fid1", data={"pushpath": "{}"}, android=android)
    names = [await asyncio.to_thread(messaging.send, message, app=firebase) for message in (new, old)]
    assert all(name.startswith("projects/pushpath-sandbox/messages/") for name in names)
    logged = [entry for entry in await lab.requests("fcm") if entry["target"]]
    assert [entry["target"] for entry in logged] == ["fid1", "tok9"]
    assert json.loads(logged[0]["body"])["message"]["android"]["ttl"] == "60s"


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"reason": "UNREGISTERED"}, messaging.UnregisteredError),
        ({"reason": "SENDER_ID_MISMATCH"}, messaging.SenderIdMismatchError),
        ({"reason": "THIRD_PARTY_AUTH_ERROR"}, ThirdPartyAuthError),
        ({"reason": "QUOTA_EXCEEDED"}, QuotaExceededError),
        ({"status": 400}, InvalidArgumentError),
    ],
)
async def test_firebase_admin_names_the_errors(
    lab: Any, firebase: firebase_admin.App, rule: dict[str, Any], error: type[FirebaseError]
) -> None:
    await lab.script("fcm", errors=[rule])
    with pytest.raises(error):
        await asyncio.to_thread(messaging.send, messaging.Message(fid="fid1"), app=firebase)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
async def test_curl(lab: Any) -> None:
    bearer = (await access_token(lab)).json()["access_token"]
    command = ["curl", "-sS", "-H", f"Authorization: Bearer {bearer}", "-d", json.dumps(GOOD), "-w", "%{http_code}"]
    url = f"{lab.sandbox.fcm_url}/v1/projects/pushpath-sandbox/messages:send"
    done = await asyncio.to_thread(subprocess.run, [*command, url], capture_output=True, check=False)
    assert done.stdout.endswith(b"200"), done.stderr
