"""The SMS guard: one SMS a message and user, and never a segment above the budget."""

import asyncio

import pytest
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY, MINUTE
from dispatcher.ledger.engine import open_ledger
from dispatcher.ledger.sms_guard import SqlSmsGuard
from dispatcher.ledger.upkeep import upkeep
from dispatcher.ports.sms_guard import Joiner, Refusal, SmsCap, SmsRequest

NOW = 1_800_000_000_000
REQUEST = SmsRequest(
    app="im",
    message_id="m0",
    user_id="li",
    attempt_id="a0",
    number_hash=b"number",
    prefix="+86138",
    segments=2,
)


def request(number: int, **changes: object) -> SmsRequest:
    """The *number*-th message, to the same user unless *changes* says otherwise."""
    return replace(REQUEST, message_id=f"m{number}", attempt_id=f"a{number}", **changes)


async def test_a_message_and_user_get_one_sms(engine: AsyncEngine) -> None:
    guard = SqlSmsGuard(engine)
    assert await guard.reserve(REQUEST, NOW) is None
    assert await guard.reserve(REQUEST, NOW + 1) is None  # its answer was lost
    other_track = replace(REQUEST, attempt_id="a0-track-2")
    assert await guard.reserve(other_track, NOW) is Refusal.ALREADY_SENT
    await guard.sent("im", "a0", "SM1", NOW + 2)
    assert await guard.reserve(REQUEST, NOW + 3) is Refusal.ALREADY_SENT
    assert await guard.reserve(replace(other_track, user_id="wang"), NOW) is None


async def test_what_the_carrier_refused_costs_nothing_and_frees_the_place(engine: AsyncEngine) -> None:
    guard = SqlSmsGuard(engine)
    capped = replace(REQUEST, per_user=SmsCap(count=1, window_ms=DAY))
    assert await guard.reserve(capped, NOW) is None
    await guard.release("im", "a0", "21211")
    assert await guard.spent("im", window_ms=DAY, now=NOW) == 0
    assert await guard.reserve(replace(capped, attempt_id="a1"), NOW) is None
    await guard.sent("im", "a1", "SM1", NOW)
    await guard.release("im", "a1", "too late")
    assert await guard.spent("im", window_ms=DAY, now=NOW) == 2


@pytest.mark.parametrize(
    ("limits", "others", "refusal"),
    [
        ({"per_user": SmsCap(count=3, window_ms=DAY)}, {}, Refusal.CAP_USER),
        ({"per_number": SmsCap(count=3, window_ms=DAY)}, {"user_id": "wang"}, Refusal.CAP_NUMBER),
        (
            {"per_prefix": SmsCap(count=3, window_ms=DAY)},
            {"user_id": "wang", "number_hash": b"other"},
            Refusal.CAP_PREFIX,
        ),
        (
            {"budget": SmsCap(count=7, window_ms=DAY)},
            {"user_id": "wang", "number_hash": b"other", "prefix": "+4917"},
            Refusal.BUDGET,
        ),
    ],
)
async def test_caps_hold_in_a_rolling_window(
    engine: AsyncEngine, limits: dict[str, SmsCap], others: dict[str, object], refusal: Refusal
) -> None:
    guard = SqlSmsGuard(engine)
    for number in range(3):
        assert await guard.reserve(request(number, **limits), NOW + number) is None
    last = request(9, **limits, **others)
    assert await guard.reserve(last, NOW + DAY - 1) is refusal
    assert await guard.reserve(replace(last, app="other"), NOW + DAY - 1) is None
    assert await guard.reserve(last, NOW + DAY) is None  # the first one left the window


async def test_sixteen_workers_never_spend_more_than_the_budget(engine: AsyncEngine, ledger_url: str) -> None:
    other = open_ledger(ledger_url)
    guards = [SqlSmsGuard(engine), SqlSmsGuard(other)]
    budget = SmsCap(count=25, window_ms=DAY)
    try:
        answers = await asyncio.gather(
            *(
                guards[number % 2].reserve(request(number, user_id=f"u{number}", budget=budget), NOW)
                for number in range(16)
            )
        )
    finally:
        await other.dispose()
    assert answers.count(None) == 12
    assert answers.count(Refusal.BUDGET) == 4
    assert await guards[0].spent("im", window_ms=DAY, now=NOW) == 24


async def test_sixteen_workers_send_one_message_once(engine: AsyncEngine) -> None:
    guard = SqlSmsGuard(engine)
    answers = await asyncio.gather(
        *(guard.reserve(replace(REQUEST, attempt_id=f"track-{number}"), NOW) for number in range(16))
    )
    assert answers.count(None) == 1
    assert answers.count(Refusal.ALREADY_SENT) == 15


