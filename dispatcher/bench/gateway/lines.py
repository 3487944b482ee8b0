"""Accepts, message and ack: one gateway with its ports in memory, phones in this process."""

import asyncio
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from dispatcher.bench.gateway.bare import accept_cpu, serve_bare, stand_still, storm
from dispatcher.bench.gateway.children import ask, child, device, heard, obey, run_child, usage, user
from dispatcher.bench.gateway.ends import Phone, Tally, knock
from dispatcher.bench.gateway.reference import Cost, Reference
from dispatcher.collector import calm_collector
from dispatcher.gateway.rehearsal import APP, Rehearsal
from dispatcher.gateway.server import Gateway
from dispatcher.gateway.settings import GatewaySettings
from dispatcher.ports.node_bus import BusFrame

Figures = dict[str, tuple[float, str]]

WINDOW = 1_000  #: messages that may be out without an ack


async def measure(
    connections: int, messages: int, reference: Reference | None, rounds: int, figures: Figures
) -> list[Cost]:
    """Fills *figures*; returns what the reference took, round by round."""
    alone = connections // 20
    with child(_serve, connections) as pipe:
        port = await heard(pipe)
        tokens: Sequence[str] = await heard(pipe)
        tally = Tally()
        before = await ask(pipe, "usage")
        phones: list[Phone] = []
        for number in range(alone):
            phones += await knock(tally, port, [tokens[number]])
            await tally.all_online(number + 1, 30)
        between = await ask(pipe, "usage")
        phones += await storm(pipe, port, list(tokens[alone:]), tally)
        after = await ask(pipe, "usage")
        accept = (after["cpu"] - between["cpu"]) / (connections - alone)
        figures["accept_cpu"] = (accept * 1e6, "us")
        figures["accepts_per_core"] = (1 / accept, "1/s")
        figures["accept_alone_cpu"] = ((between["cpu"] - before["cpu"]) / alone * 1e6, "us")
        theirs: list[Cost] = []
        ours: list[dict[str, float]] = []
        for _ in range(rounds):
            ours.append(await ask(pipe, "messages", messages))
            if reference is not None:
                theirs.append(await reference.measure(connections, WINDOW))
        for phone in phones:
            phone.transport.abort()
        await asyncio.sleep(0)
    with child(serve_bare) as pipe:
        figures["accept_bare_cpu"] = (await accept_cpu(pipe, list(tokens)) * 1e6, "us")
    cpu = sorted(one["cpu"] for one in ours)[len(ours) // 2] / messages
    figures["message_ack_cpu"] = (cpu * 1e6, "us")
    figures["message_ack_per_core"] = (1 / cpu, "1/s")
    figures["message_ack_wall"] = (messages / min(one["wall"] for one in ours), "1/s")
    return theirs


def _serve(pipe: Connection, connections: int) -> None:
    run_child(_serve_async(pipe, connections))


async def _serve_async(pipe: Connection, connections: int) -> None:
    world = Rehearsal()
    gateway = world.gateway(GatewaySettings(port=0, connects_per_second=10**6, connects_per_address=10**6))
    await gateway.start()
    tokens = [await world.bind(user(number), device(number)) for number in range(connections)]
    calm_collector()
    pipe.send(gateway.port)
    pipe.send(tokens)

    async def told(word: str, value: Any) -> Any:
        if word == "usage":
            return usage(gateway)
        if word == "hold":
            return stand_still(pipe)
        return await _messages(world, gateway, connections, value)

    await obey(pipe, told)
    await gateway.stop(0.2)


async def _messages(world: Rehearsal, gateway: Gateway, connections: int, count: int) -> dict[str, float]:
    """Puts *count* messages on the bus, at most :data:`WINDOW` of them unacknowledged; counts the gateway's share.

    What the dispatcher's part costs (inbox, ids) is made before the clock runs, as another process would.
    """
    proven = 0

    async def counted(batch: Any, *, via: Any, now: int) -> None:
        nonlocal proven
        proven += sum(len(acks.ids) for acks in batch)

    world.books.acknowledge_many = counted  # type: ignore[method-assign,assignment]
    frames: list[BusFrame] = []
    for place in range(count):
        number = place % connections
        made = world.append(user(number), f"m{place}", "Are you there? Your parcel is on its way.")
        frames.append(
            BusFrame(
                kind="msg",
                app=APP,
                user_id=made.user_id,
                device_id=device(number),
                epoch=1,
                seq=made.seq,
                prev_seq=made.prev_seq,
                delivery_id=made.delivery_id,
                attempt_id=made.attempt_id,
                body=made.body,
            )
        )
    node = gateway.desk.node
    began, spent = time.perf_counter(), time.process_time()
    sent = 0
    while proven < count:
        room = min(WINDOW - (sent - proven), count - sent)
        if room > 0:
            world.bus.put(node, frames[sent : sent + room])
            sent += room
        await asyncio.sleep(0.001)
    return {"cpu": time.process_time() - spent, "wall": time.perf_counter() - began}
