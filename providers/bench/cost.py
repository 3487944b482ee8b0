"""What a send costs, in the client's own CPU time."""

import gc
import time
from collections.abc import Awaitable, Callable

ROUNDS = 3


class BenchFailed(RuntimeError):
    """A client lost or refused sends: its figure would mean nothing."""


async def cost_of(work: Callable[[], Awaitable[int]], count: int) -> float:
    """CPU microseconds a send in the cheapest round; raises BenchFailed unless each took all *count*.

    What lives already is put out of the collector's sight: a client pays for its own garbage, not for going through
    whatever else this process holds.
    """
    gc.collect()
    gc.freeze()
    try:
        return min([await _round(work, count) for _ in range(ROUNDS)])
    finally:
        gc.unfreeze()


async def _round(work: Callable[[], Awaitable[int]], count: int) -> float:
    begin = time.process_time()
    done = await work()
    spent = time.process_time() - begin
    if done != count:
        raise BenchFailed(f"{count - done} of {count} sends failed")
    return spent / count * 1e6
