"""Partitions: there before they are needed, gone when their time is over, never missed by a write."""

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY, SECOND, day_of, from_datetime, to_datetime
from dispatcher.domain.ids import make_home
from dispatcher.ledger.deliveries import SqlDeliveries
from dispatcher.ledger.engine import Connection, ask
from dispatcher.ledger.locks import try_lock
from dispatcher.ledger.messages import SqlMessages
from dispatcher.ledger.partitions import DAILY
from dispatcher.ledger.upkeep import Retention, upkeep
from dispatcher.ports.messages import Acceptance, SettledDelivery, Submission

#: 2055-01-31 23:59:58 UTC: the day and the month are about to end, and the ledger knows none of those days yet.
BEFORE_MIDNIGHT = from_datetime(to_datetime(0).replace(year=2055, month=1, day=31, hour=23, minute=59, second=58))
Submit = Callable[..., Submission]
Settle = Callable[..., SettledDelivery]


async def rows_in(engine: AsyncEngine, table: str) -> int:
    async def work(connection: Connection) -> int:
        return int(await connection.fetchval(f"SELECT count(*) FROM ONLY {table}"))  # noqa: S608

    return await ask(engine, work)


async def write_a_day(engine: AsyncEngine, home: int, submit: Submit, settle: Settle, *, close: bool = True) -> None:
    (accepted,) = await SqlMessages(engine).accept([submit(home)], home)
    assert isinstance(accepted, Acceptance)
    deliveries = SqlDeliveries(engine)
    await deliveries.append_journal([(home, 1, b"entry")])
    await deliveries.archive([settle(home)], [home] if close else [])


async def test_partitions_are_made_eight_days_ahead_once(engine: AsyncEngine) -> None:
    report = await upkeep(engine, BEFORE_MIDNIGHT)
    assert len(report.made) == 9 * len(DAILY)
    assert {name for name in report.made if name.startswith("deliveries")} == {
        "deliveries_20550131",
        *(f"deliveries_2055020{day}" for day in range(1, 9)),
    }
    assert (await upkeep(engine, BEFORE_MIDNIGHT)).made == []
    next_day = await upkeep(engine, BEFORE_MIDNIGHT + 3 * SECOND)
    assert sorted(next_day.made) == sorted(f"{table}_20550209" for table in DAILY)


async def test_a_clock_that_crosses_midnight_and_a_months_end_breaks_nothing(
    engine: AsyncEngine, submit: Submit, settle: Settle
) -> None:
    await upkeep(engine, BEFORE_MIDNIGHT)
    homes = [make_home(BEFORE_MIDNIGHT + number * SECOND, number, number) for number in range(5)]
    for home in homes:
        await write_a_day(engine, home, submit, settle)
    assert await rows_in(engine, "messages_20550131") == 2
    assert await rows_in(engine, "messages_20550201") == 3
    found = await SqlDeliveries(engine).history(
        "im", "li", before=None, after_time=BEFORE_MIDNIGHT, before_time=BEFORE_MIDNIGHT + DAY, limit=10
    )
    assert [entry.ref.home for entry in found] == homes[::-1]


async def test_a_write_without_its_partition_goes_to_the_safety_net_until_the_real_one_is_made(
    engine: AsyncEngine, submit: Submit, settle: Settle
) -> None:
    home = make_home(BEFORE_MIDNIGHT, 1, 1)
    await write_a_day(engine, home, submit, settle)
    assert [await rows_in(engine, f"{table}_default") for table in DAILY] == [1, 1, 1, 1]
    await upkeep(engine, BEFORE_MIDNIGHT + 2 * DAY)  # the day is past, and still gets its own
    assert [await rows_in(engine, f"{table}_default") for table in DAILY] == [0, 0, 0, 0]
    assert [await rows_in(engine, f"{table}_20550131") for table in DAILY] == [1, 1, 1, 1]
    assert await SqlMessages(engine).find("im", f"cm-{home:x}-0") is not None


