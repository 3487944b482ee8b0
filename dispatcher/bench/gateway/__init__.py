"""``pushpath bench gateway``: accepts, memory, message and ack, long-polls, a crowd on three nodes, lateness.

Gateways run in processes of their own; phones are raw sockets in others, so they cost the gateway nothing. Figures are
the gateway's own CPU time a unit, by its process's accounting, and what that makes a second on one whole core: wall
figures on shared cores say little. Only lateness and the crowd's size are what they are.
"""

import resource
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from dispatcher.bench.gateway import crowd, lines, polls
from dispatcher.bench.gateway.lines import Figures
from dispatcher.bench.gateway.reference import Cost, Reference
from dispatcher.bench.report import report
from dispatcher.embedded.servers import start_servers


def run(quick: bool = False, *, reference: Reference | None = None) -> dict[str, Any]:
    """All parts; *quick*: a few seconds, for CI. *reference*: alternates with ours over message and ack."""
    figures: Figures = {}
    theirs = uvloop.run(_measure(quick, reference, figures))
    value = {name: figure for name, (figure, _) in figures.items()}
    targets = {
        "accepts_per_core": (">= 20000/s", value["accepts_per_core"] >= 20_000),
        "memory_per_connection": ("<= 2048 bytes", value["memory_per_connection"] <= 2_048),
        "long_poll_per_core": (">= 30000/s", value["long_poll_per_core"] >= 30_000),
        "crowd_rss": (
            "50000 connections on 3 processes under 250 MB",
            value["crowd_connections"] >= 50_000 and value["crowd_rss"] < 250,
        ),
        "latency_p99": ("< 3 ms at 2000 messages/s over 10000 connections", not quick and value["latency_p99"] < 3),
    }
    ratios: dict[str, tuple[float, str]] = {}
    if theirs:
        accept = median(cost.accept for cost in theirs) * 1e6
        cpu = median(cost.message_and_ack for cost in theirs) * 1e6
        figures["reference_accept_cpu"] = (accept, "us")
        figures["reference_message_ack_cpu"] = (cpu, "us")
        ratio = cpu / value["message_ack_cpu"]
        ratios["message_ack"] = (ratio, "the reference gateway: CPU a message and ack, alternating in this run")
        ratios["accept"] = (
            accept / value["accept_cpu"],
            "the reference gateway: CPU a connection, without token, presence and inbox",
        )
        targets["message_ack"] = (">= 0.40 of the reference", ratio >= 0.40)
    return report("gateway", figures, ratios=ratios, targets=targets)


async def _measure(quick: bool, reference: Reference | None, figures: Figures) -> list[Cost]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = 10**6 if hard == resource.RLIM_INFINITY else hard - 500
    try:
        theirs = await lines.measure(
            400 if quick else min(10_000, room), 4_000 if quick else 60_000, reference, 1 if quick else 3, figures
        )
        await polls.measure(100 if quick else 2_000, 2_000 if quick else 60_000, figures)
        with tempfile.TemporaryDirectory(prefix="pushpath-bench-") as folder:
            servers = start_servers(Path(folder))
            try:
                url = servers.hot_store_url
                await crowd.lateness(
                    url, 200 if quick else min(10_000, room), 500 if quick else 2_000, 1 if quick else 10, figures
                )
                await crowd.hold(servers, 300 if quick else min(50_001, crowd.NODES * room), figures)
            finally:
                servers.stop(discard=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    return theirs


__all__ = ["Reference", "run"]
