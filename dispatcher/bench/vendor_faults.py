"""A tenth of errors of every kind through one real worker: is anything lost, hung, sent twice, or does memory grow?

Embedded servers, one ``pushpath worker`` and one ``pushpath schedule`` as they run anywhere, the APNs simulator in a
process of its own. Every device is distinct; every tenth has a token that the simulator answers with one of the faults,
each time. What the simulator logged is the judge, and the ledger's books.
"""

import asyncio
import json
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Any

from dispatcher.bench.phones import register_all
from dispatcher.bench.processes import command, stopped_after, surroundings
from dispatcher.bench.report import cpu_of, report
from dispatcher.bench.settings import environ_of
from dispatcher.bootstrap import Stores, open_stores
from dispatcher.core import AppCore
from dispatcher.domain.clock import system_clock
from dispatcher.domain.device import Platform, PushToken
from dispatcher.domain.paths import Path
from dispatcher.domain.requests import DispatchRequest
from dispatcher.embedded.servers import start_servers
from dispatcher.ledger.migrate import migrate
from dispatcher.ports.directory import App, DeviceRegistration
from dispatcher.settings_source import load_settings
from providers.bench.simulators import Ends, simulators
from providers.sandbox import load_credentials
from workers.app import create_celery
from workers.chores import reconcile_turn, upkeep_turn
from workers.hints import CeleryHints

APP = "faults"
SENDS, QUICK_SENDS = 100_000, 600
RETRIES = 2
WAITS = {False: "6s", True: "20s"}  #: in a tiny run, in a whole one
#: Seconds without any delivery settled after which the rest counts as hung: longer than every wait below.
_STANDS_STILL_S = 120.0
#: One step, and nobody proves anything: what was taken is settled when its wait is over.
STRATEGY = """
strategy: default
rules:
  - name: everyone
    ladder:
      - {{path: push, wait: {wait}, retries: {retries}}}
"""
#: What the simulator does to a token that begins so; whether the push may have been taken, and whether it comes again.
FAULTS: tuple[tuple[dict[str, Any], bool, bool], ...] = (
    ({"status": 410, "reason": "Unregistered"}, False, False),
    ({"status": 410, "reason": "ExpiredToken"}, False, False),
    ({"status": 400, "reason": "BadDeviceToken"}, False, False),
    ({"status": 400, "reason": "DeviceTokenNotForTopic"}, False, False),
    ({"status": 413, "reason": "PayloadTooLarge"}, False, False),
    ({"status": 429, "reason": "TooManyRequests"}, False, True),
    ({"status": 500, "reason": "InternalServerError"}, False, True),
    ({"status": 503, "reason": "ServiceUnavailable"}, False, True),
    ({"status": 500, "wire": "empty"}, False, True),
    ({"status": 410, "wire": "split"}, False, False),
    ({"status": 410, "wire": "no_id"}, False, False),
    ({"wire": "reset"}, True, True),
    ({"wire": "silent"}, True, True),
)


def token_of(number: int) -> str:
    """Every tenth begins with ``e`` and the number of its fault."""
    return f"e{number // 10 % len(FAULTS):x}{number:062x}" if number % 10 == 0 else f"{number:064x}"


def fault_of(token: str) -> tuple[dict[str, Any], bool, bool] | None:
    """None for a token that the simulator takes."""
    return FAULTS[int(token[1], 16)] if token.startswith("e") else None


def run(*, quick: bool = False) -> dict[str, Any]:
    """Starts and ends all of its processes; a whole run takes some minutes."""
    amount = QUICK_SENDS if quick else SENDS
    with simulators(log_limit=4 * amount) as ends, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as data:
        rules: list[dict[str, Any]] = [
            {"match": f"e{kind:x}*", **fault}
            for kind, (fault, _, _) in enumerate(FAULTS)
            if not quick or fault.get("wire") != "silent"  # each try of it waits for the deadline
        ]
        # and, once for each of three pushes, what says that all of us are at fault: the circuit opens and closes again
        rules.append({"status": 403, "reason": "InvalidProviderToken", "times": 3})
        ends.script("apns", {"errors": rules})
        servers = start_servers(FilePath(data))
        try:
            environ = environ_of(servers)
            seen = asyncio.run(_measure(environ, ends, amount))
        finally:
            servers.stop()
        return _document(amount, seen, judge(ends.requests("apns"), amount))


