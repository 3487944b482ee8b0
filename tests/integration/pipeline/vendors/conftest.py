"""The pipeline's world with our real providers against the simulators, whose request logs are the judge."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

import httpx
import pytest

from dispatcher.bootstrap import Stores, open_stores
from dispatcher.core import AppCore
from dispatcher.domain.device import Platform, PushToken
from dispatcher.domain.paths import Path
from dispatcher.ports.directory import DeviceRegistration
from dispatcher.ports.homes import Queue
from providers.sandbox import Sandbox, SandboxSettings, ensure_credentials


@dataclass
class Vendors:
    """Simulators on the world's clock, and a world that sends to them."""

    world: Any
    sandbox: Sandbox
    http: httpx.AsyncClient
    opened: list[Stores] = field(default_factory=list)

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

    async def under_way(self, end: str, count: int = 1) -> None:
        """Returns once the end has so many requests, answered or not."""
        while len(await self.requests(end)) < count:  # noqa: ASYNC110 - the log is in another place
            await asyncio.sleep(0.01)

    async def targets(self, end: str) -> list[str]:
        return [entry["target"] for entry in await self.requests(end)]

    def documents(self) -> dict[Path, dict[str, Any]]:
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

    async def credentials(self, path: Path, document: Any, app: str = "im") -> None:
        sealed = self.world.stores.sealer.seal(json.dumps(document).encode())
        await self.world.stores.apps.set_credentials(app, path, sealed, self.world.now)

    async def app(self, *ladder: str, app: str = "im") -> None:
        """An app with credentials for every simulator."""
        await self.world.app(*ladder, app=app)
        for path, document in self.documents().items():
            await self.credentials(path, document, app)

    async def worker(self) -> Any:
        """Another worker process's drains."""
        stores = await self._open()
        return self.world.worker(stores)

    async def _open(self) -> Stores:
        async def hint(queues: Sequence[Queue]) -> None:
            self.world.hinted += queues

        stores = await open_stores(self.world.settings, hint=hint, clock=self.world.clock)
        self.opened.append(stores)
        return stores

    async def move_in(self) -> None:
        """From now on the world sends for real."""
        stores = await self._open()
        stores = replace(stores, parts=replace(stores.parts, providers=stores.vendors))
        self.world.stores, self.world.drains = stores, self.world.worker(stores)
        self.world.core = AppCore(stores)

    async def phone(self, user_id: str, device_id: str, path: Path, value: str, *, app: str = "im") -> None:
        """Registers a device with one token."""
        token = PushToken(
            path=path,
            kind="device" if path is Path.APNS else "registration",
            value=value,
            environment="production" if path is Path.APNS else None,
            registered_at=self.world.now,
        )
        registration = DeviceRegistration(
            app=app,
            user_id=user_id,
            device_id=device_id,
            platform=Platform.IOS if path is Path.APNS else Platform.ANDROID,
            tokens=[token],
            alerts_enabled=True,
            app_version=None,
            os_version=None,
            manufacturer=None,
            locale=None,
            time_zone=None,
        )
        binding, _ = await self.world.stores.directory.register(registration, self.world.now)
        await self.world.core.rebound(app, device_id, binding)

    async def states(self, user_id: str, app: str = "im") -> dict[str, str]:
        """What became of a user's tokens, by value."""
        (profile,) = (await self.world.stores.directory.profiles(app, [user_id])).values()
        return {token.value: str(token.state) for device in profile.devices for token in device.tokens}


@pytest.fixture(scope="session")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> FilePath:
    directory = tmp_path_factory.mktemp("simulators")
    ensure_credentials(directory)
    return directory


@pytest.fixture
async def vendors(world: Any, simulators: FilePath) -> AsyncIterator[Vendors]:
    """An installation with simulators in place of the vendors."""
    sandbox = await Sandbox.start(
        SandboxSettings(
            directory=simulators,
            control_port=0,
            apns_port=0,
            apns_sandbox_port=0,
            fcm_port=0,
            fcm_tls_port=0,
            sms_port=0,
        ),
        clock=lambda: float(world.now / 1_000),
    )
    first_core = world.core
    async with httpx.AsyncClient(trust_env=False) as http:
        vendors = Vendors(world, sandbox, http)
        await vendors.move_in()
        yield vendors
        for stores in vendors.opened[1:]:
            await stores.close()
    await world.core.close()
    world.core = first_core
    await sandbox.stop()
