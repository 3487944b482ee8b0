"""The hot store's ports, once in memory and once on a real server: one suite holds both to the same promises."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest

from dispatcher.domain.device import Profile
from dispatcher.hot.inboxes import RedisInboxes
from dispatcher.hot.memory.inboxes import MemoryInboxes
from dispatcher.hot.memory.node_bus import MemoryNodeBus
from dispatcher.hot.memory.presence import MemoryPresences
from dispatcher.hot.memory.profiles import MemoryProfiles
from dispatcher.hot.node_bus import RedisNodeBus
from dispatcher.hot.presence import RedisPresences
from dispatcher.hot.profiles import RedisProfiles
from dispatcher.hot.store import HotStore
from dispatcher.ports.inboxes import Inboxes
from dispatcher.ports.node_bus import NodeBus
from dispatcher.ports.presence import Presences
from dispatcher.ports.profiles import Profiles


@dataclass
class Ledger:
    """The profiles' source: what it holds, and how often it was asked."""

    profiles: dict[str, Profile]
    asked: int = 0

    async def load(self, app: str, user_ids: Sequence[str]) -> Mapping[str, Profile]:
        self.asked += 1
        return {user_id: self.profiles[user_id] for user_id in user_ids if user_id in self.profiles}


@dataclass
class Ports:
    """One hot store."""

    inboxes: Inboxes
    presences: Presences
    bus: NodeBus
    profiles: Profiles
    ledger: Ledger
    now: int


Make = Callable[[], Awaitable[Ports]]


@pytest.fixture(params=["memory", "redis"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    stores: list[HotStore] = []

    async def made() -> Ports:
        ledger = Ledger({})
        now = time.time_ns() // 1_000_000
        if request.param == "memory":
            presences, profiles = MemoryPresences(), MemoryProfiles(ledger.load)
            inboxes = MemoryInboxes(presences, profiles=profiles)
            return Ports(inboxes, presences, MemoryNodeBus(), profiles, ledger, now)
        store = HotStore(request.getfixturevalue("hot_store_url"))
        stores.append(store)
        return Ports(
            RedisInboxes(store),
            RedisPresences(store),
            RedisNodeBus(store),
            RedisProfiles(store, ledger.load),
            ledger,
            now,
        )

    yield made
    for store in stores:
        await store.close()


@pytest.fixture
async def ports(make: Make) -> Ports:
    return await make()
