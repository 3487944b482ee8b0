"""How long looking takes where much is stored: every question of the console and of backends, through the real API.

A past is put into a ledger of its own (:mod:`dispatcher.bench.history`), thousands of deliveries are dispatched and
left open, and an API process answers one question after another, each time for another user, moment and page.
"""

import asyncio
import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path as FilePath
from random import Random
from typing import Any

import httpx

from dispatcher.bench.fill import fill
from dispatcher.bench.history import Shape
from dispatcher.bench.processes import command
from dispatcher.bench.questions import Past, questions
from dispatcher.bench.report import report
from dispatcher.bench.settings import SECRET, environ_of
from dispatcher.bootstrap import Stores, open_stores
from dispatcher.domain.clock import system_clock
from dispatcher.embedded.ports import HOST, pick_free_port
from dispatcher.embedded.servers import start_servers
from dispatcher.ledger.migrate import migrate
from dispatcher.pipeline.kept_books import KeptBooks
from dispatcher.ports.directory import App
from dispatcher.settings_source import load_settings
from workers.chores import reconcile_turn

ROWS, QUICK_ROWS, DAYS = 1_000_000, 4_000, 40
GOAL_MS = 300
OPEN_HOMES, OPEN_SINGLES = 100, 100  #: batches of a hundred messages, and messages that stand alone
_READY_S = 90.0
Ask = Callable[[], Awaitable[None]]


def run(*, quick: bool = False, rows: int | None = None) -> dict[str, Any]:
    """Fills, asks, throws away. *rows*: stored deliveries."""
    amount = rows if rows is not None else QUICK_ROWS if quick else ROWS
    shape = Shape(rows=amount, days=4 if quick else DAYS, users=max(amount // 50, 100), now=system_clock())
    with tempfile.TemporaryDirectory(prefix="pushpath-bench-", ignore_cleanup_errors=True) as data:
        servers = start_servers(FilePath(data))
        try:
            environ = environ_of(servers, API_PORT=str(pick_free_port(20_080)))
            return asyncio.run(_measure(environ, shape, rounds=1 if quick else 30))
        finally:
            servers.stop()


async def _measure(environ: Mapping[str, str], shape: Shape, *, rounds: int) -> dict[str, Any]:
    figures: dict[str, tuple[float, str]] = {"stored": (shape.rows, "deliveries")}
    await migrate(environ["PUSHPATH_LEDGER_URL"])
    begun = time.monotonic()
    await fill(environ["PUSHPATH_LEDGER_URL"], shape, SECRET.encode())
    figures["fill"] = (time.monotonic() - begun, "s")
    stores = await open_stores(load_settings(None, environ))
    try:
        await reconcile_turn(stores)
        await stores.apps.create_app(App(app_id="im", name="im"), shape.now)
        _, key = await stores.apps.create_key("im", "bench", ("send", "read", "users", "devices", "admin"), shape.now)
        figures["books_counted"] = (await _count_books(stores), "s")
        with _api(environ):
            slow = await _ask_all(environ, key, shape, stores, rounds, figures)
    finally:
        await stores.close()
    goal = f"95 of 100 answers within {GOAL_MS} ms at {shape.rows:,} stored deliveries"
    return report(
        "looking", figures, targets={"answers": (goal + (f": not {', '.join(slow)}" if slow else ""), not slow)}
    )


async def _count_books(stores: Stores) -> float:
    """What the workers do now and then, so that there is always something to show."""
    begun = time.monotonic()
    await KeptBooks(stores.books, stores.parts, stores.desk.shelf).count("im")
    return time.monotonic() - begun


@contextlib.contextmanager
def _api(environ: Mapping[str, str]) -> Iterator[None]:
    """An API process of its own."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command("api"), env={**os.environ, **environ}, stdout=quiet, stderr=quiet)  # noqa: S603 - ours
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def _ask_all(
    environ: Mapping[str, str],
    key: str,
    shape: Shape,
    stores: Stores,
    rounds: int,
    figures: dict[str, tuple[float, str]],
) -> list[str]:
    """Times every question; answers the names of those beyond the goal."""
    slow = []
    headers = {"Authorization": f"Bearer {key}"}
    address = f"http://{HOST}:{environ['PUSHPATH_API_PORT']}"
    async with httpx.AsyncClient(base_url=address, headers=headers, trust_env=False, timeout=60) as client:
        await _ready(client)
        await _leave_open(client, shape)
        past = await Past.seen(stores, shape)
        for name, question in questions(past).items():
            dice, took = Random(name), []
            for number in range(rounds + 1):
                url, params = question(dice)
                begun = time.perf_counter()
                answer = await client.get(url, params=params)
                if number:  # the first one warms up
                    took.append((time.perf_counter() - begun) * 1_000)
                if answer.status_code != 200:
                    raise RuntimeError(f"{name}: {answer.status_code} {answer.text}")
            took.sort()
            figures[f"{name}.p50"] = (took[len(took) // 2], "ms")
            figures[f"{name}.p95"] = (took[min(int(len(took) * 0.95), len(took) - 1)], "ms")
            if figures[f"{name}.p95"][0] > GOAL_MS:
                slow.append(name)
    return slow


async def _ready(client: httpx.AsyncClient) -> None:
    until = time.monotonic() + _READY_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            if (await client.get("/readyz")).status_code == 200:
                return
        if time.monotonic() > until:
            raise RuntimeError("the API did not become ready")
        await asyncio.sleep(0.1)


async def _leave_open(client: httpx.AsyncClient, shape: Shape) -> None:
    """What nobody works on: no worker runs."""
    dice = Random(1)

    def message(number: int) -> dict[str, Any]:
        user = f"u{int(shape.users * dice.random() ** 2.5):07d}"
        notification = {"title": "Wang", "body": "Are you there?"}
        return {"message_id": f"open-{number}", "to": {"user_ids": [user]}, "notification": notification}

    for batch in range(OPEN_HOMES):
        body = {"messages": [message(batch * 100 + number) for number in range(100)]}
        (await client.post("/v1/messages/batch", json=body)).raise_for_status()
    for single in range(OPEN_SINGLES):
        (await client.post("/v1/messages", json=message(OPEN_HOMES * 100 + single))).raise_for_status()
