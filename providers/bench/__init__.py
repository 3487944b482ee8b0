"""What a send costs us, beside the libraries users would take instead, in one run against the simulators.

The simulators run in a process of their own and are slower than some of the clients, so what is compared is the
client's own CPU time a send (user and system, all threads), not the wall clock. Each client sends everything several
times over and its cheapest round counts: the first one pays for imports and for code that is not warm yet, and any may
meet a neighbour in the cache.
"""

import asyncio
import multiprocessing
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from dispatcher.domain.clock import rfc3339, system_clock
from dispatcher.domain.paths import Path
from providers.bench.latency import A_SECOND, ANSWER_S, GOAL_MS, IN_FLIGHT, added_p99_ms
from providers.bench.libraries import aioapns_cost, bare_pycurl_cost, firebase_costs
from providers.bench.ours import attempts_for, ours, prepared
from providers.bench.simulators import Ends, simulators
from providers.credentials import ApnsCredentials, FcmCredentials
from providers.registry import build_provider
from providers.sandbox import load_credentials

APNS_GOAL = 8.0
FCM_GOAL = 25.0
ADDED = f"apns_added_p99_at_{IN_FLIGHT}_in_flight"
SECONDS = {False: 3, True: 9}  #: how long latency is looked at: in a tiny run, in a whole one


def _loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"": asyncio.new_event_loop}
    if sys.platform != "win32":
        import uvloop

        loops["_uvloop"] = uvloop.new_event_loop
    return loops


def _measure(ends: Ends, count: int) -> dict[str, float]:
    made = load_credentials(ends.directory)
    apns = ApnsCredentials(
        topic=made.apns.topic,
        key_pem=made.apns.key_pem,
        key_id=made.apns.key_id,
        team_id=made.apns.team_id,
        endpoint=ends.apns_url,
        ca_file=ends.ca_file,
    )
    fcm = FcmCredentials(service_account=dict(made.fcm), endpoint=ends.fcm_tls_url, ca_file=ends.ca_file)

    async def own(credentials: ApnsCredentials | FcmCredentials, path: Path) -> float:
        return await ours(build_provider(credentials, "http://127.0.0.1:9"), path, count)

    figures: dict[str, float] = {}
    for name, loop in _loops().items():
        with asyncio.Runner(loop_factory=loop) as runner:
            figures[f"apns_ours{name}"] = runner.run(own(apns, Path.APNS))
            figures[f"fcm_ours{name}"] = runner.run(own(fcm, Path.FCM))
    slow = max(100, count // 10)
    with asyncio.Runner() as runner:
        figures["apns_aioapns"] = runner.run(aioapns_cost(ends, count // 2))
        figures["apns_bare_pycurl"] = runner.run(bare_pycurl_cost(prepared(apns, count), ends.ca_file))
    figures["fcm_send_each"], figures["fcm_send_each_async"] = firebase_costs(ends, slow)
    ends.script("apns", {"latency": f"{round(ANSWER_S * 1_000)}ms"})
    with asyncio.Runner(loop_factory=list(_loops().values())[-1]) as runner:
        figures[ADDED], figures[f"{ADDED}_middle"] = runner.run(_added(apns, SECONDS[count > 1_000] * A_SECOND))
    return figures


async def _added(apns: ApnsCredentials, count: int) -> tuple[float, float]:
    now = system_clock()
    provider = build_provider(apns, "http://127.0.0.1:9")
    attempts = attempts_for(Path.APNS, count, now)
    try:
        await provider.send(attempts[:1], now)
        return await added_p99_ms(provider, attempts[1:], now)
    finally:
        await provider.close()


def run(quick: bool) -> dict[str, Any]:
    """The benchmark's JSON document; *quick* sends a few hundred instead of thousands. Starts and ends its own process.

    Raises :class:`BenchFailed` where any client lost a send.
    """
    count = 1_000 if quick else 20_000
    with simulators() as ends:
        return _document(_measure(ends, count))


def _document(figures: dict[str, float]) -> dict[str, Any]:
    ratios: dict[str, dict[str, Any]] = {}
    for own, theirs, against in (
        ("apns_ours", "apns_aioapns", "aioapns 4.0"),
        ("apns_ours_uvloop", "apns_aioapns", "aioapns 4.0"),
        ("apns_ours", "apns_bare_pycurl", "bare pycurl"),
        ("fcm_ours", "fcm_send_each", "firebase-admin send_each"),
        ("fcm_ours", "fcm_send_each_async", "firebase-admin send_each_async"),
        ("fcm_ours_uvloop", "fcm_send_each", "firebase-admin send_each"),
    ):
        if own in figures:
            name = f"{own}_to_{theirs.partition('_')[2]}"
            ratios[name] = {"value": round(figures[theirs] / figures[own], 2), "against": against}
    goals = {"apns_ours_to_aioapns": APNS_GOAL, "fcm_ours_to_send_each": FCM_GOAL}
    return {
        "name": "providers",
        "at": rfc3339(system_clock()),
        "machine": f"{platform.machine()}, {platform.system()}, {multiprocessing.cpu_count()} cores",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("aioapns", "firebase-admin", "pycurl", "hpack")},
        },
        "figures": {
            name: {"value": round(value, 1), "unit": "ms" if name.startswith(ADDED) else "us CPU a send"}
            for name, value in figures.items()
        },
        "ratios": ratios,
        "targets": {
            **{
                name: {"goal": f"at least {goal:g}", "met": ratios[name]["value"] >= goal}
                for name, goal in goals.items()
            },
            ADDED: {"goal": f"at most {GOAL_MS:g} ms", "met": figures[ADDED] <= GOAL_MS},
        },
    }
