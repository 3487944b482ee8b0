"""The vendors' simulators as tests use them: started on free ports, scripted, and read by their request logs."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import httpx

from dispatcher.domain.paths import Path
from providers.sandbox import Sandbox, SandboxSettings


@dataclass(kw_only=True)
class Simulators:
    """Running ones."""

    sandbox: Sandbox
    http: httpx.AsyncClient

    async def script(self, end: str, **document: Any) -> None:
        """Replaces what was set."""
        reply = await self.http.put(f"{self.sandbox.control_url}/control/{end}", json=document)
        assert reply.status_code == 200, reply.text

    async def requests(self, end: str) -> list[dict[str, Any]]:
        """The whole log, without those for access tokens."""
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["n"] if found else 0
            reply = await self.http.get(f"{self.sandbox.control_url}/control/{end}/requests", params={"after": after})
            page = reply.json()["requests"]
            if not page:
                return [entry for entry in found if not entry["url"].startswith("/token")]
            found += page

    async def targets(self, end: str) -> list[str]:
        """Tokens or numbers, in the order of the log."""
        return [entry["target"] for entry in await self.requests(end)]

    def documents(self) -> dict[Path, dict[str, Any]]:
        """Credentials that the simulators take, as ``PUT /v1/credentials/{path}`` would."""
        given, ca_file = self.sandbox.credentials, str(self.sandbox.ca_file)
        return {
            Path.APNS: {
                "topic": given.apns.topic,
                "key_pem": given.apns.key_pem,
                "key_id": given.apns.key_id,
                "team_id": given.apns.team_id,
                "endpoint": self.sandbox.apns_url,
                "sandbox_endpoint": self.sandbox.apns_sandbox_url,
                "ca_file": ca_file,
            },
            Path.FCM: {"service_account": dict(given.fcm), "endpoint": self.sandbox.fcm_tls_url, "ca_file": ca_file},
            Path.SMS: {
                "account_sid": given.sms.account_sid,
                "auth_token": given.sms.auth_token,
                "from_number": given.sms.from_number,
                "endpoint": self.sandbox.sms_url,
            },
        }


@asynccontextmanager
async def running(
    directory: FilePath, clock: Callable[[], float] = time.time
) -> AsyncIterator[tuple[Sandbox, httpx.AsyncClient]]:
    """All ends on free ports, with the credentials kept in *directory*; *clock*: theirs, in seconds."""
    settings = SandboxSettings(
        directory=directory, control_port=0, apns_port=0, apns_sandbox_port=0, fcm_port=0, fcm_tls_port=0, sms_port=0
    )
    sandbox = await Sandbox.start(settings, clock=clock)
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            yield sandbox, http
    finally:
        await sandbox.stop()
