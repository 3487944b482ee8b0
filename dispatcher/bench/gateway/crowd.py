"""Many phones on a real hot store: a whole crowd held by three gateways, and how late messages come to it."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from dispatcher.bench.gateway.children import (
    IDS,
    ask,
    bind_all,
    child,
    device,
    heard,
    obey,
    run_child,
    serve_on_hot_store,
    token,
    user,
)
from dispatcher.bench.gateway.ends import Phone, Tally, knock
from dispatcher.bench.gateway.lines import Figures
from dispatcher.bench.gateway.real import prepare, real_gateway
from dispatcher.bench.report import cpu_of
from dispatcher.domain.clock import system_clock
from dispatcher.domain.ids import DeliveryRef, attempt_id, make_home
from dispatcher.domain.paths import Path
from dispatcher.embedded.servers import Servers
from dispatcher.gateway.rehearsal import APP
from dispatcher.hot.inboxes import RedisInboxes
from dispatcher.hot.node_bus import RedisNodeBus
from dispatcher.hot.store import HotStore
from dispatcher.ports.node_bus import BusFrame

NODES = 3
#: Phones that connect together; then the next ones.
_WAVE = 250


class Phones:
    """A process that is nothing but phones."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    async def connect(self, port: int, source: str, first: int, number: int) -> int:
        """So many users' phones, from *first* on, come from *source*; how many it has, once all are online."""
        held: int = await ask(self._pipe, "connect", (port, source, first, number))
        return held

    async def late(self) -> list[int]:
        """How late the messages came, in nanoseconds."""
        found: list[int] = await ask(self._pipe, "late")
        return found


def serve_phones(pipe: Connection) -> None:
    """The main of such a process."""

    async def serve() -> None:
        tally = Tally()
        phones: list[Phone] = []

        async def told(word: str, value: Any) -> Any:
            if word == "late":
                return tally.late
            port, source, first, number = value
            for start in range(first, first + number, _WAVE):
                tokens = [token(place) for place in range(start, min(start + _WAVE, first + number))]
                phones.extend(await knock(tally, port, tokens, source))
                await tally.all_online(len(phones), 60)
            return len(phones)

        pipe.send("ready")
        await obey(pipe, told)
        for phone in phones:
            phone.transport.abort()
        await asyncio.sleep(0)

    run_child(serve())


async def hold(servers: Servers, connections: int, figures: Figures) -> None:
    """Three `pushpath gateway` processes take the crowd; each phone process comes from an address of its own."""
    store = HotStore(servers.hot_store_url)
    await bind_all(store, connections)
    await store.close()
    await prepare(servers)
    share = connections // NODES
    with ExitStack() as stack:
        crowds = [stack.enter_context(child(serve_phones)) for _ in range(NODES)]
        gateways = [stack.enter_context(real_gateway(servers, f"crowd-{place}")) for place in range(NODES)]
        for pipe in crowds:
            await heard(pipe)
        for gateway in gateways:
            await gateway.ready()
        await asyncio.sleep(1)  # its first lease and look at the stores
        before = [(gateway.cpu, gateway.resident) for gateway in gateways]
        spent = cpu_of(servers.pids["hot_store"])
        held = sum(
            await asyncio.gather(
                *(
                    Phones(pipe).connect(gateway.port, f"127.0.0.{10 + place}", place * share, share)
                    for place, (pipe, gateway) in enumerate(zip(crowds, gateways, strict=True))
                )
            )
        )
        store_cpu = cpu_of(servers.pids["hot_store"]) - spent
        cpu = sum(gateway.cpu for gateway in gateways) - sum(used for used, _ in before)
        rss = sum(gateway.resident for gateway in gateways)
    empty = sum(resident for _, resident in before)
    figures["crowd_connections"] = (held, "connections")
    figures["crowd_rss"] = (rss / 1e6, "MB")
    figures["crowd_rss_empty"] = (empty / 1e6, "MB")
    figures["memory_per_connection"] = ((rss - empty) / held, "bytes")
    figures["crowd_accept_cpu"] = (cpu / held * 1e6, "us")
    figures["crowd_accept_store_cpu"] = (store_cpu / held * 1e6, "us")


async def lateness(url: str, connections: int, rate: int, seconds: float, figures: Figures) -> None:
    """*rate* messages a second to random phones of one gateway: inbox, bus, gateway, phone.

    Counted from the moment a message was due to be sent, so that a sender that falls behind flatters nobody.
    """
    store = HotStore(url)
    await bind_all(store, connections)
    with child(serve_on_hot_store, url, "late-0") as gateway, child(serve_phones) as crowd:
        port = await heard(gateway)
        await heard(crowd)
        phones = Phones(crowd)
        await phones.connect(port, "127.0.0.10", 0, connections)
        before = await ask(gateway, "usage")
        sent = await _send(store, "late-0", connections, rate, seconds)
        for _ in range(1_500):
            if (await ask(gateway, "usage"))["proven"] >= sent:
                break
            await asyncio.sleep(0.02)
        after = await ask(gateway, "usage")
        late = sorted(await phones.late())
    await store.close()
    if len(late) < sent or after["proven"] < sent:
        raise RuntimeError(f"{len(late)} of {sent} messages came, {after['proven']} were proven")
    figures["latency_p50"] = (late[len(late) // 2] / 1e6, "ms")
    figures["latency_p99"] = (late[int(len(late) * 0.99)] / 1e6, "ms")
    figures["latency_gateway_cpu"] = ((after["cpu"] - before["cpu"]) / sent * 1e6, "us")


async def _send(store: HotStore, node: str, connections: int, rate: int, seconds: float) -> int:
    inboxes, bus = RedisInboxes(store), RedisNodeBus(store)
    step_ns = 5_000_000  # one call for what is due together, as a worker would send it
    begin = time.monotonic_ns()
    ends = begin + int(seconds * 1e9)
    places = count()
    under_way: set[asyncio.Task[None]] = set()
    sent = 0

    async def deliver(entries: Sequence[tuple[int, str, bytes]], now: int) -> None:
        placed = await inboxes.append(APP, [(user(who), delivery, body) for who, delivery, body in entries], now)
        frames = [
            BusFrame(
                kind="msg",
                app=APP,
                user_id=user(who),
                device_id=device(who),
                epoch=1,
                seq=seq,
                prev_seq=prev_seq,
                delivery_id=delivery,
                attempt_id=attempt_id(delivery, 0, 0, 0, Path.LONGCONN),
                body=body,
            )
            for (who, delivery, body), (seq, prev_seq) in zip(entries, placed, strict=True)
        ]
        await bus.send({node: frames})

    due = begin
    while due < ends:
        due += step_ns
        wait = (due - time.monotonic_ns()) / 1e9
        if wait > 0:
            await asyncio.sleep(wait)
        wanted = (due - begin) * rate // 1_000_000_000 - sent
        now = system_clock()
        entries = []
        for place in (next(places) for _ in range(wanted)):
            who = place * 7_919 % connections
            delivery = IDS.delivery_id(DeliveryRef(make_home(now, place >> 16, 0), place & 0xFFFF), APP, user(who))
            body = (
                f'"message_id":"m{place}","class":"chat","notification":{{"title":"Wang","body":"Are you there?"}},'
                f'"data":{{"at":{due}}},"sent_at":"2026-11-22T14:00:00Z"'
            ).encode()
            entries.append((who, delivery, body))
        if entries:
            task = asyncio.create_task(deliver(entries, now))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        sent += wanted
    await asyncio.gather(*under_way)
    return sent