async def test_writers_lose_nothing_while_partitions_are_made_under_them(engine: AsyncEngine, submit: Submit) -> None:
    messages, stop = SqlMessages(engine), asyncio.Event()
    written = 0

    async def write(shard: int) -> int:
        count = 0
        while not stop.is_set():
            home = make_home(BEFORE_MIDNIGHT + count % 3 * DAY, count, shard)
            results = await messages.accept([submit(home, place) for place in range(5)], BEFORE_MIDNIGHT)
            assert all(isinstance(one, Acceptance) for one in results)
            count += 5
        return count

    writers = [asyncio.create_task(write(shard)) for shard in range(3)]
    made = []
    for _ in range(20):  # the first rounds may lose the race for a lock
        made += (await upkeep(engine, BEFORE_MIDNIGHT)).made
        if len(made) == 9 * len(DAILY):
            break
    stop.set()
    written = sum(await asyncio.gather(*writers))
    await upkeep(engine, BEFORE_MIDNIGHT)
    assert len(set(made)) == 9 * len(DAILY)
    assert await rows_in(engine, "messages_default") == 0
    kept = [await rows_in(engine, name) for name in ("messages_20550131", "messages_20550201", "messages_20550202")]
    assert sum(kept) == written


async def test_days_are_dropped_by_retention_and_never_with_an_open_home(
    engine: AsyncEngine, submit: Submit, settle: Settle
) -> None:
    await upkeep(engine, BEFORE_MIDNIGHT)
    done, still_open = make_home(BEFORE_MIDNIGHT, 1, 1), make_home(BEFORE_MIDNIGHT + DAY, 2, 2)
    await write_a_day(engine, done, submit, settle)
    await write_a_day(engine, still_open, submit, settle, close=False)
    later = BEFORE_MIDNIGHT + 31 * DAY
    report = await upkeep(engine, later)
    assert [name for name in report.dropped if "_2055" in name] == ["journal_20550131"]
    assert report.kept == []
    report = await upkeep(engine, BEFORE_MIDNIGHT + 92 * DAY)
    assert {name for name in report.dropped if "2055013" in name} == {
        "deliveries_20550131",
        "messages_20550131",
        "homes_20550131",
    }
    assert report.kept == [day_of(BEFORE_MIDNIGHT) + 1]
    assert await SqlDeliveries(engine).of_message(done, 0, 1) == []
    assert len(await SqlDeliveries(engine).of_message(still_open, 0, 1)) == 1
    await SqlDeliveries(engine).close_homes([still_open], later)
    report = await upkeep(engine, BEFORE_MIDNIGHT + 92 * DAY)
    assert sorted(report.dropped) == sorted(f"{table}_20550201" for table in DAILY)
    assert report.kept == []


async def test_retention_is_a_setting(engine: AsyncEngine, submit: Submit, settle: Settle) -> None:
    await upkeep(engine, BEFORE_MIDNIGHT)
    await write_a_day(engine, make_home(BEFORE_MIDNIGHT, 1, 1), submit, settle)
    retention = Retention(deliveries=10, messages=2, journal=1)
    report = await upkeep(engine, BEFORE_MIDNIGHT + 3 * DAY, retention=retention)
    assert {name for name in report.dropped if name.endswith("0131")} == {"messages_20550131", "journal_20550131"}


async def test_old_keys_go_and_young_ones_stay(
    engine: AsyncEngine, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.ledger.upkeep.BATCH", 3)
    messages = SqlMessages(engine)
    old, young = make_home(BEFORE_MIDNIGHT, 1, 1), make_home(BEFORE_MIDNIGHT + DAY, 2, 2)
    await messages.accept([submit(old, place) for place in range(40)], BEFORE_MIDNIGHT)
    await messages.accept([submit(young, place) for place in range(7)], BEFORE_MIDNIGHT + DAY)
    report = await upkeep(engine, BEFORE_MIDNIGHT + 7 * DAY)
    assert sum(count for table, count in report.deleted.items() if table.startswith("message_keys")) == 40
    again = [submit(make_home(BEFORE_MIDNIGHT, 3, 3), 0, message_id=f"cm-{home:x}-0") for home in (old, young)]
    results = await messages.accept(again, BEFORE_MIDNIGHT + 7 * DAY)
    assert [one.verdict for one in results if isinstance(one, Acceptance)] == ["new", "duplicate"]


async def test_one_upkeep_runs_at_a_time(engine: AsyncEngine) -> None:
    async with try_lock(engine, "upkeep") as mine:
        assert mine
        assert (await upkeep(engine, BEFORE_MIDNIGHT)).busy
    assert not (await upkeep(engine, BEFORE_MIDNIGHT)).busy
