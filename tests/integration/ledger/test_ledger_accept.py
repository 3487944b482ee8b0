"""Accepting: one row a message and app, whoever asks and however often."""

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY, MINUTE
from dispatcher.domain.ids import make_home
from dispatcher.ledger.accept import KEYS_KEPT
from dispatcher.ledger.engine import open_ledger
from dispatcher.ledger.messages import SqlMessages
from dispatcher.ports.messages import Acceptance, Submission, Verdict

NOW = 1_800_000_000_000
HOME, OTHER_HOME = make_home(NOW, 1, 1), make_home(NOW, 2, 2)
Submit = Callable[..., Submission]


def verdicts(results: list[Acceptance | Exception]) -> list[str]:
    return [one.verdict.value if isinstance(one, Acceptance) else "exception" for one in results]


async def test_the_same_id_is_new_then_duplicate_and_conflicts_with_other_content(
    engine: AsyncEngine, submit: Submit
) -> None:
    messages = SqlMessages(engine)
    assert verdicts(await messages.accept([submit(HOME, message_id="cm")], NOW)) == ["new"]
    again = submit(OTHER_HOME, message_id="cm", to=["li", "wang"])
    (repeated,) = await messages.accept([again], NOW + 5)
    assert repeated == Acceptance(verdict=Verdict.DUPLICATE, accepted_at=NOW, home=HOME, place=0, recipients=1)
    changed = submit(OTHER_HOME, message_id="cm", content=b"other")
    assert verdicts(await messages.accept([changed], NOW + 5)) == ["conflict"]
    assert verdicts(await messages.accept([submit(OTHER_HOME, message_id="cm", app="other")], NOW)) == ["new"]


async def test_an_id_twice_in_one_call_is_taken_once(engine: AsyncEngine, submit: Submit) -> None:
    call = [
        submit(HOME, 0, message_id="cm"),
        submit(HOME, 1, message_id="cm"),
        submit(HOME, 2, message_id="cm", content=b"other"),
        submit(HOME, 3, message_id="other"),
    ]
    assert verdicts(await SqlMessages(engine).accept(call, NOW)) == ["new", "duplicate", "conflict", "new"]


async def test_a_call_whose_answer_was_lost_may_be_repeated(engine: AsyncEngine, submit: Submit) -> None:
    messages, call = SqlMessages(engine), [submit(HOME, place) for place in range(3)]
    assert await messages.accept(call, NOW) == await messages.accept(call, NOW + 9)
    (home,) = await messages.unadmitted(NOW + 1, due_before=NOW + 1, limit=10)
    assert [stored.place for stored in home.messages] == [0, 1, 2]


async def test_fifty_identical_requests_at_once_make_one_message(
    engine: AsyncEngine, ledger_url: str, submit: Submit
) -> None:
    other = open_ledger(ledger_url)
    doors = [SqlMessages(engine), SqlMessages(other)]
    homes = [make_home(NOW, number, 1) for number in range(50)]
    try:
        results = await asyncio.gather(
            *(
                doors[number % 2].accept(
                    [submit(home, place, message_id=f"cm-{(place + number) % 3}") for place in range(3)], NOW
                )
                for number, home in enumerate(homes)
            )
        )
    finally:
        await other.dispose()
    words = [word for result in results for word in verdicts(result)]
    assert words.count("new") == 3
    assert words.count("duplicate") == 147
    first_homes = {one.home for result in results for one in result if isinstance(one, Acceptance)}
    stored = await SqlMessages(engine).unadmitted(NOW + 1, due_before=NOW + 1, limit=100)
    assert {home.home for home in stored} == first_homes
    assert sum(len(home.messages) for home in stored) == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: msgspec_replace(one, message_id="NUL \0"),
        lambda one: msgspec_replace(one, message_id="separator \x1f"),
        lambda one: msgspec_replace(one, message_id="lone \ud800"),
        lambda one: msgspec_replace(one, data={"too": 2**70}),
        lambda one: replace(one, place=2**40),
    ],
    ids=["nul", "control character", "surrogate", "huge number", "place"],
)
async def test_a_row_that_cannot_be_stored_fails_alone(
    engine: AsyncEngine, submit: Submit, spoil: Callable[[Submission], Submission]
) -> None:
    call = [submit(HOME, place) for place in range(5)]
    call[2] = spoil(call[2])
    messages = SqlMessages(engine)
    assert verdicts(await messages.accept(call, NOW)) == ["new", "new", "exception", "new", "new"]
    (home,) = await messages.unadmitted(NOW + 1, due_before=NOW + 1, limit=10)
    assert [stored.place for stored in home.messages] == [0, 1, 3, 4]
    assert home.size == 5


def msgspec_replace(one: Submission, **changes: object) -> Submission:
    return replace(one, message=replace(one.message, **changes))


async def test_an_id_is_free_again_after_seven_days(engine: AsyncEngine, submit: Submit) -> None:
    messages = SqlMessages(engine)
    await messages.accept([submit(HOME, message_id="cm")], NOW)
    later = NOW + KEYS_KEPT
    late_home = make_home(later, 3, 1)
    again = submit(late_home, message_id="cm", content=b"other")
    assert verdicts(await messages.accept([again], later - 1)) == ["conflict"]
    assert verdicts(await messages.accept([again], later)) == ["new"]
    found = await messages.find("im", "cm")
    assert found is not None
    assert found.home == late_home


async def test_a_scheduled_id_stays_taken_seven_days_from_its_due_time(engine: AsyncEngine, submit: Submit) -> None:
    messages, due = SqlMessages(engine), NOW + 30 * DAY
    await messages.accept([submit(HOME, message_id="cm", due=due)], NOW)
    again = submit(OTHER_HOME, message_id="cm", due=due)
    assert verdicts(await messages.accept([again], NOW + 20 * DAY)) == ["duplicate"]


async def test_duplicates_leave_holes_and_a_home_of_duplicates_is_none(engine: AsyncEngine, submit: Submit) -> None:
    messages = SqlMessages(engine)
    await messages.accept([submit(HOME, 0, message_id="a"), submit(HOME, 1, message_id="b")], NOW)
    await messages.mark_admitted([HOME])
    await messages.accept([submit(OTHER_HOME, 0, message_id="a")], NOW)
    assert await messages.unadmitted(NOW + 1, due_before=NOW + 1, limit=10) == []
    third = make_home(NOW, 3, 3)
    await messages.accept(
        [submit(third, 0, message_id="a"), submit(third, 1, message_id="c", to=["li", "wang"])], NOW + 1
    )
    (home,) = await messages.unadmitted(NOW + MINUTE, due_before=NOW + MINUTE, limit=10)
    assert (home.size, [(stored.place, stored.user_ids) for stored in home.messages]) == (3, [(1, ["li", "wang"])])
