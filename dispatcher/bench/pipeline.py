"""The pipeline's own overhead: from the dispatch door to the ledger's archive, on real servers, AOF and journal on.

One device a user, distinct users; a provider of ours that takes everything at once, so that nothing but the pipeline is
measured. 95 of 100 are proven by a receipt; the tail times out, climbs to polling and is proven there.
"""

import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path as FilePath
from typing import Any

from dispatcher.bench.phones import register_all
from dispatcher.bench.report import cpu_of, report
from dispatcher.bench.settings import environ_of
from dispatcher.bootstrap import Stores, open_stores
from dispatcher.collector import calm_collector
from dispatcher.core import AppCore
from dispatcher.domain.clock import MINUTE, Millis, system_clock
from dispatcher.domain.delivery import Proof
from dispatcher.domain.device import Platform, PushToken
from dispatcher.domain.message import Lane
from dispatcher.domain.outcome import HandedOver, Outcome
from dispatcher.domain.paths import Path
from dispatcher.domain.requests import DispatchRequest, ReceiptItem
from dispatcher.embedded.servers import start_servers
from dispatcher.ledger.migrate import migrate
from dispatcher.pipeline.archive import archive_shard
from dispatcher.pipeline.plan import plan
from dispatcher.pipeline.send import send
from dispatcher.pipeline.sweep import LEASE_MS, sweep
from dispatcher.ports.directory import App, DeviceRegistration
from dispatcher.ports.homes import Queue
from dispatcher.ports.provider import Attempt, Limits
from dispatcher.settings_source import load_settings
from workers.chores import reconcile_turn, upkeep_turn

USERS = 10_000
TAIL = 20  #: one in so many gets no receipt on its first path
_LANE = Lane.INTERACTIVE


class _Taker:
    """A provider that takes everything and keeps what was sent."""

    def __init__(self) -> None:
        self.limits = Limits(batch=1_000, payload_bytes=4_096, concurrent=1_000, deadline_ms=5_000)
        self.sent: list[Attempt] = []

    async def send(self, attempts: Sequence[Attempt], now: Millis) -> list[Outcome]:
        self.sent += attempts
        return [HandedOver()] * len(attempts)

    async def close(self) -> None:
        """Holds nothing."""


class _Providers:
    def __init__(self, taker: _Taker) -> None:
        self._taker = taker

    async def provider(self, app: str, path: Path) -> _Taker:
        return self._taker


@dataclass
class _Meter:
    """CPU of this process by stage."""

    cpu: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun = time.process_time()
        try:
            yield
        finally:
            self.cpu[name] += time.process_time() - begun


class _Clock:
    """The system's time, moved ahead when the tail's waits should be over."""

    def __init__(self) -> None:
        self.ahead: Millis = 0

    def __call__(self) -> Millis:
        return system_clock() + self.ahead


class Bench:
    """One app's run on one set of stores."""

    def __init__(self, stores: Stores, app: str, taker: _Taker, clock: _Clock) -> None:
        self._stores = stores
        self._parts = stores.parts
        self._core = AppCore(stores)
        self._app = app
        self._taker = taker
        self._clock = clock
        self._numbers = count(1)

    async def prepare(self, users: int) -> None:
        """Migrated tables, one app, distinct users with an Android phone each."""
        stores, now = self._stores, self._clock()
        await migrate(stores.settings.ledger_url.reveal())
        await upkeep_turn(stores)
        await reconcile_turn(stores)
        await stores.apps.create_app(App(app_id=self._app, name=self._app), now)
        await register_all(stores, (_registration(self._app, number, now) for number in range(users)), now)
        for start in range(0, users, 500):
            names = [f"u{number}" for number in range(start, min(start + 500, users))]
            await self._parts.profiles.get(self._app, names)

    async def measure(self, amount: int, *, batch: int, single: bool) -> _Meter:
        """Runs *amount* notifications through every stage, *batch* at a time. *single*: one request each, gathered."""
        parts, clock, meter = self._parts, self._clock, _Meter()
        for start in range(0, amount, batch):
            requests = [self._request(number) for number in range(start, min(start + batch, amount))]
            with meter.stage("accept"):
                await self._accept(requests, single=single)
            with meter.stage("plan"):
                claims = await parts.homes.claim(Queue("plan", _LANE), clock(), limit=batch, lease_ms=LEASE_MS)
                await plan(claims, parts, clock())
            with meter.stage("send"):
                claims = await parts.homes.claim(Queue("fcm", _LANE), clock(), limit=batch, lease_ms=LEASE_MS)
                await send(claims, Path.FCM, parts, clock())
            items = [_receipt(attempt, Path.FCM) for attempt in self._taker.sent if int(attempt.user_id[1:]) % TAIL]
            self._taker.sent.clear()
            with meter.stage("receive"):
                await self._core.receive(self._app, items, clock())
        await self._finish_tail(meter)
        with meter.stage("archive"):
            for shard in range(self._stores.hot.shards):
                await archive_shard(shard, parts, clock())
        await self._core.acceptor.close()
        return meter

    async def _accept(self, requests: Sequence[DispatchRequest], *, single: bool) -> None:
        answers: list[Any] = []
        if single:
            now = self._clock()
            gathered = await asyncio.gather(*(self._core.accept(self._app, [one], now) for one in requests))
            answers = [answer for (answer,) in gathered]
        else:
            answers = list(await self._core.accept(self._app, requests, self._clock()))
        failed = [answer for answer in answers if isinstance(answer, Exception)]
        if failed:
            raise failed[0]

    async def _finish_tail(self, meter: _Meter) -> None:
        parts, clock = self._parts, self._clock
        clock.ahead += 10 * MINUTE
        with meter.stage("sweep"):
            while claims := await parts.homes.claim(Queue("sweep", _LANE), clock(), limit=1_000, lease_ms=LEASE_MS):
                await sweep(claims, parts, clock())
            while claims := await parts.homes.claim(Queue("poll", _LANE), clock(), limit=500, lease_ms=LEASE_MS):
                await send(claims, Path.POLL, parts, clock())
        items = [_receipt(attempt, Path.POLL) for attempt in self._taker.sent]
        self._taker.sent.clear()
        with meter.stage("receive"):
            for at in range(0, len(items), 500):
                await self._core.receive(self._app, items[at : at + 500], clock())

    async def books_balance(self) -> bool:
        """Whether what was measured was real: accepted = settled, nothing open or missing."""
        balance = await self._core.books(self._app)
        return bool(balance["balanced"]) and all(row["open"] == 0 for row in balance["classes"].values())

    def _request(self, number: int) -> DispatchRequest:
        return DispatchRequest(
            message_id=f"cm-{next(self._numbers)}-{number}",
            user_ids=(f"u{number % USERS}",),
            notification={"title": "Wang", "body": f"Are you there? This is message {number} of the benchmark."},
            data={"conversation_id": f"c{number}"},
        )


