"""Some pushes the vendor never answers, or late: the others are settled meanwhile, and only those go out again."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from dispatcher.domain.clock import SECOND
from dispatcher.domain.delivery import Phase
from dispatcher.domain.message import Lane
from dispatcher.domain.paths import Path
from dispatcher.ports.homes import Queue

PUSH = ("{path: push, wait: 1m}", "{path: poll, wait: 10m}")
PLAN = Queue("plan", Lane.INTERACTIVE)
PHONES, SILENT = 60, {3, 20, 41}


def token(number: int) -> str:
    return f"{'ee' if number in SILENT else 'aa'}{number:062x}"


async def phases(world: Any, message_id: str) -> Counter[Phase]:
    found = [await world.hot_state(message_id, place=place) for place in range(PHONES)]
    return Counter(state.tracks[0].cursor.phase for state in found)


@pytest.mark.parametrize("path", [Path.APNS, Path.FCM])
@pytest.mark.parametrize("fault", [{"latency": "2s", "status": 500}, {"wire": "silent"}], ids=["late", "never"])
async def test_phones_that_hang_hold_up_no_other(vendors: Any, path: Path, fault: dict[str, Any]) -> None:
    world, queue = vendors.world, Queue(path, Lane.INTERACTIVE)
    await vendors.app(*PUSH)
    for number in range(PHONES):
        await vendors.phone(f"u{number}", f"d{number}", path, token(number))
    await vendors.script(path.value, errors=[{"match": "ee*", **fault}])
    await world.dispatch("m1", *(f"u{number}" for number in range(PHONES)))
    await world.drains.drain(PLAN)
    draining = asyncio.create_task(world.drains.drain(queue))
    async with asyncio.timeout(10):
        while (await phases(world, "m1"))[Phase.SENDING] != len(SILENT):  # noqa: ASYNC110 - the state is in a store
            await asyncio.sleep(0.05)
    assert (await phases(world, "m1"))[Phase.WAITING] == PHONES - len(SILENT)
    assert not draining.done()
    await world.dispatch("m2", "u0")
    await world.drains.drain(PLAN)
    await world.drains.drain(queue)
    assert (await world.hot_state("m2")).tracks[0].cursor.phase is Phase.WAITING
    if "wire" in fault:  # ten real seconds to its deadline: the worker stops before, and another comes
        await world.drains.stop(0.1)
        await asyncio.gather(draining, return_exceptions=True)
        world.drains = world.worker(world.stores)
    else:
        await draining
        assert (await phases(world, "m1"))[Phase.READY] == len(SILENT)  # a late 500, to be tried again
    await vendors.script(path.value)
    await world.advance(45 * SECOND)
    assert (await phases(world, "m1"))[Phase.WAITING] == PHONES
    seen = Counter(await vendors.targets(path.value))
    assert seen == Counter({token(number): 1 + (number in SILENT) + (number == 0) for number in range(PHONES)})