async def test_one_sms_stands_for_a_conversation(engine: AsyncEngine) -> None:
    guard = SqlSmsGuard(engine)
    in_c42 = {"coalesce_key": "c42", "coalesce_ms": 10 * MINUTE}
    waited = [Joiner(message_id=f"m{number}", attempt_id=f"a{number}") for number in (1, 2)]
    assert await guard.reserve(request(0, **in_c42, joiners=waited), NOW) is None
    assert await guard.reserve(request(1, **in_c42), NOW + 1) is Refusal.JOINED
    assert await guard.reserve(request(1, **in_c42), NOW + 2) is Refusal.JOINED
    assert await guard.reserve(request(6, **in_c42), NOW + 2) is Refusal.COALESCED  # it came later
    assert await guard.reserve(request(2, coalesce_key="c43", coalesce_ms=10 * MINUTE), NOW + 1) is None
    assert await guard.reserve(request(3, **in_c42, user_id="wang"), NOW + 1) is None
    assert await guard.reserve(request(4), NOW + 1) is None
    assert await guard.reserve(request(5, **in_c42), NOW + 10 * MINUTE) is None
    assert await guard.joined_into("im", "m1", "li") == "a0"
    assert await guard.joined_into("im", "m6", "li") is None
    assert [(one.message_id, one.at) for one in await guard.sharers("im", "a0")] == [("m1", NOW), ("m2", NOW)]


async def test_who_has_an_sms_of_its_own_joins_no_other(engine: AsyncEngine) -> None:
    guard = SqlSmsGuard(engine)
    assert await guard.reserve(request(1), NOW) is None
    joiners = [Joiner(message_id="m1", attempt_id="a1"), Joiner(message_id="m2", attempt_id="a2")]
    assert await guard.reserve(request(0, coalesce_key="c", coalesce_ms=MINUTE, joiners=joiners), NOW) is None
    assert [one.message_id for one in await guard.sharers("im", "a0")] == ["m2"]


async def test_a_released_sms_stands_for_nobody(engine: AsyncEngine) -> None:
    guard = SqlSmsGuard(engine)
    in_c42 = {"coalesce_key": "c42", "coalesce_ms": 10 * MINUTE}
    assert await guard.reserve(request(0, **in_c42), NOW) is None
    await guard.release("im", "a0", "21211")
    assert await guard.reserve(request(1, **in_c42), NOW + 1) is None


async def test_a_status_only_rises_and_brings_the_true_segments(engine: AsyncEngine) -> None:
    guard = SqlSmsGuard(engine)
    await guard.reserve(REQUEST, NOW)

    async def status(name: str, rank: int, segments: int | None = None, attempt: str = "a0") -> bool:
        return await guard.status("im", attempt, name, rank, error=None, segments=segments, now=NOW)

    assert await status("sent", 3)
    assert not await status("queued", 1)
    assert await status("delivered", 9, segments=3)
    assert not await status("undelivered", 9)
    assert not await status("sent", 3, segments=4)
    assert not await status("delivered", 9, attempt="unknown")
    assert await guard.spent("im", window_ms=DAY, now=NOW) == 4
    assert await guard.reserve(REQUEST, NOW) is Refusal.ALREADY_SENT  # a status tells that the carrier took it


async def test_a_suppressed_number_is_left_alone_until_lifted(engine: AsyncEngine) -> None:
    guard = SqlSmsGuard(engine)
    await guard.suppress_number("im", b"number", "21610", NOW)
    await guard.suppress_number("im", b"number", "again", NOW)
    assert await guard.reserve(REQUEST, NOW) is Refusal.SUPPRESSED_NUMBER
    assert await guard.reserve(replace(REQUEST, number_hash=b"other"), NOW) is None
    await guard.lift_suppression("im", b"number")
    assert await guard.reserve(request(1), NOW) is None


async def test_reservations_outlive_every_message_and_then_go(engine: AsyncEngine) -> None:
    guard = SqlSmsGuard(engine)
    await guard.reserve(REQUEST, NOW)
    await guard.sent("im", "a0", "SM1", NOW)
    await upkeep(engine, NOW + 89 * DAY)
    assert await guard.reserve(replace(REQUEST, attempt_id="a1"), NOW + 89 * DAY) is Refusal.ALREADY_SENT
    report = await upkeep(engine, NOW + 90 * DAY)
    assert report.deleted["sms_reservations"] == 1
