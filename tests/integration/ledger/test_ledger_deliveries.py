"""Settled deliveries: kept by dominance whatever the order, raised by late proof, read as history."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.ids import DeliveryRef, make_home
from dispatcher.domain.paths import Path
from dispatcher.ledger.deliveries import SqlDeliveries
from dispatcher.ledger.messages import SqlMessages
from dispatcher.ports.messages import SettledDelivery, Submission

NOW = 1_800_000_000_000
HOME, OTHER_HOME = make_home(NOW, 1, 1), make_home(NOW, 2, 2)
Submit = Callable[..., Submission]
Settle = Callable[..., SettledDelivery]


async def test_a_delivery_comes_back_as_it_was_archived(engine: AsyncEngine, settle: Settle) -> None:
    deliveries = SqlDeliveries(engine)
    rows = [
        settle(HOME, 0, end=End.CONFIRMED, proof=Proof.OPENED, by=Path.FCM, confirmed_at=NOW + 7),
        settle(HOME, 1, user="wang", end=End.SUPPRESSED),
    ]
    await deliveries.archive(list(reversed(rows)), [])
    assert await deliveries.of_message(HOME, 0, 2) == rows
    assert await deliveries.of_message(HOME, 1, 5) == rows[1:]
    assert await deliveries.of_message(OTHER_HOME, 0, 2) == []


VERSIONS: list[dict[str, Any]] = [
    {"end": End.EXHAUSTED},
    {"end": End.CONFIRMED, "proof": Proof.DELIVERED, "by": Path.APNS, "confirmed_at": NOW + 5},
    {"end": End.RECALLED, "proof": Proof.NONE},
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("together", [False, True])
async def test_archiving_again_keeps_the_dominant_end_and_the_highest_proof(
    engine: AsyncEngine, settle: Settle, order: tuple[int, ...], together: bool
) -> None:
    deliveries = SqlDeliveries(engine)
    rows = [settle(HOME, 0, **VERSIONS[number]) for number in order]
    for call in [rows] if together else [[row] for row in rows]:
        await deliveries.archive(call, [])
    (kept,) = await deliveries.of_message(HOME, 0, 1)
    assert (kept.end, kept.proof) == (End.RECALLED, Proof.DELIVERED)
    assert (kept.confirmed_by, kept.confirmed_at) == (Path.APNS, NOW + 5)


@pytest.mark.parametrize(
    ("end", "lifted"),
    [(End.EXPIRED, True), (End.EXHAUSTED, True), (End.CONFIRMED, False), (End.RECALLED, False)],
)
async def test_late_proof_lifts_what_ran_out_and_nothing_else(
    engine: AsyncEngine, settle: Settle, end: End, lifted: bool
) -> None:
    deliveries, ref = SqlDeliveries(engine), DeliveryRef(HOME, 0)
    await deliveries.archive([settle(HOME, 0, end=end)], [])
    assert await deliveries.late_proof(ref, Proof.DELIVERED, Path.APNS, NOW + 9, app="im", user_id="li") == (
        True,
        True,
        lifted,
    )
    again = await deliveries.late_proof(ref, Proof.DELIVERED, Path.FCM, NOW + 10, app="im", user_id="li")
    assert again == (True, False, False)
    (kept,) = await deliveries.of_message(HOME, 0, 1)
    assert kept.end is (End.CONFIRMED if lifted else end)
    assert (kept.proof, kept.confirmed_by, kept.confirmed_at) == (Proof.DELIVERED, Path.APNS, NOW + 9)


async def test_proof_for_somebody_else_or_nobody_is_unknown(engine: AsyncEngine, settle: Settle) -> None:
    deliveries = SqlDeliveries(engine)
    await deliveries.archive([settle(HOME, 0)], [])
    for ref, app, user in [
        (DeliveryRef(HOME, 0), "im", "wang"),
        (DeliveryRef(HOME, 0), "other", "li"),
        (DeliveryRef(HOME, 1), "im", "li"),
        (DeliveryRef(2**64 - 1, 65535), "im", "li"),
    ]:
        answer = await deliveries.late_proof(ref, Proof.OPENED, None, NOW, app=app, user_id=user)
        assert answer == (False, False, False)


async def test_history_goes_back_by_seq_within_its_window(engine: AsyncEngine, settle: Settle) -> None:
    deliveries = SqlDeliveries(engine)
    homes = {days: make_home(NOW - days * DAY, days, 1) for days in (1, 8, 20, 31, 60)}
    await deliveries.archive([settle(home) for home in homes.values()], [])
    await deliveries.archive([settle(OTHER_HOME, 0, user="wang"), settle(OTHER_HOME, 1, app="other")], [])

    async def days(after: int, before: int, page: int | None = None, limit: int = 10) -> list[int]:
        found = await deliveries.history(
            "im", "li", before=page, after_time=NOW - after * DAY, before_time=NOW - before * DAY, limit=limit
        )
        ages = {home: age for age, home in homes.items()}
        return [ages[entry.ref.home] for entry in found]

    assert await days(90, 0) == [1, 8, 20, 31, 60]
    assert await days(30, 7) == [8, 20]
    assert await days(8, 7) == [8]
    assert await days(8, 8) == []
    assert await days(90, 0, page=settle(homes[8]).seq, limit=2) == [20, 31]


async def test_a_receipt_by_message_id_finds_the_place_of_its_user(engine: AsyncEngine, submit: Submit) -> None:
    await SqlMessages(engine).accept(
        [submit(HOME, 0, message_id="a"), submit(HOME, 1, message_id="b", to=["wang", "li"])], NOW
    )
    deliveries = SqlDeliveries(engine)
    assert await deliveries.find_for_user("im", "li", ["a", "b", "b", "c"]) == {
        "a": DeliveryRef(HOME, 0),
        "b": DeliveryRef(HOME, 2),
    }
    assert await deliveries.find_for_user("im", "zhao", ["a", "b"]) == {}
    assert await deliveries.find_for_user("other", "li", ["a"]) == {}


async def test_the_journal_keeps_its_order_and_ignores_repeats(engine: AsyncEngine) -> None:
    deliveries = SqlDeliveries(engine)
    await deliveries.append_journal([(HOME, 2, b"second"), (OTHER_HOME, 1, b"other"), (HOME, 1, b"first")])
    await deliveries.append_journal([(HOME, 2, b"second"), (HOME, 3, b"third")])
    await deliveries.append_journal([])
    assert await deliveries.journal(HOME) == [b"first", b"second", b"third"]
    assert await deliveries.journal(make_home(NOW, 9, 9)) == []


async def test_homes_close_with_their_last_delivery_or_on_their_own(
    engine: AsyncEngine, submit: Submit, settle: Settle
) -> None:
    messages, deliveries = SqlMessages(engine), SqlDeliveries(engine)
    third = make_home(NOW + DAY, 3, 3)
    await messages.accept([submit(home) for home in (HOME, OTHER_HOME, third)], NOW)
    await messages.mark_admitted([HOME, OTHER_HOME, third])
    await deliveries.archive([settle(HOME)], [HOME])
    assert {home.home for home in await messages.open_homes(0, 10)} == {OTHER_HOME, third}
    await deliveries.close_homes([OTHER_HOME, third], NOW)
    await deliveries.close_homes([OTHER_HOME], NOW + 1)
    assert await messages.open_homes(0, 10) == []
