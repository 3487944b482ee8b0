"""What arrives together travels together, nobody waits for nothing, and everybody hears of a failure."""

import asyncio
from collections.abc import Sequence

import pytest

from dispatcher.pipeline.gather import Gatherer, Overflow


class Flushes:
    """A flush that keeps what it got and waits where a test says so."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.running = self.most = 0

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.running += 1
        self.most = max(self.most, self.running)
        self.batches.append(list(items))
        await self.gate.wait()
        self.running -= 1
        return [ValueError(str(item)) if item < 0 else item * 10 for item in items]


async def test_one_alone_waits_for_nobody() -> None:
    flushes = Flushes()
    gatherer = Gatherer(flushes, batch=10, waiting=100)
    assert await gatherer.submit(1) == 10
    assert flushes.batches == [[1]]


async def test_what_comes_during_a_flush_goes_with_the_next_one() -> None:
    flushes = Flushes()
    gatherer = Gatherer(flushes, batch=10, waiting=100)
    flushes.gate.clear()
    first = gatherer.submit(1)
    await asyncio.sleep(0.01)
    rest = [gatherer.submit(number) for number in range(2, 9)]
    await asyncio.sleep(0.01)
    assert flushes.batches == [[1]]
    flushes.gate.set()
    assert await asyncio.gather(first, *rest) == [number * 10 for number in range(1, 9)]
    assert flushes.batches == [[1], list(range(2, 9))]


async def test_a_flush_is_filled_by_weight_and_never_empty() -> None:
    flushes = Flushes()
    gatherer = Gatherer(flushes, batch=10, waiting=1_000, weigh=lambda item: item)
    results = await asyncio.gather(*(gatherer.submit(number) for number in (4, 4, 4, 50, 1, 1)))
    assert results == [40, 40, 40, 500, 10, 10]
    assert flushes.batches == [[4, 4, 4], [50], [1, 1]]


async def test_beyond_its_limit_it_refuses_at_once_and_recovers() -> None:
    flushes = Flushes()
    gatherer = Gatherer(flushes, batch=2, waiting=3)
    flushes.gate.clear()
    taken = [gatherer.submit(1)]
    await asyncio.sleep(0.01)
    taken += [gatherer.submit(number) for number in (2, 3, 4)]
    with pytest.raises(Overflow):
        gatherer.submit(5)
    flushes.gate.set()
    assert await asyncio.gather(*taken) == [10, 20, 30, 40]
    assert await gatherer.submit(6) == 60


async def test_one_items_failure_is_its_own() -> None:
    gatherer = Gatherer(Flushes(), batch=10, waiting=100)
    good, bad, other = (gatherer.submit(number) for number in (1, -2, 3))
    assert await good == 10
    with pytest.raises(ValueError, match="-2"):
        await bad
    assert await other == 30


async def test_a_failed_flush_is_told_to_everybody_in_it_and_to_nobody_else() -> None:
    calls = 0

    async def flush(items: Sequence[int]) -> list[int | Exception]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionError("away")
        return [*items]

    gatherer = Gatherer(flush, batch=2, waiting=100)
    futures = [gatherer.submit(number) for number in range(4)]
    answers = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ConnectionError, ConnectionError, int, int]


async def test_a_flush_that_answers_too_few_leaves_nobody_waiting() -> None:
    async def flush(items: Sequence[int]) -> list[int | Exception]:
        return list(items[:-1])

    gatherer = Gatherer(flush, batch=10, waiting=100)
    futures = [gatherer.submit(number) for number in range(3)]
    async with asyncio.timeout(2):
        answers = await asyncio.gather(*futures, return_exceptions=True)
    assert all(isinstance(answer, ValueError) for answer in answers)


async def test_a_caller_that_gave_up_spoils_nothing() -> None:
    gatherer = Gatherer(Flushes(), batch=10, waiting=100)
    gone, stays = gatherer.submit(1), gatherer.submit(2)
    gone.cancel()
    assert await stays == 20


async def test_so_many_flushes_run_side_by_side_and_no_more() -> None:
    flushes = Flushes()
    gatherer = Gatherer(flushes, batch=1, waiting=100, parallel=3)
    flushes.gate.clear()
    futures = [gatherer.submit(number) for number in range(8)]
    await asyncio.sleep(0.01)
    assert flushes.running == 3
    flushes.gate.set()
    await asyncio.gather(*futures)
    assert flushes.most == 3