@contextmanager
def _process(environ: Mapping[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours, told to stop at the end and killed where it does not within fifteen seconds."""
    quiet = surroundings({**environ, "PUSHPATH_LOG_LEVEL": "error"})
    running = subprocess.Popen(command(*arguments), env=quiet, stdout=subprocess.DEVNULL)  # noqa: S603 - ourselves
    with stopped_after(running, 15):
        yield running


async def _measure(environ: Mapping[str, str], ends: Ends, amount: int) -> dict[str, float]:
    settings = load_settings(None, environ)
    hints = CeleryHints(create_celery(settings.celery_broker.reveal()))
    stores = await open_stores(settings, hint=hints)
    try:
        await _prepare(stores, ends, amount)
        with _process(environ, "worker") as worker, _process(environ, "schedule"):
            return await _send(stores, worker.pid, ends, amount)
    finally:
        hints.close()
        await stores.close()


async def _prepare(stores: Stores, ends: Ends, amount: int) -> None:
    """Migrated tables, one app with the simulator's credentials, a person with an iPhone for every push."""
    now = stores.clock()
    await migrate(stores.settings.ledger_url.reveal())
    await upkeep_turn(stores)
    await reconcile_turn(stores)
    await stores.apps.create_app(
        App(app_id=APP, name=APP), now, strategy=STRATEGY.format(wait=WAITS[amount > QUICK_SENDS], retries=RETRIES)
    )
    given = load_credentials(ends.directory).apns
    document = {
        "topic": given.topic,
        "key_pem": given.key_pem,
        "key_id": given.key_id,
        "team_id": given.team_id,
        "endpoint": ends.apns_url,
        "ca_file": ends.ca_file,
    }
    await stores.apps.set_credentials(APP, Path.APNS, stores.sealer.seal(json.dumps(document).encode()), now)
    await register_all(stores, map(_registration, range(amount)), now)


def _registration(number: int) -> DeviceRegistration:
    return DeviceRegistration(
        app=APP,
        user_id=f"u{number}",
        device_id=f"device-{number}",
        platform=Platform.IOS,
        tokens=[PushToken(path=Path.APNS, kind="device", value=token_of(number), environment="production")],
        alerts_enabled=True,
        app_version=None,
        os_version=None,
        manufacturer=None,
        locale=None,
        time_zone=None,
    )


async def _send(stores: Stores, worker: int, ends: Ends, amount: int) -> dict[str, float]:
    """Dispatches everything, waits until nothing is open, and looks at the worker's memory meanwhile."""
    core = AppCore(stores)
    begun, sizes = time.monotonic(), []
    for start in range(0, amount, 500):
        requests = [_request(number) for number in range(start, min(start + 500, amount))]
        failed = [one for one in await core.accept(APP, requests, system_clock()) if isinstance(one, Exception)]
        if failed:
            raise failed[0]
    counts: Mapping[str, int] = {}
    moved = begun
    while time.monotonic() - moved < _STANDS_STILL_S:
        await asyncio.sleep(2)
        sizes.append(_resident(worker))
        books = await core.books(APP)
        before, counts = counts, books["classes"].get("chat", {})
        if counts != before:
            moved = time.monotonic()
        if books["balanced"] and counts.get("open") == 0 and counts.get("settled") == amount:
            break
    took = time.monotonic() - begun
    await core.acceptor.close()
    warm = sizes[len(sizes) // 4 :]
    return {
        "open": float(counts.get("open", amount)),
        "settled": float(counts.get("settled", 0)),
        "seconds": took,
        "worker_cpu": cpu_of(worker),
        "resident": max(sizes),
        "grown": max(warm[len(warm) // 2 :], default=0.0) - max(warm[: len(warm) // 2], default=0.0),
    }


def _request(number: int) -> DispatchRequest:
    return DispatchRequest(
        message_id=f"cm-{number}",
        user_ids=(f"u{number}",),
        notification={"title": "Wang", "body": "Are you there? 你在吗"},
        ttl_ms=3_600_000,
    )


def _resident(pid: int) -> float:
    """MiB (Linux)."""
    status = FilePath(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def judge(log: Iterable[Mapping[str, Any]], amount: int) -> Counter[str]:
    """What the simulator's log says of each push: taken, refused, unknown; or lost, doubled, too often, stray."""
    tries: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in log:
        tries[entry["target"]].append(entry)
    found: Counter[str] = Counter()
    for number in range(amount):
        found[_verdict(token_of(number), tries.pop(token_of(number), []))] += 1
    found["stray"] = len(tries)
    return found


def _verdict(token: str, entries: list[Mapping[str, Any]]) -> str:
    own = fault_of(token)
    # where all of us are at fault the push goes no further on this path, whatever its token
    own_tries = [entry for entry in entries if (entry["answer"] or {}).get("reason") != "InvalidProviderToken"]
    if not own_tries:
        return "refused" if entries else "lost"
    _, maybe_taken, comes_again = own if own is not None else ({}, False, False)
    if len(own_tries) > 1 + (RETRIES if comes_again else 0):
        return "too_often" if comes_again else "doubled"
    if len({entry["headers"]["apns-collapse-id"] for entry in own_tries}) > 1:
        return "doubled"
    return "unknown" if maybe_taken else "taken" if own is None else "refused"


def _document(amount: int, seen: Mapping[str, float], found: Counter[str]) -> dict[str, Any]:
    figures = {
        "sends": (float(amount), "pushes to distinct devices"),
        **{name: (float(found[name]), "pushes") for name in ("taken", "refused", "unknown")},
        "lost": (float(found["lost"]), "pushes"),
        "hung": (seen["open"], "deliveries still open"),
        "doubled": (float(found["doubled"] + found["too_often"] + found["stray"]), "pushes"),
        "worker_cpu": (seen["worker_cpu"] / amount * 1e6, "us CPU a push, settled and archived"),
        "worker_resident": (seen["resident"], "MiB"),
        "worker_grown": (seen["grown"], "MiB from the first to the second half"),
        "took": (seen["seconds"], "s until nothing was open"),
    }
    targets = {
        "lost": ("none", not found["lost"]),
        "hung": ("none", seen["open"] == 0 and seen["settled"] == amount),
        "doubled": ("none beyond the unknown ones", not figures["doubled"][0]),
    }
    if amount > QUICK_SENDS:  # in a tiny run a worker that still warms up would be taken for one that grows
        targets["memory"] = ("at most 20 MiB more in the second half", seen["grown"] <= 20)
    return report("vendor-faults", figures, targets=targets)
