"""The control API: what it refuses, what it shows; and credentials that outlive a restart."""

import asyncio
import os
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from providers.sandbox import Sandbox, SandboxSettings, ensure_credentials, load_credentials, serve
from providers.sandbox.certificate import ensure_certificate


@pytest.mark.parametrize(
    ("end", "body", "status", "field"),
    [
        ("apns", '{"latancy": "3s"}', 422, "latancy"),
        ("fcm", '{"errors": [{"tymes": 3}]}', 422, "errors[0].tymes"),
        ("sms", '{"receipt": {"after": "soon"}}', 422, "receipt.after"),
        ("sms", "{", 400, None),
        ("sms", "", 400, None),
    ],
)
async def test_a_bad_script_is_refused_by_field_and_changes_nothing(
    lab: Any, end: str, body: str, status: int, field: str | None
) -> None:
    await lab.script(end, latency="1ms")
    reply = await lab.http.put(f"{lab.sandbox.control_url}/control/{end}", content=body)
    problem = reply.json()
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    assert [error["field"] for error in problem["errors"]] == ([] if field is None else [field])
    assert (await lab.http.get(f"{lab.sandbox.control_url}/control/{end}")).json()["latency"] == "1ms"


@pytest.mark.parametrize("end", ["apns", "fcm", "sms"])
async def test_every_documented_field_is_taken_by_every_end(lab: Any, end: str) -> None:
    rule = {"match": "a*", "status": 500, "reason": "x", "times": None, "retry_after": 1, "timestamp_ms": 2}
    receipt = {"after": "2s", "status": "delivered"}
    await lab.script(end, latency="5ms", errors=[rule], goaway_after=9, drop_rate=0.5, receipt=receipt)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/control/mail", 404),
        ("GET", "/", 404),
        ("POST", "/control/apns", 405),
        ("DELETE", "/control/apns/requests", 405),
        ("GET", "/control/apns/requests?after=-1", 422),
        ("GET", "/control/apns/requests?after=x", 422),
        ("GET", "/control/apns/requests?since=1", 422),
        ("GET", "/healthz", 200),
    ],
)
async def test_routes(lab: Any, method: str, path: str, status: int) -> None:
    assert (await lab.http.request(method, lab.sandbox.control_url + path)).status_code == status


async def test_the_log_is_bounded_and_says_what_it_dropped(settings: SandboxSettings, lab: Any) -> None:
    small = await Sandbox.start(replace(settings, log_limit=3))
    for _ in range(5):
        await lab.http.post(f"{small.fcm_url}/v1/projects/x/messages:send")
    page = (await lab.http.get(f"{small.control_url}/control/fcm/requests")).json()
    await small.stop()
    assert ([entry["n"] for entry in page["requests"]], page["dropped"], page["last"]) == ([3, 4, 5], 2, 5)


async def test_two_sandboxes_side_by_side_and_a_taken_port(settings: SandboxSettings, lab: Any) -> None:
    taken = int(lab.sandbox.control_url.rpartition(":")[2])
    with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
        await Sandbox.start(replace(settings, control_port=taken))


async def test_serve_runs_until_sigterm(settings: SandboxSettings) -> None:
    started: asyncio.Queue[Sandbox] = asyncio.Queue()
    serving = asyncio.create_task(serve(settings, started.put_nowait))
    sandbox = await asyncio.wait_for(started.get(), 10)
    assert load_credentials(settings.directory).fcm["token_uri"] == sandbox.oauth_url
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 5)


def test_secrets_are_private_and_never_printed(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    own = ensure_credentials(directory, "http://127.0.0.1:1/token")
    ensure_certificate(directory, "127.0.0.1")
    assert load_credentials(directory) == own
    for secret in (own.apns.key_pem, own.sms.auth_token, own.fcm["private_key"]):
        assert secret not in repr(own)
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert directory.stat().st_mode & 0o777 == 0o700


def test_credentials_stay_the_same_and_follow_the_token_endpoint(tmp_path: Path) -> None:
    first = ensure_credentials(tmp_path, "http://127.0.0.1:1/token")
    second = ensure_credentials(tmp_path, "http://127.0.0.1:2/token")
    assert second.fcm == {**first.fcm, "token_uri": "http://127.0.0.1:2/token"}
    assert (second.apns, second.sms) == (first.apns, first.sms)


def test_the_certificate_is_kept_until_it_no_longer_fits(tmp_path: Path) -> None:
    first = ensure_certificate(tmp_path, "127.0.0.1").chain.read_bytes()
    assert ensure_certificate(tmp_path, "127.0.0.1").chain.read_bytes() == first
    assert ensure_certificate(tmp_path, "127.0.0.2").chain.read_bytes() != first
    renewed = ensure_certificate(tmp_path, "127.0.0.2", datetime.now(UTC) + timedelta(days=3640)).chain.read_bytes()
    assert renewed != first
