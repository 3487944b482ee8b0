"""A world for the pipeline: real stores, the real core and drains in this process, providers that keep a record.

Time stands still until a test moves it. Nothing here replaces a class of ours: what is faked is the world outside.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import pytest

from dispatcher.bootstrap import Stores, open_stores
from dispatcher.core import AppCore
from dispatcher.domain.clock import system_clock
from dispatcher.domain.delivery import DeliveryState, Proof
from dispatcher.domain.device import Platform, PushToken
from dispatcher.domain.ids import DeliveryRef
from dispatcher.domain.message import Lane
from dispatcher.domain.outcome import HandedOver, Outcome
from dispatcher.domain.paths import Path
from dispatcher.domain.requests import Accepted, Counts, DispatchRequest, ReceiptItem
from dispatcher.pipeline.accept import refs_of
from dispatcher.pipeline.archive import archive_shard
from dispatcher.ports.directory import App, DeviceRegistration, UserChange
from dispatcher.ports.homes import Claim, Queue
from dispatcher.ports.presence import Line, Presence
from dispatcher.ports.provider import Attempt, Limits, Provider
from dispatcher.settings_source import load_settings
from workers.chores import reconcile_turn
from workers.drains import Drains

APP = "im"
LADDER = """
strategy: default
reach: {reach}
limits: {{sms: {{per_user: 100/1d, per_number: 100/1d, per_prefix: 900/1m, budget: 9000 segments/1d, max_segments: 2}}}}
grace: 20s
rules:
  - name: everyone
    ladder:
{ladder}
"""
PUSH_THEN_SMS = ("{path: longconn, wait: 5s}", "{path: push, wait: 10s}", "{path: sms, wait: 1m}")


@dataclass(frozen=True)
class Sent:
    """One request as a provider got it."""

    at: int
    path: Path
    attempt: Attempt


Answer = Callable[[Attempt], Awaitable[Outcome] | Outcome]


class Recorder:
    """A provider that answers what a test says and keeps a record. Where *known* is set, it can look attempts up."""

    def __init__(self, path: Path, world: "World") -> None:
        self.path = path
        self.world = world
        self.limits = Limits(batch=500, payload_bytes=4096, concurrent=100, deadline_ms=5_000)
        self.answer: Answer = lambda attempt: HandedOver(f"{path}-{attempt.attempt_id}")
        self.looked_up: list[str] = []
        self.taken: set[str] = set()  #: attempt ids the carrier knows

    async def send(self, attempts: Sequence[Attempt], now: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for attempt in attempts:
            self.world.sent.append(Sent(self.world.now, self.path, attempt))
            answer = self.answer(attempt)
            outcome = await answer if isinstance(answer, Awaitable) else answer
            if isinstance(outcome, HandedOver):
                self.taken.add(attempt.attempt_id)
            outcomes.append(outcome)
        return outcomes

    async def look_up(self, attempt: Attempt) -> Outcome | None:
        self.looked_up.append(attempt.attempt_id)
        return HandedOver("looked up") if attempt.attempt_id in self.taken else None

    async def close(self) -> None:
        """Nothing to end."""


@dataclass
class Recorders:
    """The world outside, path by path, for every app."""

    by_path: dict[Path, Recorder]

    async def provider(self, app: str, path: Path) -> Provider | None:
        return self.by_path[path]


@dataclass
class World:
    now: int
    sent: list[Sent] = field(default_factory=list)
    stores: Stores = field(init=False)
    core: AppCore = field(init=False)
    drains: Drains = field(init=False)
    providers: dict[Path, Recorder] = field(init=False)
    hinted: list[Queue] = field(default_factory=list)

    def clock(self) -> int:
        return self.now

    async def open(self, ledger_url: str, hot_store_url: str) -> None:
        self.settings = load_settings(
            None,
            {},
            {"ledger_url": ledger_url, "hot_store_url": hot_store_url, "secret_key": "s" * 40, "hot_shards": 4},
        )
        self.providers = {path: Recorder(path, self) for path in Path}
        self.stores = await self.another_process()
        self.core = AppCore(self.stores)
        self.drains = self.worker(self.stores)
        await reconcile_turn(self.stores)

    async def another_process(self) -> Stores:
        """Stores as another process of the same installation has them."""

        async def hint(queues: Sequence[Queue]) -> None:
            self.hinted += queues

        opened = await open_stores(self.settings, hint=hint, clock=self.clock)
        return replace(opened, parts=replace(opened.parts, providers=Recorders(self.providers)))

    def worker(self, stores: Stores) -> Drains:
        async def elsewhere(queues: Sequence[Queue]) -> None:
            self.hinted += queues

        return Drains(stores, frozenset(), elsewhere)

    async def app(self, *ladder: str, app: str = APP, reach: str = "any") -> None:
        lines = "\n".join(f"      - {step}" for step in ladder or PUSH_THEN_SMS)
        strategy = LADDER.format(ladder=lines, reach=reach)
        await self.stores.apps.create_app(App(app_id=app, name=app), self.now, strategy=strategy)

    async def user(self, user_id: str, *devices: str, phone: bool = True, app: str = APP, **values: Any) -> None:
        """A person with a number, and an iPhone for each of *devices*."""
        seal = self.stores.sealer
        number = f"+86138{crc32(user_id.encode()) % 10**8:08d}"
        if phone:
            values |= {
                "phone": seal.seal(number.encode()),
                "phone_hash": seal.number_hash(number),
                "phone_verified": True,
                "sms_opt_in": True,
            }
        change = UserChange(app=app, user_id=user_id, values=values, changed_phone_usable_from=self.now)
        profile, _ = await self.stores.directory.put_user(change, self.now)
        await self.stores.parts.profiles.put([profile])
        for device in devices:
            await self.device(user_id, device, app=app)

    async def device(self, user_id: str, device_id: str, *, app: str = APP) -> None:
        token = PushToken(
            path=Path.APNS,
            kind="device",
            value=f"token-{device_id}",
            environment="production",
            topic="com.example.im",
            registered_at=self.now,
        )
        registration = DeviceRegistration(
            app=app,
            user_id=user_id,
            device_id=device_id,
            platform=Platform.IOS,
            tokens=[token],
            alerts_enabled=True,
            app_version=None,
            os_version=None,
            manufacturer="Apple",
            locale=None,
            time_zone=None,
        )
        binding, _ = await self.stores.directory.register(registration, self.now)
        await self.stores.parts.profiles.put(binding.profiles)

    async def connect(self, user_id: str, device_id: str, *, app: str = APP, session: str = "s1") -> None:
        """The device is online on a gateway node that lives for an hour."""
        await self.stores.parts.presences.hold_node("n1", self.now, 3_600_000)
        presence = Presence(
            device_id=device_id, node="n1", session=session, line=Line.ONLINE, foreground=True, since=self.now
        )
        await self.stores.parts.presences.register(app, user_id, presence)

    async def dispatch(self, message_id: str, *users: str, app: str = APP, **values: Any) -> Accepted:
        (accepted,) = await self.core.accept(app, [self.request(message_id, *users, **values)], self.now)
        assert isinstance(accepted, Accepted), accepted
        return accepted

    async def marked(self) -> None:
        """The ledger knows that the hot store has what was dispatched so far (told a moment after the answer)."""
        await self.core.acceptor.close()

    def request(self, message_id: str, *users: str, **values: Any) -> DispatchRequest:
        shown = {"notification": {"title": "Wang", "body": "Are you there?"}} | values
        return DispatchRequest(message_id=message_id, user_ids=users, **shown)

    async def receipt(self, message_id: str, user: str, device: str | None = None, **values: Any) -> Counts:
        event = values.pop("event", Proof.DELIVERED)
        app = values.pop("app", APP)
        item = ReceiptItem(user_id=user, device_id=device, message_id=message_id or None, event=event, **values)
        return await self.core.receive(app, [item], self.now)

    async def work(self) -> None:
        """Everything that is due now, as drains and sweep would take it."""
        for _ in range(200):
            due, _upcoming = await self.stores.parts.homes.next_due(self.now)
            if not due:
                return
            for queue, shards in due.items():
                if queue.name == "sweep":
                    await self.drains.sweep_once(queue, shards)
                else:
                    await self.drains.drain(queue)
        raise AssertionError(f"no end of work: {due}")

    async def plan(self) -> None:
        """What is due is planned, and no further."""
        await self.drains.drain(Queue("plan", Lane.INTERACTIVE))

    async def claim(self, name: str, lease_ms: int = 10_000) -> list[Claim]:
        """A worker takes what is due, and is never seen again."""
        return await self.stores.parts.homes.claim(
            Queue(name, Lane.INTERACTIVE), self.now, limit=100, lease_ms=lease_ms
        )

    async def advance(self, ms: int) -> None:
        """Time goes on, deadline by deadline."""
        until = self.now + ms
        await self.work()
        while True:
            _, upcoming = await self.stores.parts.homes.next_due(self.now)
            if upcoming is None or upcoming > until:
                break
            self.now = upcoming
            await self.work()
        self.now = until

    async def reconcile(self) -> None:
        await reconcile_turn(self.stores)

    async def archive(self) -> int:
        return sum([await archive_shard(shard, self.stores.parts, self.now) for shard in range(self.stores.hot.shards)])

    async def state(self, message_id: str, app: str = APP) -> Mapping[str, Any]:
        found = await self.core.message_state(app, message_id)
        assert found is not None
        return found

    async def hot_state(self, message_id: str, *, app: str = APP, place: int = 0) -> DeliveryState | None:
        ref = await self.ref(message_id, app=app, place=place)
        return (await self.stores.parts.homes.states(ref.home, [ref.place])).get(ref.place)

    async def ref(self, message_id: str, *, app: str = APP, place: int = 0) -> DeliveryRef:
        stored = await self.stores.parts.messages.find(app, message_id)
        assert stored is not None
        return refs_of(stored)[place]

    async def kinds(self, message_id: str, user: str | None = None, app: str = APP) -> list[str]:
        timeline = await self.core.timeline(app, message_id, user)
        assert timeline is not None
        return [event["kind"] for event in timeline["events"]]

    async def books(self, app: str = APP) -> Mapping[str, Any]:
        return await self.core.books(app)

    async def lose_hot_store(self) -> None:
        """All of it is gone, as after a crash without its file."""
        await self.stores.hot.client.flushdb()

    def paths(self, message_id: str | None = None) -> list[str]:
        """Paths on which requests left, in order."""
        return [str(sent.path) for sent in self.sent if message_id in (None, sent.attempt.message.message_id)]

    async def close(self) -> None:
        await self.core.close()


@pytest.fixture
async def world(ledger_url: str, hot_store_url: str) -> AsyncIterator[World]:
    """An installation that was just started, with nobody in it. Times are whole seconds ahead of the machine's."""
    made = World(now=(system_clock() // 1_000 + 60) * 1_000)
    await made.open(ledger_url, hot_store_url)
    yield made
    await made.close()
