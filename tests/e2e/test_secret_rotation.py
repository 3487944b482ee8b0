"""The runbook's rotation of the master secret, by its commands, on real processes that are restarted."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.running import RunningUp, running_up

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(280)]


@pytest.fixture
def parent() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="pushpath-secret-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def door(up: RunningUp) -> httpx.Client:
    headers = {"authorization": f"Bearer {up.document['api_key']}"}
    return httpx.Client(base_url=up.document["api_url"], headers=headers, trust_env=False, timeout=20)


def before(up: RunningUp) -> dict[str, Any]:
    """A person with a number, a phone with a token, a message in its inbox, a webhook, an operator who signed in."""
    with door(up) as api:
        api.put("/v1/users/ro", json={"phone": "+8613800138999"}).raise_for_status()
        device = {"user_id": "ro", "platform": "android", "tokens": []}
        api.put("/v1/devices/ro-phone", json=device).raise_for_status()
        body = {"user_id": "ro", "device_id": "ro-phone"}
        token = api.post("/v1/device-tokens", json=body).raise_for_status().json()["token"]
        sent = {"message_id": "ro-1", "to": {"user_ids": ["ro"]}, "data": {"k": 1}}
        api.post("/v1/messages", json=sent).raise_for_status()
        hook = {"url": "https://1.1.1.1/hook", "events": ["settled"]}
        api.post("/v1/webhooks", json=hook).raise_for_status()
        session = api.post("/v1/sessions", json=up.document["console_login"]).raise_for_status().json()["token"]
        (entry,) = api.get("/v1/inbox", params={"user_id": "ro"}).raise_for_status().json()["messages"]
        return {"token": token, "session": session, "entry": entry}


def test_another_secret_takes_over_and_nothing_of_before_ends(parent: Path) -> None:
    with running_up(parent, keep=True) as up:
        kept = before(up)
        printed = json.loads(up.run("secret", "next", "--in", "1s", "--json").stdout)
    variables = {
        "PUSHPATH_SECRET_KEY": printed["secret_key"],
        "PUSHPATH_PREVIOUS_SECRET_KEYS": ",".join(printed["previous_secret_keys"]),
    }
    with running_up(parent, **variables) as up:
        phone = {"authorization": f"Bearer {kept['token']}"}
        with httpx.Client(base_url=up.document["api_url"], headers=phone, trust_env=False, timeout=20) as device:
            page = device.get("/v1/inbox").raise_for_status().json()
            assert [entry["delivery_id"] for entry in page["messages"]] == [kept["entry"]["delivery_id"]]
            after = device.get("/v1/inbox", params={"after": kept["entry"]["cursor"]}).raise_for_status().json()
            assert after["messages"] == []
            receipt = {"delivery_id": kept["entry"]["delivery_id"], "event": "opened"}
            counts = device.post("/v1/receipts", json={"receipts": [receipt]}).raise_for_status().json()
            assert counts["unknown"] == 0
        with door(up) as api:
            assert api.get("/v1/users/ro").raise_for_status().json()["phone"].endswith("99")
            person = {"authorization": f"Bearer {kept['session']}"}
            api.get("/v1/sessions", headers=person).raise_for_status()
        looked = up.run("secret", "check", "--json")
        earlier = {kind: tally["earlier"] for kind, tally in json.loads(looked.stdout).items()}
        assert (looked.returncode, earlier["webhooks"]) == (1, 1) or not any(earlier.values())  # a worker was faster
        resealed = up.run("secret", "reseal")
        assert resealed.returncode == 0, resealed.stderr
        checked = up.run("secret", "check")
        assert checked.returncode == 0, checked.stdout
        said = resealed.stdout + checked.stdout + looked.stdout + looked.stderr
        assert all(key.split("@")[0] not in said for key in (printed["secret_key"], *printed["previous_secret_keys"]))
        assert up.run("credentials", "check", up.document["app_id"]).returncode == 0
        wrong = up.run("secret", "next", "--in", "soon")
        assert (wrong.returncode, "duration" in wrong.stderr) == (2, True)
