"""How long a push takes through us with 1,000 of them in flight, beyond what the vendor itself takes.

The simulator answers each after the same time; pushes begin at a steady rate, so that as many as wanted are always
under way. Each is a call of its own: nothing is gained by travelling together.
"""

import asyncio
import json
from collections.abc import Sequence
from statistics import quantiles
from urllib.request import ProxyHandler, Request, build_opener

from providers.base import Attempt, Provider

IN_FLIGHT = 1_000
ANSWER_S = 0.5
TICK_S = 0.01
GOAL_MS = 20.0


def slow_down(control_url: str, end: str, seconds: float) -> None:
    """Lets a simulator answer after *seconds*."""
    body = json.dumps({"latency": f"{round(seconds * 1_000)}ms"}).encode()
    request = Request(f"{control_url}/control/{end}", body, {"Content-Type": "application/json"}, method="PUT")  # noqa: S310
    build_opener(ProxyHandler({})).open(request, timeout=10).close()


async def added_p99_ms(provider: Provider, attempts: Sequence[Attempt], now: int) -> float:
    """The 99th percentile of what we add, in milliseconds, over all *attempts* but those that fill the pipe."""
    loop = asyncio.get_running_loop()
    took: list[float] = []

    async def one(attempt: Attempt, due: float) -> None:
        await provider.send([attempt], now)
        took.append(loop.time() - due)  # from when it should have begun: a late start counts

    a_tick = round(IN_FLIGHT / ANSWER_S * TICK_S)
    begin = loop.time()
    async with asyncio.TaskGroup() as group:
        for tick, start in enumerate(range(0, len(attempts), a_tick)):
            due = begin + tick * TICK_S
            await asyncio.sleep(max(due - loop.time(), 0))
            for attempt in attempts[start : start + a_tick]:
                group.create_task(one(attempt, due))
    return (quantiles(took[IN_FLIGHT:], n=100)[98] - ANSWER_S) * 1_000
