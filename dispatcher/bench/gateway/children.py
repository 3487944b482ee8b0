"""Gateways in processes of their own, told over a pipe what to do and asked what it cost them."""

import asyncio
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from dispatcher.bench.report import resident_of
from dispatcher.collector import calm_collector
from dispatcher.domain.clock import HOUR, Millis, system_clock
from dispatcher.domain.delivery import Proof
from dispatcher.domain.device import Device, Platform, Profile
from dispatcher.domain.device_token import DeviceIdentity, DeviceTokens
from dispatcher.domain.ids import IdKey
from dispatcher.domain.paths import Path
from dispatcher.gateway.counters import Count
from dispatcher.gateway.rehearsal import APP
from dispatcher.gateway.server import Gateway
from dispatcher.gateway.settings import GatewaySettings
from dispatcher.hot.inboxes import RedisInboxes
from dispatcher.hot.node_bus import RedisNodeBus
from dispatcher.hot.presence import RedisPresences
from dispatcher.hot.profiles import RedisProfiles
from dispatcher.hot.store import HotStore
from dispatcher.ports.node_bus import BusFrame
from dispatcher.ports.receiving import Acknowledged, Counts, DeviceAcks, InboxAnswer, InboxQuery

SECRET = "no secret: every benchmark has this one"  # noqa: S105
TOKENS = DeviceTokens(SECRET.encode())
IDS = IdKey(b"benchmark ids")

Told = Callable[[str, Any], Coroutine[Any, Any, Any]]


def user(number: int) -> str:
    """A user's id."""
    return f"u{number}"


def device(number: int) -> str:
    """The id of the user's one device."""
    return f"device-{number:012d}"


def token(number: int) -> str:
    """A token of the user's device."""
    now = system_clock()
    who = DeviceIdentity(app=APP, user_id=user(number), device_id=device(number), epoch=1, expires_at=now + HOUR)
    return TOKENS.mint(who, now)


async def bind_all(store: HotStore, count: int) -> None:
    """Puts the profiles of the first *count* users into the hot store."""
    profiles = RedisProfiles(store, _nobody)
    now = system_clock()
    for start in range(0, count, 1_000):
        await profiles.put(
            [
                Profile(
                    app=APP,
                    user_id=user(number),
                    rev=1,
                    devices=(Device(device_id=device(number), epoch=1, platform=Platform.ANDROID, last_seen=now),),
                )
                for number in range(start, min(start + 1_000, count))
            ]
        )


class Door:
    """Where acks go in: inboxes are marked, as the real door does after it applied the receipts."""

    def __init__(self, inboxes: RedisInboxes) -> None:
        self._inboxes = inboxes
        self.proven = 0

    async def acknowledge(
        self, app: str, user_id: str, device_id: str, items: Sequence[Acknowledged], *, via: Path | None, now: Millis
    ) -> Counts:
        return await self.acknowledge_many(
            [DeviceAcks(app, user_id, device_id, item.event, (item.id,)) for item in items], via=via, now=now
        )

    async def acknowledge_many(self, batch: Sequence[DeviceAcks], *, via: Path | None, now: Millis) -> Counts:
        await self._inboxes.mark_many(APP, [(acks.user_id, acks.event, acks.ids) for acks in batch])
        self.proven += sum(len(acks.ids) for acks in batch)
        return Counts()

    async def passed(self, app: str, user_id: str, device_id: str, delivery_ids: Sequence[str], now: Millis) -> None:
        await self._inboxes.mark(app, user_id, list(delivery_ids), Proof.DELIVERED)

    def greeted(self, app: str, device_id: str, now: Millis) -> None:
        """Nobody counts them here."""

    async def stalled(self, now: Millis) -> None:
        """Nothing hangs on silence here."""

    async def undelivered(self, frames: Sequence[BusFrame]) -> None:
        """Nobody leaves here."""

    async def pull(self, app: str, user_id: str, device_id: str | None, query: InboxQuery, now: Millis) -> InboxAnswer:
        """Nobody polls here."""
        return InboxAnswer(b"{}", empty=True)


async def _nobody(app: str, user_ids: Sequence[str]) -> Mapping[str, Profile]:
    return {}


def serve_on_hot_store(pipe: Connection, url: str, node: str) -> None:
    """The main of a child: a gateway on a real hot store; sends its port, then answers ``usage``."""

    async def serve() -> None:
        store = HotStore(url)
        inboxes = RedisInboxes(store)
        door = Door(inboxes)
        gateway = Gateway(
            GatewaySettings(port=0, node=node, connects_per_second=10**6, connects_per_address=10**6),
            inboxes=inboxes,
            presences=RedisPresences(store),
            bus=RedisNodeBus(store),
            profiles=RedisProfiles(store, _nobody),
            tokens=TOKENS,
            ids=IDS,
            receive=door,
            pull=door,
        )
        await gateway.start()
        calm_collector()
        pipe.send(gateway.port)

        async def told(word: str, _: Any) -> Any:
            return usage(gateway) | {"proven": door.proven}

        await obey(pipe, told)
        await gateway.stop(0.2)
        await store.close()

    run_child(serve())


def usage(gateway: Gateway) -> dict[str, float]:
    """What this process has used, and whom it holds."""
    return {
        "cpu": time.process_time(),
        "rss": float(resident()),
        "online": gateway.counters[Count.ONLINE],
        "lines": gateway.gauges()["lines"],
    }


def run_child(main: Coroutine[Any, Any, None]) -> None:
    """Runs a child's *main* on uvloop, with as many open files as it may have."""
    import uvloop

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(main)


async def obey(pipe: Connection, told: Told) -> None:
    """Answers each (word, value) from the pipe with what *told* returns; ends with ``stop``."""
    loop = asyncio.get_running_loop()
    words: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
    loop.add_reader(pipe.fileno(), lambda: words.put_nowait(pipe.recv()))
    os.set_blocking(pipe.fileno(), True)  # an answer may be larger than the pipe's buffer
    while (said := await words.get())[0] != "stop":
        pipe.send(await told(*said))
    loop.remove_reader(pipe.fileno())


async def ask(pipe: Connection, word: str, value: Any = None, within_s: float = 90) -> Any:
    """Says *word* to a child; its answer. Raises TimeoutError."""
    pipe.send((word, value))
    return await heard(pipe, within_s)


async def heard(pipe: Connection, within_s: float = 90) -> Any:
    """The next thing a child says. Raises TimeoutError, or EOFError where it ended."""
    async with asyncio.timeout(within_s):
        while not pipe.poll():  # noqa: ASYNC110 - a pipe has no awaitable end
            await asyncio.sleep(0.005)
    return pipe.recv()


@contextmanager
def child(main: Callable[..., None], *args: Any) -> Iterator[Connection]:
    """Runs *main*(pipe, *args) in a process of its own; ends it afterwards, one way or the other."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=main, args=(there, *args), daemon=True)
    process.start()
    there.close()
    try:
        yield here
    finally:
        with suppress(OSError):  # it ended by itself
            here.send(("stop", None))
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()


def resident() -> int:
    """Bytes of this process in memory now."""
    try:
        return resident_of(os.getpid())
    except (OSError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
