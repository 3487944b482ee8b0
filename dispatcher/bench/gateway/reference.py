"""A reference gateway to compare with, given from outside: programs of somebody else, run beside ours.

Two programs, both named on the command line. The gateway is called with a port and prints a line once it listens. The
load generator is called with ``n=CONNECTIONS port=PORT path=/ws?d=%d``; on its input ``go SECONDS JSON`` makes the
gateway send messages with the JSON's ``window`` at most out without an ack, and one line of JSON on its output ends the
run, with ``n``: the messages acknowledged; ``quit`` ends it.
"""

import asyncio
import json
import socket
from dataclasses import dataclass
from pathlib import Path

from dispatcher.bench.report import cpu_of

SECONDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the reference took: CPU seconds a connection until all stood, and a message and ack."""

    accept: float
    message_and_ack: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The two programs. *seconds*: how long each run takes."""

    gateway: Path
    load: Path
    seconds: int = SECONDS

    async def measure(self, connections: int, window: int) -> Cost:
        """CPU of the gateway. Raises TimeoutError, OSError or ValueError."""
        port = _free_port()
        pipe = asyncio.subprocess.PIPE
        gateway = await asyncio.create_subprocess_exec(str(self.gateway), str(port), stdout=pipe)
        try:
            assert gateway.stdout is not None  # noqa: S101
            await asyncio.wait_for(gateway.stdout.readline(), 10)
            load = await asyncio.create_subprocess_exec(
                str(self.load), f"n={connections}", f"port={port}", "path=/ws?d=%d", stdin=pipe, stdout=pipe
            )
            try:
                return await asyncio.wait_for(self._run(gateway.pid, load, connections, window), 60 + self.seconds)
            finally:
                load.kill()
                await load.wait()
        finally:
            gateway.kill()
            await gateway.wait()

    async def _run(self, pid: int, load: asyncio.subprocess.Process, connections: int, window: int) -> Cost:
        assert load.stdin is not None and load.stdout is not None  # noqa: S101, PT018
        await load.stdout.readline()  # all are connected
        before = cpu_of(pid)  # it did nothing but start and accept
        wish = {"t": "go", "secs": self.seconds, "window": window, "rate": 0, "gc": 1}
        load.stdin.write(f"go {self.seconds} {json.dumps(wish, separators=(',', ':'))}\n".encode())
        await load.stdin.drain()
        told = json.loads(await load.stdout.readline())
        return Cost(accept=before / connections, message_and_ack=(cpu_of(pid) - before) / int(told["n"]))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
