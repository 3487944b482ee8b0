"""``pushpath bench gateway``: message and ack, accepts, memory a connection, long-polls; ports in memory.

The gateway runs in a child process of its own; the phones are raw sockets in this one, so they cost the gateway
nothing. Figures are the gateway's own CPU time a unit, by its process's accounting, and what that makes a second on one
whole core: wall figures on shared cores say little.
"""

import asyncio
import json
import multiprocessing
import os
import resource
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dispatcher.gateway.counters import Count
from dispatcher.gateway.rehearsal import APP, Rehearsal
from dispatcher.gateway.server import calm_collector
from dispatcher.gateway.settings import GatewaySettings
from dispatcher.ports.node_bus import BusFrame
from dispatcher.protocol.frames import JSON, Ack, Hello
from dispatcher.protocol.wire import BINARY, TEXT, encode_frame

_NO_MASK = bytes(4)
_STORM = 2_000  #: phones that knock at once
_HEAD = (
    b"GET /v1/connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: pushpath.v1.json\r\n\r\n"
)


def _user(number: int) -> str:
    return f"u{number}"


def _device(number: int) -> str:
    return f"device-{number:012d}"


def run(quick: bool = False, *, reference_us: float | None = None) -> dict[str, Any]:
    """All parts; *quick*: a few seconds, for CI. Keys as ``pushpath bench --json`` prints them.

    *reference_us*: CPU a message and ack of a reference gateway, measured in the same run; only against it is there a
    ratio. An accept is the whole way: TCP, upgrade, token check, binding, presence, inbox, online. In a storm: two
    thousand at once; alone: one after the other.
    """
    connections = 500 if quick else 5_000
    messages = 10_000 if quick else 200_000
    figures: dict[str, dict[str, Any]] = {}
    with _gateway(connections) as (pipe, port):
        tokens: list[str] = pipe.recv()
        phones = _Phones(port, tokens)
        asyncio.run(phones.measure(pipe, messages, figures))
    memory = figures["memory_per_connection"]["value"]
    accepts = figures["accepts_per_core"]["value"]
    ratios: dict[str, dict[str, Any]] = {}
    targets: dict[str, dict[str, Any]] = {
        "memory_per_connection": {"goal": "<= 2048 bytes", "met": memory <= 2048},
        "accepts_per_core": {"goal": ">= 20000/s", "met": accepts >= 20_000},
    }
    if reference_us is not None:
        ratio = round(reference_us / figures["message_ack_cpu"]["value"], 3)
        ratios["message_ack"] = {"value": ratio, "against": "reference gateway, CPU a message and ack, same run"}
        targets["message_ack"] = {"goal": ">= 0.40 of the reference", "met": ratio >= 0.40}
    return {"name": "gateway", "figures": figures, "ratios": ratios, "targets": targets}


class _Phones:
    """Raw devices on one event loop."""

    def __init__(self, port: int, tokens: list[str]) -> None:
        self._port = port
        self._tokens = tokens
        self._online = 0
        self._held: list[tuple[asyncio.Transport, asyncio.Protocol]] = []
        self._all: asyncio.Event | None = None

    async def measure(self, pipe: Connection, messages: int, figures: dict[str, dict[str, Any]]) -> None:
        loop = asyncio.get_running_loop()
        before = _ask(pipe, "usage")
        self._all = asyncio.Event()
        count = len(self._tokens)
        alone = count // 5
        knocked = [self._knock(number) for number in range(alone)]
        between = await self._arrived(pipe, alone)
        for start in range(alone, count, _STORM):
            _ask(pipe, "hold")
            knocked += [self._knock(number) for number in range(start, min(start + _STORM, count))]
            pipe.send(("go", 0))
        after = await self._arrived(pipe, count)
        for number, knocking in enumerate(knocked):
            self._held.append(
                await loop.create_connection(lambda number=number: _Phone(self, number), sock=knocking)  # type: ignore[misc]
            )
        await asyncio.wait_for(self._all.wait(), 60)
        cpu = (after["cpu"] - between["cpu"]) / (count - alone)
        figures["accept_cpu"] = {"value": round(cpu * 1e6, 1), "unit": "us"}
        figures["accepts_per_core"] = {"value": round(1 / cpu), "unit": "1/s"}
        lone = (between["cpu"] - before["cpu"]) / alone
        figures["accept_alone_cpu"] = {"value": round(lone * 1e6, 1), "unit": "us"}
        figures["memory_per_connection"] = {"value": round((after["rss"] - before["rss"]) / count), "unit": "bytes"}
        pipe.send(("messages", messages))
        while not pipe.poll():  # noqa: ASYNC110 - a pipe has no awaitable end
            await asyncio.sleep(0.01)
        done = pipe.recv()
        figures["message_ack_cpu"] = {"value": round(done["cpu"] / messages * 1e6, 2), "unit": "us"}
        figures["message_ack_per_core"] = {"value": round(messages / done["cpu"]), "unit": "1/s"}
        for transport, _ in self._held:
            transport.abort()
        await asyncio.sleep(0)
        figures["message_ack_wall"] = {"value": round(messages / done["wall"]), "unit": "1/s"}

    async def _arrived(self, pipe: Connection, count: int) -> dict[str, float]:
        """Waits until as many are online; what it cost."""
        while (usage := _ask(pipe, "usage"))["online"] < count:  # noqa: ASYNC110 - a pipe has no awaitable end
            await asyncio.sleep(0.1)
        return usage

    def _knock(self, number: int) -> socket.socket:
        """One phone of the storm: connects and says everything at once, faster than a gateway takes it in."""
        knocking = socket.create_connection(("127.0.0.1", self._port))
        hello = JSON.encode(Hello(token=self._tokens[number]))
        knocking.sendall(_HEAD + encode_frame(TEXT, hello, _NO_MASK))
        knocking.setblocking(False)
        return knocking

    def online(self) -> None:
        self._online += 1
        if self._online == len(self._tokens) and self._all is not None:
            self._all.set()


