"""What the benchmark writes by COPY reads as recorded traffic: every delivery, with facts, evidence and costs."""

from dispatcher.bench.recorded_traffic import HOME_SIZE, fill
from strategies.bench import DRAFT
from tests.integration.pipeline.conftest import APP, World


async def test_a_filled_day_is_simulated_whole(world: World) -> None:
    await world.app()
    async with world.stores.engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        since = await fill(raw, APP, 2 * HOME_SIZE, world.now)
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))

    result = await world.core.simulate_recorded(
        APP, DRAFT, since, world.now + 1, sample=1.0, segment_price=0.05, progress=progress
    )

    assert told[-1] == (2 * HOME_SIZE, 2 * HOME_SIZE)
    assert result["deliveries"] == 2 * HOME_SIZE
    assert result["decisions"] == 2 * HOME_SIZE * 6 // 5  # every fifth has two phones
    assert HOME_SIZE < result["confirmed"]["new"] < 2 * HOME_SIZE
    assert result["sms_segments"]["new"] > 0
    assert result["changes"][0]["message_id"].startswith("sim-")
