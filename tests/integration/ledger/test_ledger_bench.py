"""The benchmark, small enough for every run: it must not rot."""

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.ledger.bench import measure
from dispatcher.ledger.books import accepted_and_archived

NOW = 1_800_000_000_000


async def test_the_benchmark_measures_what_it_wrote(engine: AsyncEngine) -> None:
    costs = await measure(engine, NOW, batch=5, rows=20)
    assert [(cost.name, cost.batch, cost.rows) for cost in costs] == [("accept", 5, 20), ("archive", 5, 20)]
    assert all(cost.client_us > 0 for cost in costs)
    assert await accepted_and_archived(engine, NOW + 1) == {("bench", "chat"): (20, 20)}
