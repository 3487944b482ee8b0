"""A draft held against a recorded day through the real doors: `POST /v1/strategies/simulate` and the command line.

One API process on embedded servers, a ledger filled with recorded traffic by COPY. Told: seconds, CPU of the process
and of PostgreSQL, memory at its highest, when progress comes, and how soon it stops once the caller hangs up.
"""

import asyncio
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from dispatcher.bench.processes import command
from dispatcher.bench.recorded_traffic import fill
from dispatcher.bench.report import cpu_of, report
from dispatcher.bench.settings import environ_of
from dispatcher.bootstrap import open_stores
from dispatcher.domain.clock import Millis, rfc3339, system_clock
from dispatcher.embedded.servers import Servers, start_servers
from dispatcher.ledger.migrate import migrate
from dispatcher.ports.directory import App
from dispatcher.settings_source import load_settings
from strategies.bench import DRAFT, TEN_RULES

ROWS = 1_000_000
QUICK_ROWS = 2_000
APP = "bench"
_LINES = {"Accept": "application/x-ndjson"}


def run(*, quick: bool = False, rows: int | None = None) -> dict[str, Any]:
    """Fills, asks, hangs up, asks from the terminal. *rows*: how many deliveries are recorded."""
    amount = rows or (QUICK_ROWS if quick else ROWS)
    with tempfile.TemporaryDirectory(prefix="pushpath-bench-", ignore_cleanup_errors=True) as data:
        servers = start_servers(Path(data), durable=False)
        try:
            environ = environ_of(
                servers, BROKER_URL=servers.broker_url, API_PORT=str(_free_port()), LOG_LEVEL="warning"
            )
            figures = asyncio.run(_measure(environ, servers, Path(data), amount))
        finally:
            servers.stop()
    seconds, peak = figures["api.seconds"][0], figures["api.memory_peak"][0]
    targets = {
        "api.seconds": ("a million recorded deliveries in 5 minutes", seconds / amount <= 300 / 1e6),
        "api.memory_peak": ("at most 512 MB however many", peak <= 512),
        "cancel.seconds": ("stops within 2 s of hanging up", figures["cancel.seconds"][0] <= 2),
    }
    return report("simulation", figures, targets=targets)


async def _measure(
    environ: Mapping[str, str], servers: Servers, data: Path, amount: int
) -> dict[str, tuple[float, str]]:
    key, since, until, filled_s = await _prepared(environ, amount)
    figures = {"deliveries": (float(amount), ""), "fill.seconds": (filled_s, "s")}
    ledger = servers.pids["ledger"]
    async with _api(environ, data) as (pid, client):
        client.headers["Authorization"] = f"Bearer {key}"
        body = {"strategy": DRAFT, "since": rfc3339(since), "until": rfc3339(until), "segment_price": 0.05}
        figures["api.memory_before"] = (_memory_mb(pid, "VmRSS"), "MB")
        begun, cpu, ledger_cpu = time.perf_counter(), cpu_of(pid), _family_cpu(ledger)
        told = 0
        result: dict[str, Any] = {}
        async for line in _lines(client, body):
            told += "done" in line
            result = line.get("result", result)
        if result.get("deliveries", 0) < amount * 0.99:
            raise RuntimeError(f"{result.get('deliveries')} of {amount} deliveries were seen")
        seconds, spent = time.perf_counter() - begun, cpu_of(pid) - cpu
        figures |= {
            "api.seconds": (seconds, "s"),
            "api.cpu": (spent / amount * 1e6, "us/delivery"),
            "ledger.cpu": ((_family_cpu(ledger) - ledger_cpu) / amount * 1e6, "us/delivery"),
            "api.deliveries": (amount / seconds, "1/s"),
            "api.progress": (float(told), "lines"),
            "api.memory_peak": (_memory_mb(pid, "VmHWM"), "MB"),
            "sms_limited.new": (float(result["sms_limited"]["new"]), ""),
        }
        figures["cancel.seconds"] = (await _hung_up(client, pid, body), "s")
    seconds, peak = await asyncio.to_thread(_command_line, environ, data, since, until, amount)
    return figures | {"cli.seconds": (seconds, "s"), "cli.memory_peak": (peak, "MB")}


