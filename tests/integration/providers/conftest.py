"""Our providers against the real simulators; what the simulators logged is the judge."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import pytest

from dispatcher.domain.device import PushToken
from dispatcher.domain.ids import attempt_id
from dispatcher.domain.message import Message, Priority
from dispatcher.domain.paths import Path
from dispatcher.ports.node_bus import BusFrame
from providers.base import Attempt
from providers.credentials import ApnsCredentials, FcmCredentials, SmsCredentials
from providers.registry import build_provider
from providers.sandbox import ensure_credentials
from tests.simulators import Simulators, running

DELIVERY = "0123456789abcdef0000deadbeef"


@dataclass(kw_only=True)
class Lab(Simulators):
    """The simulators, providers for them, and attempts to send."""

    opened: list[Any] = field(default_factory=list)

    @property
    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def credentials(self, path: Path, **changes: Any) -> Any:
        kinds: dict[Path, Any] = {Path.APNS: ApnsCredentials, Path.FCM: FcmCredentials, Path.SMS: SmsCredentials}
        return kinds[path](**{**self.documents()[path], **changes})

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
    async with running(credentials_directory) as (sandbox, http):
        lab = Lab(sandbox=sandbox, http=http)
        yield lab
        for provider in lab.opened:
            await provider.close()


@pytest.fixture
def bus() -> RecordingBus:
    return RecordingBus()


@pytest.fixture
def as_document() -> Callable[[Any], bytes]:
    def encode(credentials: Any) -> bytes:
        return json.dumps({name: getattr(credentials, name) for name in credentials.__struct_fields__}).encode()

    return encode
