"""A whole installation on this machine, started once a module: real processes, real servers, the simulators."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from dispatcher.client.device import DeviceClient
from dispatcher.embedded.places import DataDirectory
from dispatcher.embedded.upfile import read_up_file

STRATEGY = """
strategy: default
limits: {sms: {per_user: 900/1d, per_number: 900/1d, per_prefix: 9000/1m, budget: 90000 segments/1d, max_segments: 2}}
grace: 20s
rules:
  - name: quick
    ladder:
      - {path: longconn, wait: 3s}
      - {path: push, wait: 4s}
      - {path: sms, wait: 20s}
"""


_MAIN = "from dispatcher.cli import main; main()"


@dataclass
class Phone:
    """What one screen shows: message ids and how often each was shown."""

    client: DeviceClient
    shown: Counter[str] = field(default_factory=Counter)
    running: asyncio.Task[None] | None = None


class Installation:
    """``pushpath up`` and what a test asks of it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.log = (data.parent / "up.txt").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, "up", "--data", str(data), "--ports", "auto", "--fresh"],
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            env={**os.environ, "PYTHONWARNINGS": "default"},
        )
        self._await_up()
        self.http = httpx.Client(
            base_url=self.document["api_url"],
            headers={"Authorization": f"Bearer {self.document['api_key']}"},
            trust_env=False,
            timeout=10,
        )
        self.publish(STRATEGY)

    def publish(self, strategy: str) -> None:
        """Makes this document the default strategy, for all workers."""
        self.http.put(
            "/v1/strategies/default/draft",
            content=strategy,
            headers={
                "Content-Type": "application/yaml",
                "If-Match": self.http.get("/v1/strategies/default").headers["ETag"],
            },
        ).raise_for_status()
        self.http.post("/v1/strategies/default/publish", json={}).raise_for_status()
        time.sleep(0.7)  # workers look for new versions twice a second

    def _await_up(self) -> None:
        until = time.monotonic() + 90
        while not (self.data / "up.json").exists():
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                self.log.close()
                pytest.fail(f"not up:\n{(self.data.parent / 'up.txt').read_text()}")
            time.sleep(0.1)

    @property
    def document(self) -> dict[str, Any]:
        return read_up_file(self.data / "up.json")

    def pid(self, name: str) -> int:
        return int(self.document["pids"][name])

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Kills a child; the supervisor starts it again. Answers the pid it had."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    async def back(self, name: str, old: int, within_s: float = 20) -> None:
        """Waits until *name* runs as another process and the API is ready."""
        await self.until(lambda: self.document["pids"].get(name) not in {None, old}, within_s)
        await self.until(self.ready, within_s)
        await self.until(self.serves_phones, within_s)

    def serves_phones(self) -> bool:
        """Whether the gateway takes connections: phones that are refused a few times poll for a while."""
        try:
            return httpx.get(self._health_of_gateway, trust_env=False, timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def _health_of_gateway(self) -> httpx.URL:
        return httpx.URL(self.document["gateway_url"]).copy_with(scheme="http", path="/healthz", query=None)

    def ready(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    async def until(self, true: Callable[[], Any], within_s: float) -> None:
        end = time.monotonic() + within_s
        while not await asyncio.to_thread(true):
            assert time.monotonic() < end, f"not within {within_s} s: {true}"
            await asyncio.sleep(0.1)

    async def call(self, method: str, path: str, **values: Any) -> httpx.Response:
        """As a backend does: again until there is an answer that is no 5xx."""
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(httpx.TransportError):
                response = await asyncio.to_thread(lambda: self.http.request(method, path, **values))
                if response.status_code < 500:
                    return response
            assert time.monotonic() < end, f"no answer to {method} {path}"
            await asyncio.sleep(0.1)

    async def dispatch(self, message_id: str, *users: str, **values: Any) -> httpx.Response:
        body = {
            "message_id": message_id,
            "to": {"user_ids": list(users)},
            "notification": {"title": "T", "body": message_id},
            "sms": {"text": f"text {message_id}"},
            **values,
        }
        response = await self.call("POST", "/v1/messages", json=body)
        assert response.status_code in {200, 202}, response.text
        return response

    async def person(self, user: str, *, number: bool = True) -> None:
        body: dict[str, Any] = {"sms_opt_in": True}
        if number:
            body |= {"phone": "+86138" + f"{abs(hash(user)) % 10**8:08d}", "phone_verified": True}
        (await self.call("PUT", f"/v1/users/{user}", json=body)).raise_for_status()

    async def push_token(self, user: str, device: str) -> str:
        token = f"{abs(hash(device)):064x}"[-64:]
        body = {
            "user_id": user,
            "platform": "ios",
            "tokens": [
                {
                    "path": "apns",
                    "kind": "device",
                    "value": token,
                    "environment": "production",
                    "topic": "com.example.im",
                }
            ],
        }
        (await self.call("PUT", f"/v1/devices/{device}", json=body)).raise_for_status()
        return token

    async def phone(self, user: str, device: str) -> Phone:
        """A phone with the SDK in it; not yet running."""

        async def token() -> str:
            response = await self.call("POST", "/v1/device-tokens", json={"user_id": user, "device_id": device})
            return str(response.json()["token"])

        async def show(message: Any) -> None:
            phone.shown[message.message_id] += 1

        document = self.document
        client = DeviceClient(
            document["api_url"], document["gateway_url"], user_id=user, device_id=device, token=token, on_message=show
        )
        phone = Phone(client)
        await client.register("ios")
        return phone

    def states(self, *message_ids: str) -> dict[tuple[str, str], str]:
        found = {}
        for message_id in message_ids:
            response = self.http.get(f"/v1/messages/{message_id}")
            if response.status_code != 200:
                return {(message_id, "?"): f"{response.status_code}"}
            for delivery in response.json()["deliveries"]:
                found[message_id, delivery["user_id"]] = delivery["state"]
        return found

    def settled(self, *message_ids: str) -> bool:
        try:
            states = self.states(*message_ids)
        except httpx.TransportError:
            return False
        return set(states.values()) <= {"confirmed", "exhausted", "expired", "recalled", "suppressed"}

    def balanced(self) -> bool:
        response = self.http.get("/v1/books")
        return response.status_code == 200 and bool(response.json()["balanced"])

    def requests(self, end: str) -> list[dict[str, Any]]:
        """Everything one simulator received."""
        control = self.document["sandbox"]["control_url"]
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["n"] if found else 0
            page = httpx.get(f"{control}/control/{end}/requests?after={after}", trust_env=False).json()["requests"]
            if not page:
                return found
            found += page

    def texts(self) -> Counter[str]:
        """How often each SMS text was taken, by text."""
        found: Counter[str] = Counter()
        for request in self.requests("sms"):
            if request["method"] == "POST" and request["answer"] and request["answer"]["status"] == 201:
                form = httpx.QueryParams(request["body"])
                found[form["Body"]] += 1
        return found

    def script(self, end: str, **values: Any) -> None:
        control = self.document["sandbox"]["control_url"]
        httpx.put(f"{control}/control/{end}", json=values, trust_env=False).raise_for_status()

    def unscript(self, end: str) -> None:
        control = self.document["sandbox"]["control_url"]
        httpx.delete(f"{control}/control/{end}", trust_env=False).raise_for_status()

    def stop(self) -> float:
        begun = time.monotonic()
        self.process.terminate()
        self.process.wait(20)
        self.http.close()
        self.log.close()
        return time.monotonic() - begun


@pytest.fixture(scope="module")
def up() -> Iterator[Installation]:
    parent = Path(tempfile.mkdtemp(prefix="pushpath-faults-"))
    parent.chmod(0o711)
    running: Installation | None = None
    try:
        running = Installation(parent / "data")
        yield running
    finally:
        if running is not None:
            running.stop()
        DataDirectory(parent / "data", fresh=True).discard()
        shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture
async def connect(up: Installation) -> AsyncIterator[Callable[[str, str], Awaitable[Phone]]]:
    """Phones on the line, hung up at the end of the test."""
    phones: list[Phone] = []

    async def connected(user: str, device: str) -> Phone:
        phone = await up.phone(user, device)
        phone.running = asyncio.create_task(phone.client.run())
        phones.append(phone)
        await up.until(lambda: phone.client.state == "online", 40)
        return phone

    yield connected
    for phone in phones:
        await phone.client.__aexit__(None, None, None)
        if phone.running is not None:
            await asyncio.wait([phone.running], timeout=5)


def body_of(request: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request["body"])
    return found