async def _prepared(environ: Mapping[str, str], amount: int) -> tuple[str, Millis, Millis, float]:
    """A migrated ledger with an app, its live strategy and the recorded day; the app's key and the window."""
    settings = load_settings(None, environ)
    await migrate(settings.ledger_url.reveal())
    stores = await open_stores(settings)
    try:
        now = system_clock()
        live = TEN_RULES.replace("strategy: bench", "strategy: default")
        await stores.apps.create_app(App(app_id=APP, name=APP), now, strategy=live)
        _, key = await stores.apps.create_key(APP, "bench", ["strategies"], now)
        begun = time.perf_counter()
        async with stores.engine.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            since = await fill(raw, APP, amount, now)
        return key, since, now, time.perf_counter() - begun
    finally:
        await stores.close()


@asynccontextmanager
async def _api(environ: Mapping[str, str], data: Path) -> AsyncIterator[tuple[int, httpx.AsyncClient]]:
    process = await asyncio.create_subprocess_exec(
        *command("api"), env={**os.environ, **environ}, stdout=subprocess.DEVNULL, cwd=data
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{environ['PUSHPATH_API_PORT']}", timeout=60) as client:
            for _ in range(150):
                try:
                    if (await client.get("/healthz")).status_code == 200:
                        break
                except httpx.HTTPError:
                    await asyncio.sleep(0.2)
            yield process.pid, client
    finally:
        process.terminate()
        await process.wait()


async def _lines(client: httpx.AsyncClient, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
    async with client.stream("POST", "/v1/strategies/simulate", json=body, headers=_LINES) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            yield json.loads(line)


async def _hung_up(client: httpx.AsyncClient, pid: int, body: Mapping[str, Any]) -> float:
    """Hangs up in the middle; how long the process still works at it (to a tenth of a second)."""
    async with client.stream("POST", "/v1/strategies/simulate", json=body, headers=_LINES) as answer:
        async for line in answer.aiter_lines():
            if json.loads(line).get("done") != 0:
                break
    begun, idle_since, spent = time.perf_counter(), time.perf_counter(), cpu_of(pid)
    while time.perf_counter() - idle_since < 0.5 and time.perf_counter() - begun < 30:
        await asyncio.sleep(0.1)
        if cpu_of(pid) - spent > 0.03:
            idle_since, spent = time.perf_counter(), cpu_of(pid)
    return idle_since - begun


def _command_line(
    environ: Mapping[str, str], data: Path, since: Millis, until: Millis, amount: int
) -> tuple[float, float]:
    """`pushpath strategies simulate`: seconds, and megabytes at its highest."""
    draft = data / "draft.yaml"
    draft.write_text(DRAFT)
    words = [*command("strategies", "simulate"), str(draft), "--json"]
    words += ["--since", rfc3339(since), "--until", rfc3339(until)]
    begun, peak = time.perf_counter(), 0.0
    with (data / "cli.json").open("w+") as out:
        process = subprocess.Popen(words, env={**os.environ, **environ}, stdout=out, cwd=data)  # noqa: S603 - ourselves
        while process.poll() is None:
            peak = max(peak, _memory_mb(process.pid, "VmHWM"))
            time.sleep(0.05)
        seconds = time.perf_counter() - begun
        out.seek(0)
        seen = json.load(out)["deliveries"]
    if process.returncode or seen < amount * 0.99:
        raise RuntimeError(f"the command line saw {seen} of {amount} deliveries")
    return seconds, peak


def _memory_mb(pid: int, field: str) -> float:
    """`VmRSS` (now) or `VmHWM` (at its highest) of a process (Linux); 0 where it cannot be seen."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(field)), 0.0)


def _family_cpu(pid: int) -> float:
    """CPU seconds of a process and of its children that still run."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return cpu_of(pid) + sum(cpu_of(int(child)) for child in children.read_text().split())
    except OSError:
        return 0.0


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
