"""One sandbox a test, on ports of its own; keys are made once a session because RSA keys are slow to make."""

import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from providers.sandbox import Sandbox, SandboxSettings, ensure_credentials

ALERT = b'{"aps":{"alert":"hello"}}'
TOPIC = "com.example.im"


@dataclass
class Lab:
    """The sandbox and what tests do with it."""

    sandbox: Sandbox
    http: httpx.AsyncClient
    bearer: str | None = None  #: one provider token for all requests, as Apple wants it

    async def script(self, end: str, **document: Any) -> None:
        reply = await self.http.put(f"{self.sandbox.control_url}/control/{end}", json=document)
        assert reply.status_code == 200, reply.text

    async def requests(self, end: str, after: int = 0) -> list[dict[str, Any]]:
        reply = await self.http.get(f"{self.sandbox.control_url}/control/{end}/requests", params={"after": after})
        requests: list[dict[str, Any]] = reply.json()["requests"]
        return requests

    async def outbox(self) -> list[dict[str, Any]]:
        texts: list[dict[str, Any]] = (await self.http.get(f"{self.sandbox.control_url}/control/sms/outbox")).json()[
            "texts"
        ]
        return texts

    def provider_token(self, age_s: float = 0, **changes: Any) -> str:
        own = self.sandbox.credentials.apns
        claims = {"iss": own.team_id, "iat": int(time.time() - age_s), **changes}
        return jwt.encode(claims, own.key_pem, algorithm="ES256", headers={"kid": own.key_id})

    def apns_headers(self, **changes: str) -> dict[str, str]:
        if self.bearer is None:
            self.bearer = f"bearer {self.provider_token()}"
        headers = {"authorization": self.bearer, "apns-topic": TOPIC, "apns-push-type": "alert"}
        named = {name.replace("_", "-"): value for name, value in changes.items()}
        return {name: value for name, value in {**headers, **named}.items() if value}


@pytest.fixture(scope="session")
def credentials_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sandbox")
    ensure_credentials(directory)
    return directory


@pytest.fixture
def settings(credentials_directory: Path) -> SandboxSettings:
    return SandboxSettings(
        directory=credentials_directory,
        control_port=0,
        apns_port=0,
        apns_sandbox_port=0,
        fcm_port=0,
        fcm_tls_port=0,
        sms_port=0,
    )


@pytest.fixture
async def lab(settings: SandboxSettings) -> AsyncIterator[Lab]:
    sandbox = await Sandbox.start(settings)
    async with httpx.AsyncClient(trust_env=False) as http:
        yield Lab(sandbox, http)
    await sandbox.stop()


@pytest.fixture
async def apple(lab: Lab) -> AsyncIterator[httpx.AsyncClient]:
    """httpx on the h2 library: an HTTP/2 client that is none of ours."""
    async with httpx.AsyncClient(
        http1=False, http2=True, verify=_trust(lab.sandbox.ca_file), trust_env=False, base_url=lab.sandbox.apns_url
    ) as client:
        yield client


@pytest.fixture
def trust() -> Callable[[Path], Any]:
    return _trust


def _trust(authority: Path) -> Any:
    return ssl.create_default_context(cafile=authority)