def _registration(app: str, number: int, now: Millis) -> DeviceRegistration:
    token = PushToken(path=Path.FCM, kind="registration", value=f"{app}{number:08d}" * 12, registered_at=now)
    return DeviceRegistration(
        app=app,
        user_id=f"u{number}",
        device_id=f"device-{number}",
        platform=Platform.ANDROID,
        tokens=[token],
        alerts_enabled=True,
        app_version="8.1.0",
        os_version="15",
        manufacturer=("Xiaomi", "Huawei", "OPPO", "vivo")[number % 4],
        locale="zh-CN",
        time_zone="Asia/Shanghai",
    )


def run(*, quick: bool = False) -> dict[str, Any]:
    """Batches of 500, of 100, and single requests gathered; CPU of ours and of the servers, per notification."""
    calm_collector()
    amount = 300 if quick else 20_000
    figures: dict[str, tuple[float, str]] = {}
    balanced = True
    with tempfile.TemporaryDirectory(prefix="pushpath-bench-", ignore_cleanup_errors=True) as data:
        servers = start_servers(FilePath(data))
        try:
            environ = environ_of(servers)
            for name, batch, single in (("batch_500", 500, False), ("batch_100", 100, False), ("single", 500, True)):
                meter, spent, well = asyncio.run(
                    _one(environ, servers.pids, amount=amount, batch=batch, single=single, app=name)
                )
                balanced &= well
                for stage, seconds in meter.cpu.items():
                    figures[f"{name}.{stage}"] = (seconds / amount * 1e6, "us/notification")
                figures[f"{name}.ours"] = (sum(meter.cpu.values()) / amount * 1e6, "us/notification")
                for server, seconds in spent.items():
                    figures[f"{name}.{server}"] = (seconds / amount * 1e6, "us/notification")
        finally:
            servers.stop()
    ours = figures["batch_500.ours"][0]
    targets = {
        "batch_500": ("at most 40 us of ours (65 is the floor)", ours <= 40),
        "single": ("at most 90 us of ours", figures["single.ours"][0] <= 90),
        "books": ("every accepted notification settled", balanced),
    }
    return report("pipeline", figures, targets=targets)


async def _one(
    environ: Mapping[str, str], pids: Mapping[str, int], *, amount: int, batch: int, single: bool, app: str
) -> tuple[_Meter, dict[str, float], bool]:
    clock = _Clock()
    stores = await open_stores(load_settings(None, environ), clock=clock)
    taker = _Taker()
    object.__setattr__(stores.parts, "providers", _Providers(taker))
    try:
        bench = Bench(stores, app, taker, clock)
        await bench.prepare(min(amount, USERS))
        await bench.measure(min(500, amount), batch=batch, single=single)  # warm-up
        begun = {name: cpu_of(pid) for name, pid in pids.items()}
        meter = await bench.measure(amount, batch=batch, single=single)
        spent = {name: cpu_of(pid) - begun[name] for name, pid in pids.items()}
        return meter, spent, await bench.books_balance()
    finally:
        await stores.close()


def _receipt(attempt: Attempt, path: Path) -> ReceiptItem:
    return ReceiptItem(
        user_id=attempt.user_id,
        device_id=attempt.device_id,
        delivery_id=attempt.delivery_id,
        event=Proof.DELIVERED,
        via=path,
        attempt_id=attempt.attempt_id,
    )
