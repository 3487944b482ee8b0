"""A worker that is told to stop is gone within seconds, whatever a vendor does to what it has under way."""

import asyncio
import threading
import time
from typing import Any

import pytest
from celery.exceptions import Ignore

from dispatcher.settings_source import load_settings
from dispatcher.telemetry import Metrics
from workers import runtime as module
from workers.app import create_celery
from workers.runtime import Runtime


@pytest.fixture
def runtime(monkeypatch: Any) -> Any:
    monkeypatch.setattr(module, "STOP_WITHIN_S", 0.2)
    settings = load_settings(
        None,
        {},
        {
            "ledger_url": "postgresql+asyncpg://nobody@127.0.0.1:9/none",
            "hot_store_url": "redis://127.0.0.1:9/0",
            "secret_key": "s" * 40,
        },
    )
    made = Runtime(settings, create_celery("memory://"), frozenset({"plan"}), Metrics())
    yield made
    made.stop()


async def quick() -> str:
    return "done"


async def test_a_stalled_task_is_let_go_and_asks_for_no_attention(runtime: Runtime) -> None:
    assert await asyncio.to_thread(runtime.run, quick(), 5) == "done"
    begun = threading.Event()
    ended: list[str] = []

    async def stalled() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cut off")

    task = asyncio.create_task(asyncio.to_thread(runtime.run, stalled(), 60))
    await asyncio.to_thread(begun.wait, 5)
    told = time.monotonic()
    runtime.begin_stop()
    with pytest.raises(Ignore):
        await task
    assert time.monotonic() - told < 5
    assert ended == ["cut off"]


async def test_what_ends_in_time_ends_well_and_nothing_begins_after(runtime: Runtime) -> None:
    begun = threading.Event()

    async def almost_done() -> str:
        begun.set()
        await asyncio.sleep(0.05)
        return "done"

    task = asyncio.create_task(asyncio.to_thread(runtime.run, almost_done(), 60))
    await asyncio.to_thread(begun.wait, 5)
    runtime.begin_stop()
    assert await task == "done"
    with pytest.raises(Ignore):
        await asyncio.to_thread(runtime.run, quick(), 5)


def test_a_worker_that_never_worked_stops_at_once(runtime: Runtime) -> None:
    runtime.begin_stop()
    runtime.stop()
    assert not runtime.opened
