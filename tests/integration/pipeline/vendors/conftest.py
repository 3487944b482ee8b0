"""The pipeline's world with our real providers against the simulators, whose request logs are the judge."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

import pytest

from dispatcher.bootstrap import Stores, open_stores
from dispatcher.core import AppCore
from dispatcher.domain.device import Platform, PushToken
from dispatcher.domain.paths import Path
from dispatcher.ports.directory import DeviceRegistration
from dispatcher.ports.homes import Queue
from providers.sandbox import ensure_credentials
from tests.simulators import Simulators, running


@dataclass(kw_only=True)
class Vendors(Simulators):
    """Simulators on the world's clock, and a world that sends to them."""

    world: Any
    opened: list[Stores] = field(default_factory=list)

    async def under_way(self, end: str, count: int = 1) -> None:
        """Returns once the end has so many requests, answered or not."""
        while len(await self.requests(end)) < count:  # noqa: ASYNC110 - the log is in another place
            await asyncio.sleep(0.01)

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

    async def phone(
        self, user_id: str, device_id: str, path: Path, value: str, *, app: str = "im", ringing: str | None = None
    ) -> None:
        """Registers a device with one token, and the one that rings where it has one."""
        kinds = {value: "device" if path is Path.APNS else "registration"} | ({ringing: "voip"} if ringing else {})
        tokens = [
            PushToken(
                path=path,
                kind=kind,
                value=own,
                environment="production" if path is Path.APNS else None,
                registered_at=self.world.now,
            )
            for own, kind in kinds.items()
        ]
        registration = DeviceRegistration(
            app=app,
            user_id=user_id,
            device_id=device_id,
            platform=Platform.IOS if path is Path.APNS else Platform.ANDROID,
            tokens=tokens,
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
    first_core = world.core
    async with running(simulators, clock=lambda: float(world.now / 1_000)) as (sandbox, http):
        vendors = Vendors(sandbox=sandbox, http=http, world=world)
        await vendors.move_in()
        yield vendors
        for stores in vendors.opened[1:]:
            await stores.close()
        await world.core.close()
        world.core = first_core
