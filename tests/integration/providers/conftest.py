"""Our providers against the real simulators; what the simulators logged is the judge."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import httpx
import pytest

from dispatcher.domain.device import PushToken
from dispatcher.domain.ids import attempt_id
from dispatcher.domain.message import Message, Priority
from dispatcher.domain.paths import Path
from dispatcher.ports.node_bus import BusFrame
from providers.base import Attempt
from providers.credentials import ApnsCredentials, FcmCredentials, SmsCredentials
from providers.registry import build_provider
from providers.sandbox import Sandbox, SandboxSettings, ensure_credentials

DELIVERY = "0123456789abcdef0000deadbeef"


@dataclass
class Lab:
    """The simulators, credentials for them, and attempts to send."""

    sandbox: Sandbox
    http: httpx.AsyncClient
    opened: list[Any] = field(default_factory=list)

    @property
    def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def script(self, end: str, **document: Any) -> None:
        reply = await self.http.put(f"{self.sandbox.control_url}/control/{end}", json=document)
        assert reply.status_code == 200, reply.text

    async def requests(self, end: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["n"] if found else 0
            reply = await self.http.get(f"{self.sandbox.control_url}/control/{end}/requests", params={"after": after})
            page = reply.json()["requests"]
            if not page:
                return [entry for entry in found if not entry["url"].startswith("/token")]
            found += page

    def credentials(self, path: Path, **changes: Any) -> ApnsCredentials | FcmCredentials | SmsCredentials:
        given, ca_file = self.sandbox.credentials, str(self.sandbox.ca_file)
        if path is Path.APNS:
            fields: dict[str, Any] = {
                "topic": given.apns.topic,
                "key_pem": given.apns.key_pem,
                "key_id": given.apns.key_id,
                "team_id": given.apns.team_id,
                "endpoint": self.sandbox.apns_url,
                "sandbox_endpoint": self.sandbox.apns_sandbox_url,
                "ca_file": ca_file,
            }
            return ApnsCredentials(**{**fields, **changes})
        if path is Path.FCM:
            fields = {"service_account": dict(given.fcm), "endpoint": self.sandbox.fcm_tls_url, "ca_file": ca_file}
            return FcmCredentials(**{**fields, **changes})
        fields = {
            "account_sid": given.sms.account_sid,
            "auth_token": given.sms.auth_token,
            "from_number": given.sms.from_number,
            "endpoint": self.sandbox.sms_url,
        }
        return SmsCredentials(**{**fields, **changes})

    def provider(self, path: Path, public_url: str = "http://127.0.0.1:9/push", **changes: Any) -> Any:
        built = build_provider(self.credentials(path, **changes), public_url)
        self.opened.append(built)
        return built

    def attempt(self, path: Path, value: str | None = None, place: int = 0, **changes: Any) -> Attempt:
        token = None
        if path in {Path.APNS, Path.FCM}:
            token = PushToken(
                path=path,
                kind=changes.pop("kind", "device" if path is Path.APNS else "registration"),
                value=value or f"{place:064x}",
                environment=changes.pop("environment", None),
            )
        message = Message(
            app="app",
            message_id=f"cm-{place}",
            klass="chat",
            priority=Priority.HIGH,
            body=b"",
            accepted_at=self.now,
            expires_at=self.now + 600_000,
            notification={"title": "Wang", "body": "Are you there?"},
            data={"conversation_id": "c42"},
            collapse_key=changes.pop("collapse_key", None),
        )
        fields: dict[str, Any] = {
            "attempt_id": attempt_id(DELIVERY, place // 250, 0, place % 250, path),
            "delivery_id": DELIVERY,
            "user_id": "li",
            "message": message,
            "expires_at": message.expires_at,
            "token": token,
        }
        return Attempt(**{**fields, **changes})


@dataclass
class RecordingBus:
    """A node bus that keeps what was sent."""

    sent: list[tuple[str, BusFrame]] = field(default_factory=list)

    async def send(self, frames: Mapping[str, Sequence[BusFrame]]) -> None:
        self.sent += [(node, frame) for node, found in frames.items() for frame in found]

    async def receive(self, node: str, *, limit: int, block_s: float) -> list[BusFrame]:
        return [frame for at, frame in self.sent if at == node][:limit]


@pytest.fixture(scope="session")
def credentials_directory(tmp_path_factory: pytest.TempPathFactory) -> FilePath:
    directory = tmp_path_factory.mktemp("sandbox")
    ensure_credentials(directory)
    return directory


@pytest.fixture
async def lab(credentials_directory: FilePath) -> AsyncIterator[Lab]:
    sandbox = await Sandbox.start(
        SandboxSettings(
            directory=credentials_directory,
            control_port=0,
            apns_port=0,
            apns_sandbox_port=0,
            fcm_port=0,
            fcm_tls_port=0,
            sms_port=0,
        )
    )
    async with httpx.AsyncClient(trust_env=False) as http:
        lab = Lab(sandbox, http)
        yield lab
        for provider in lab.opened:
            await provider.close()
    await sandbox.stop()


@pytest.fixture
def bus() -> RecordingBus:
    return RecordingBus()


@pytest.fixture
def as_document() -> Callable[[Any], bytes]:
    def encode(credentials: Any) -> bytes:
        return json.dumps({name: getattr(credentials, name) for name in credentials.__struct_fields__}).encode()

    return encode