class _Phone(asyncio.Protocol):
    """Said hello already; acknowledges every message on its own."""

    __slots__ = ("number", "phones", "rest", "transport")

    def __init__(self, phones: _Phones, number: int) -> None:
        self.phones = phones
        self.number = number
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        if data.startswith(b"HTTP/"):
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                self.rest = data
                return
            data = data[end:]
        out = []
        at = 0
        while len(data) - at >= 2:
            size = data[at + 1]
            start = at + 2
            if size == 126:
                if len(data) < at + 4:
                    break
                (size,) = struct.unpack_from("!H", data, at + 2)
                start = at + 4
            if len(data) < start + size:
                break
            if data[at] & 0x0F in (TEXT, BINARY):
                payload = data[start : start + size]
                if payload.startswith(b'{"t":"msg"'):
                    found = payload.index(b'"delivery_id":"') + 15
                    out.append(encode_frame(TEXT, JSON.encode(Ack([payload[found : found + 28].decode()])), _NO_MASK))
                elif payload.startswith(b'{"t":"caught_up"'):
                    self.phones.online()
            at = start + size
        self.rest = data[at:]
        if out:
            self.transport.write(b"".join(out))


def _ask(pipe: Connection, word: str) -> dict[str, float]:
    pipe.send((word, 0))
    answer: dict[str, float] = pipe.recv()
    return answer


@contextmanager
def _gateway(connections: int) -> Iterator[tuple[Connection, int]]:
    """A gateway in a process of its own, with as many bound devices."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_serve, args=(there, connections), daemon=True)
    child.start()
    try:
        yield here, here.recv()
    finally:
        here.send(("stop", 0))
        child.join(10)
        if child.is_alive():
            child.kill()


def _serve(pipe: Connection, connections: int) -> None:
    import uvloop

    uvloop.run(_serve_async(pipe, connections))


async def _serve_async(pipe: Connection, connections: int) -> None:
    world = Rehearsal()
    gateway = world.gateway(GatewaySettings(port=0, max_connections=connections + 64, connects_per_address=1_000_000))
    await gateway.start()
    calm_collector()
    pipe.send(gateway.port)
    pipe.send([await world.bind(_user(number), _device(number)) for number in range(connections)])
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
    loop.add_reader(pipe.fileno(), lambda: told.put_nowait(pipe.recv()))
    while True:
        word, count = await told.get()
        if word == "stop":
            break
        if word == "hold":
            pipe.send({})
            os.set_blocking(pipe.fileno(), True)
            pipe.recv()  # the loop stands still until the storm is outside the door
            os.set_blocking(pipe.fileno(), False)
        elif word == "usage":
            online = gateway.counters[Count.ONLINE]
            pipe.send({"cpu": time.process_time(), "rss": float(_resident()), "online": online})
        else:
            pipe.send(await _messages(world, gateway.desk.node, connections, count))
    loop.remove_reader(pipe.fileno())
    await gateway.stop(0.2)


async def _messages(world: Rehearsal, node: str, connections: int, count: int) -> dict[str, float]:
    """Puts *count* messages on the bus, at most 1,000 of them unacknowledged; counts the gateway's share alone.

    What the dispatcher's part costs (inbox, ids) is made before the clock runs, as another process would.
    """
    window = 1_000
    proven = 0

    async def counted(batch: Any, *, via: Any, now: int) -> None:
        nonlocal proven
        proven += sum(len(acks.ids) for acks in batch)

    world.books.acknowledge_many = counted  # type: ignore[method-assign,assignment]
    turns = count // connections + 1
    frames: list[BusFrame] = []
    for _ in range(turns):
        for number in range(connections):
            frame = world.append(_user(number), f"m{len(frames)}", "Are you there? Your parcel is on its way.")
            frames.append(
                BusFrame(
                    kind="msg",
                    app=APP,
                    user_id=frame.user_id,
                    device_id=_device(number),
                    epoch=1,
                    seq=frame.seq,
                    prev_seq=frame.prev_seq,
                    delivery_id=frame.delivery_id,
                    attempt_id=frame.attempt_id,
                    body=frame.body,
                )
            )
    del frames[count:]
    began, spent = time.perf_counter(), time.process_time()
    sent = 0
    while proven < count:
        room = min(window - (sent - proven), count - sent)
        if room > 0:
            world.bus.put(node, frames[sent : sent + room])
            sent += room
        await asyncio.sleep(0.001)
    return {"cpu": time.process_time() - spent, "wall": time.perf_counter() - began}


def _resident() -> int:
    """Bytes of this process in memory now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))  # noqa: T201
