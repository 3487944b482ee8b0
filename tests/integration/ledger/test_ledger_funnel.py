"""How far deliveries got: counted once whatever is repeated, and what was counted before is moved, not lost."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from importlib.resources import as_file, files
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from msgspec.structs import replace
from sqlalchemy import Connection as SyncConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from dispatcher.domain.clock import DAY
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.ids import make_home
from dispatcher.domain.journal import SORTS, Entry, Kind, write_entry
from dispatcher.domain.paths import Path
from dispatcher.embedded.servers import Servers
from dispatcher.ledger.archive import archive
from dispatcher.ledger.deliveries import SqlDeliveries
from dispatcher.ledger.engine import Connection, ask_together, ledger_address, open_ledger
from dispatcher.ledger.erase import erase_user
from dispatcher.ledger.messages import SqlMessages
from dispatcher.ledger.migrate import migrate
from dispatcher.ledger.rollups import SqlRollUps, fold
from dispatcher.ledger.sms_guard import SqlSmsGuard
from dispatcher.ports.messages import SettledDelivery, Submission
from dispatcher.ports.operations import By, Figure, Measure, Reached, Tier
from dispatcher.ports.sms_guard import SmsRequest

NOW = 1_800_000_000_000
HOME = make_home(NOW, 1, 1)

Settle = Callable[..., SettledDelivery]
Submit = Callable[..., Submission]


async def seen(engine: AsyncEngine, *by: By) -> list[Figure]:
    figures = await SqlRollUps(engine).figures("im", Tier.DAYS, NOW - DAY, NOW + DAY, [*by, By.PATH])
    return [figure for figure in figures if figure.count]


async def reached(engine: AsyncEngine) -> Counter[tuple[End, Reached]]:
    found: Counter[tuple[End, Reached]] = Counter()
    for figure in await seen(engine):
        if figure.measure is Measure.ENDED:
            found[End(figure.name), figure.reached] += figure.count
    return found


async def test_a_delivery_counts_once_as_far_as_it_got(engine: AsyncEngine, settle: Settle) -> None:
    tried = replace(settle(HOME, 0), attempted=True)
    opened = settle(HOME, 1, end=End.CONFIRMED, proof=Proof.OPENED, by=Path.APNS, confirmed_at=NOW + 9)
    for _ in range(2):
        await archive(engine, [tried, opened, settle(HOME, 2)], [])
    expected = {
        (End.EXHAUSTED, Reached.ATTEMPTED): 1,
        (End.CONFIRMED, Reached.OPENED): 1,
        (End.EXHAUSTED, Reached.ACCEPTED): 1,
    }
    assert await reached(engine) == expected
    await fold(engine)
    assert await reached(engine) == expected


async def test_receipts_move_it_on_and_doubled_ones_do_not(engine: AsyncEngine, settle: Settle) -> None:
    deliveries = SqlDeliveries(engine)
    row = settle(HOME, 0, end=End.CONFIRMED, proof=Proof.DELIVERED, by=Path.APNS, confirmed_at=NOW + 9)
    await archive(engine, [row], [])
    for proof in (Proof.DELIVERED, Proof.OPENED, Proof.OPENED, Proof.DISPLAYED):
        await deliveries.late_proof(row.ref, proof, Path.APNS, NOW + 99, app="im", user_id="li")
        await fold(engine)
    assert await reached(engine) == {(End.CONFIRMED, Reached.OPENED): 1}


async def test_an_attempt_stays_counted_when_its_user_is_erased(engine: AsyncEngine, settle: Settle) -> None:
    await archive(engine, [replace(settle(HOME, 0), attempted=True)], [])

    async def work(connection: Connection) -> bool:
        return await erase_user(connection, "im", "li", NOW + DAY)

    assert await ask_together(engine, work)
    assert await reached(engine) == {(End.EXHAUSTED, Reached.ATTEMPTED): 1}


async def test_outcomes_and_texts_are_told_apart(engine: AsyncEngine, submit: Submit) -> None:
    await SqlMessages(engine).accept([submit(HOME)], NOW)
    mixed = Entry(
        kind=Kind.OUTCOME,
        at=NOW,
        members=[(0, 0), (1, 0), (2, 0)],
        path=Path.APNS,
        shared={SORTS: [("chat", "ios", "default", 3), ("otp", "ios", "codes", 1)]},
        columns={"outcome": ["handed_over", "handed_over", "rejected"], SORTS: [0, 1, 0]},
    )
    of_before = Entry(kind=Kind.OUTCOME, at=NOW, members=[(0, 0)], path=Path.FCM, columns={"outcome": ["handed_over"]})
    entries = [(HOME, 1, write_entry(mixed)), (HOME, 2, write_entry(of_before))]
    for _ in range(2):
        await SqlDeliveries(engine).append_journal(entries)
    request = SmsRequest(
        app="im",
        message_id="cm",
        user_id="li",
        attempt_id="a1",
        number_hash=b"n",
        prefix="+8613",
        segments=2,
        klass="otp",
        platform="ios",
        strategy="codes",
        version=1,
    )
    for _ in range(2):
        assert await SqlSmsGuard(engine).reserve(request, NOW) is None
    figures = await seen(engine, By.CLASS, By.PLATFORM, By.STRATEGY)
    told = {
        (one.measure, one.path, one.klass, one.platform, one.strategy, one.version, one.name): one.count
        for one in figures
        if one.measure in {Measure.OUTCOME, Measure.SMS_SEGMENTS}
    }
    assert told == {
        (Measure.OUTCOME, Path.APNS, "chat", "ios", "default", 3, 1): 1,
        (Measure.OUTCOME, Path.APNS, "otp", "ios", "codes", 1, 1): 1,
        (Measure.OUTCOME, Path.APNS, "chat", "ios", "default", 3, 4): 1,
        (Measure.OUTCOME, Path.FCM, "", "", "", 0, 1): 1,
        (Measure.SMS_SEGMENTS, Path.SMS, "otp", "ios", "codes", 1, 1): 2,
    }


@pytest.fixture
async def of_before(servers: Servers) -> AsyncIterator[tuple[AsyncEngine, str]]:
    """A ledger one revision back."""
    servers.ledger.query("CREATE DATABASE funnel_of_before")
    url = servers.ledger.url("funnel_of_before")
    engine = open_ledger(url)
    try:
        plain = create_async_engine(ledger_address(url))
        async with plain.begin() as connection:
            await connection.run_sync(_to_before)
        await plain.dispose()
        yield engine, url
    finally:
        await engine.dispose()
        servers.ledger.query("DROP DATABASE funnel_of_before WITH (FORCE)")


def _to_before(connection: SyncConnection) -> None:
    with as_file(files("dispatcher.ledger") / "migrations") as scripts:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(scripts))
        command.upgrade(config, "doors")


_ROWS = (
    """
    INSERT INTO deliveries VALUES
        (20833, 1, 0, 'im', 'li', 'a', 'chat', 1, 3, 0, 0, NULL, {at}, {at}, 'default', 1, 'r', 'ios', '',
            '[{{"device_id":"d","path":"apns","attempt":0}}]'),
        (20833, 1, 1, 'im', 'li', 'b', 'chat', 2, 3, 0, 0, NULL, {at}, {at}, NULL, NULL, NULL, NULL, '',
            '[{{"device_id":"d","path":null,"attempt":0}}]'),
        (20833, 1, 2, 'im', 'li', 'c', 'otp', 3, 4, 3, 5, {at}, {at}, {at}, 'codes', 2, 'r', 'android', '', '[]')
    """,
    """
    INSERT INTO sms_reservations (app, message_id, user_id, attempt_id, number_hash, prefix, segments, state,
        reserved_at, changed_at) VALUES ('im', 'c', 'li', 't', '', '+86', 2, 'sent', {at}, {at})
    """,
)


@pytest.mark.parametrize("folded", [False, True])
async def test_what_was_counted_before_is_moved(of_before: tuple[AsyncEngine, str], folded: bool) -> None:
    engine, url = of_before

    async def work(connection: Connection) -> Any:
        for statement in _ROWS:
            await connection.execute(statement.format(at=NOW))

    await ask_together(engine, work)
    if folded:
        await fold(engine)
    await migrate(url, clock=lambda: NOW)
    for _ in range(2):
        assert await reached(engine) == {
            (End.EXHAUSTED, Reached.ATTEMPTED): 1,
            (End.EXHAUSTED, Reached.ACCEPTED): 1,
            (End.CONFIRMED, Reached.OPENED): 1,
        }
        texts = [one for one in await seen(engine, By.CLASS, By.STRATEGY) if one.measure is Measure.SMS_SEGMENTS]
        assert [(one.klass, one.strategy, one.version, one.count) for one in texts] == [("otp", "codes", 2, 2)]
        await fold(engine)
