"""How long a push takes through us with 1,000 of them in flight, beyond what the vendor itself takes.

The simulator answers each after the same time; pushes begin at a steady rate, so that as many as wanted are always
under way. Each is a call of its own: nothing is gained by travelling together. Wall time on shared cores tells of the
neighbours, too: of several seconds the calmest counts, and the middle one is shown beside it.
"""

import asyncio
from collections.abc import Sequence
from statistics import median, quantiles

from dispatcher.collector import calm_collector
from providers.base import Attempt, Provider

IN_FLIGHT = 1_000
ANSWER_S = 0.5
TICK_S = 0.01
GOAL_MS = 20.0
A_SECOND = round(IN_FLIGHT / ANSWER_S)  #: pushes that begin within one


async def added_p99_ms(provider: Provider, attempts: Sequence[Attempt], now: int) -> tuple[float, float]:
    """The 99th percentile of what we add, in milliseconds: of the calmest second, and of the middle one.

    The first second fills the pipe and is left out.
    """
    calm_collector()  # as in a worker, whose collector does not go through what lives already
    loop = asyncio.get_running_loop()
    took: list[tuple[float, float]] = []

    async def one(attempt: Attempt, due: float) -> None:
        await provider.send([attempt], now)
        took.append((due, loop.time() - due))  # from when it should have begun: a late start counts

    a_tick = round(A_SECOND * TICK_S)
    begin = loop.time()
    async with asyncio.TaskGroup() as group:
        for tick, start in enumerate(range(0, len(attempts), a_tick)):
            due = begin + tick * TICK_S
            await asyncio.sleep(max(due - loop.time(), 0))
            for attempt in attempts[start : start + a_tick]:
                group.create_task(one(attempt, due))
    in_order = [length for _, length in sorted(took)]
    seconds = [in_order[at : at + A_SECOND] for at in range(A_SECOND, len(in_order) - A_SECOND + 1, A_SECOND)]
    added = [(quantiles(second, n=100)[98] - ANSWER_S) * 1_000 for second in seconds]
    return min(added), median(added)
