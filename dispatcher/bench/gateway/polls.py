"""Long-polls: parked requests that are woken, answered and asked again, ports in memory."""

import asyncio
import time
from multiprocessing.connection import Connection
from typing import Any

from dispatcher.bench.gateway.children import ask, child, device, heard, obey, run_child, user
from dispatcher.bench.gateway.ends import Poller, dial
from dispatcher.bench.gateway.lines import Figures
from dispatcher.collector import calm_collector
from dispatcher.domain.clock import Millis
from dispatcher.gateway.rehearsal import APP, Rehearsal
from dispatcher.gateway.server import Gateway
from dispatcher.gateway.settings import GatewaySettings
from dispatcher.ports.node_bus import BusFrame
from dispatcher.ports.receiving import InboxAnswer, InboxQuery

_MESSAGE = (
    b'{"messages":[{"cursor":"%032x","delivery_id":"%028x","message_id":"m1","class":"chat","notification":{"title":'
    b'"Wang","body":"Are you there? Your parcel is on its way."},"data":null,"sent_at":"2026-11-22T14:00:00Z"}],'
    b'"next":"%032x","more":false,"unread":1,"poll_after":"30s"}'
) % (1, 2, 1)
_EMPTY = b'{"messages":[],"next":null,"more":false,"unread":0,"poll_after":"30s"}'


async def measure(connections: int, deliveries: int, figures: Figures) -> None:
    """*connections* parked phones take *deliveries* messages, one each time."""
    with child(_serve, connections) as pipe:
        port, tokens, cursors = await heard(pipe)
        loop = asyncio.get_running_loop()
        answered = 0

        def count() -> None:
            nonlocal answered
            answered += 1

        pollers = []
        for own, cursor in zip(tokens, cursors, strict=True):
            _, poller = await loop.create_connection(
                lambda own=own, cursor=cursor: Poller(own, cursor, count),  # type: ignore[misc]
                sock=dial(port),
            )
            pollers.append(poller)
        done = await ask(pipe, "polls", deliveries)
        async with asyncio.timeout(10):  # the last answers may still be on their way
            while answered < deliveries:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        for poller in pollers:
            poller.transport.abort()
        await asyncio.sleep(0)
    cpu = done["cpu"] / deliveries
    figures["long_poll_cpu"] = (cpu * 1e6, "us")
    figures["long_poll_per_core"] = (1 / cpu, "1/s")
    figures["long_poll_wall"] = (deliveries / done["wall"], "1/s")


class _Waiting:
    """The inbox port: a message for those that are owed one."""

    def __init__(self) -> None:
        self.owed: set[str] = set()
        self.taken = 0

    async def pull(self, app: str, user_id: str, device_id: str | None, query: InboxQuery, now: Millis) -> InboxAnswer:
        if user_id not in self.owed:
            return InboxAnswer(_EMPTY, empty=True)
        self.owed.discard(user_id)
        self.taken += 1
        return InboxAnswer(_MESSAGE, empty=False)


def _serve(pipe: Connection, connections: int) -> None:
    run_child(_serve_async(pipe, connections))


async def _serve_async(pipe: Connection, connections: int) -> None:
    world = Rehearsal()
    waiting = _Waiting()
    world.pull = waiting  # type: ignore[assignment]
    gateway = world.gateway(GatewaySettings(port=0, connects_per_second=10**6, connects_per_address=10**6))
    await gateway.start()
    tokens = [await world.bind(user(number), device(number)) for number in range(connections)]
    cursors = [world.cursor(user(number), 1) for number in range(connections)]
    calm_collector()
    pipe.send((gateway.port, tokens, cursors))

    async def told(word: str, count: Any) -> Any:
        return await _polls(world, gateway, waiting, connections, count)

    await obey(pipe, told)
    await gateway.stop(0.2)


async def _polls(
    world: Rehearsal, gateway: Gateway, waiting: _Waiting, connections: int, count: int
) -> dict[str, float]:
    """Wakes every parked phone in turn, half of them under way at most."""
    while gateway.gauges()["parked"] < connections or gateway.gauges()["chores"]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    node = gateway.desk.node
    frames = [
        BusFrame(kind="wake", app=APP, user_id=user(number), device_id=device(number), epoch=1)
        for number in range(connections)
    ]
    began, spent, first = time.perf_counter(), time.process_time(), waiting.taken
    sent = 0
    while (taken := waiting.taken - first) < count:
        room = min(connections // 2 - (sent - taken), count - sent)
        if room > 0:
            places = [place % connections for place in range(sent, sent + room)]
            waiting.owed.update(user(place) for place in places)
            world.bus.put(node, [frames[place] for place in places])
            sent += room
        await asyncio.sleep(0.001)
    return {"cpu": time.process_time() - spent, "wall": time.perf_counter() - began}
