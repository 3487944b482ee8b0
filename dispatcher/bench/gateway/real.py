"""Gateways as operators run them: `pushpath gateway` processes on both stores."""

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dispatcher.bench.gateway.children import SECRET
from dispatcher.bench.processes import command, surroundings
from dispatcher.bench.report import cpu_of, resident_of
from dispatcher.domain.clock import system_clock
from dispatcher.embedded.servers import Servers
from dispatcher.gateway.rehearsal import APP
from dispatcher.ledger.apps import SqlApps
from dispatcher.ledger.engine import open_ledger
from dispatcher.ledger.migrate import migrate
from dispatcher.ports.directory import App

_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class RealGateway:
    """One such process, from outside."""

    pid: int
    port: int

    async def ready(self, within_s: float = 30) -> None:
        """Returns once it takes connections. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while True:
                try:
                    _, writer = await asyncio.open_connection(_HOST, self.port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    return

    @property
    def resident(self) -> int:
        """Bytes in memory now."""
        return resident_of(self.pid)

    @property
    def cpu(self) -> float:
        """CPU seconds used so far."""
        return cpu_of(self.pid)


async def prepare(servers: Servers) -> None:
    """A ledger with the benchmark's app in it: gateways ask it every second whom the app keeps out."""
    await migrate(servers.ledger_url)
    engine = open_ledger(servers.ledger_url)
    await SqlApps(engine).create_app(App(app_id=APP, name="Benchmark"), system_clock(), strategy="")
    await engine.dispose()


@contextmanager
def real_gateway(servers: Servers, node: str) -> Iterator[RealGateway]:
    """Starts one; it is killed afterwards, for nothing of it has to last."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port = int(probe.getsockname()[1])
    settings = {
        "PUSHPATH_LEDGER_URL": servers.ledger_url,
        "PUSHPATH_HOT_STORE_URL": servers.hot_store_url,
        "PUSHPATH_SECRET_KEY": SECRET,
        "PUSHPATH_NODE": node,
        "PUSHPATH_GATEWAY_PORT": str(port),
        "PUSHPATH_CONNECTIONS_PER_ADDRESS": "1000000",
    }
    process = subprocess.Popen(  # noqa: S603 - ours
        command("gateway"),
        env=surroundings(settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield RealGateway(process.pid, port)
    finally:
        process.kill()
        process.wait()
