"""Accepted messages: found, recalled, handed out for admission and for rebuilding."""

from collections.abc import Callable

from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY
from dispatcher.domain.delivery import Proof
from dispatcher.domain.ids import make_home
from dispatcher.domain.journal import receipt_entry, write_entry
from dispatcher.domain.paths import Path
from dispatcher.ledger.books import accepted_and_archived
from dispatcher.ledger.deliveries import SqlDeliveries
from dispatcher.ledger.messages import SqlMessages
from dispatcher.ledger.upkeep import upkeep
from dispatcher.ports.messages import SettledDelivery, Submission

NOW = 1_800_000_000_000
HOME, OTHER_HOME = make_home(NOW, 1, 1), make_home(NOW, 2, 2)
Submit = Callable[..., Submission]
Settle = Callable[..., SettledDelivery]


async def test_a_message_is_found_as_it_was_accepted(engine: AsyncEngine, submit: Submit) -> None:
    messages = SqlMessages(engine)
    first = submit(HOME, 0, message_id="a", to=["li", "wang"])
    second = replace(submit(HOME, 2, message_id="b", to=["zhao"]), device_ids={"zhao": ["d1", "d2"]})
    await messages.accept([first, second], NOW)
    found = await messages.find("im", "b")
    assert found is not None
    assert found.message == second.message
    assert (found.home, found.place, found.index, found.due) == (HOME, 2, 2, NOW)
    assert (found.user_ids, found.device_ids) == (["zhao"], {"zhao": ["d1", "d2"]})
    assert (found.admitted, found.recalled) == (False, False)
    assert await messages.find("im", "c") is None
    assert await messages.find("other", "b") is None


async def test_a_recall_is_written_once_and_seen_by_everyone(engine: AsyncEngine, submit: Submit) -> None:
    messages = SqlMessages(engine)
    await messages.accept([submit(HOME, message_id="a")], NOW)
    assert await messages.recall("im", "unknown", NOW) is None
    recalled = await messages.recall("im", "a", NOW + 1)
    assert recalled is not None
    assert recalled.recalled
    assert await messages.recall("im", "a", NOW + 2) == recalled == await messages.find("im", "a")


async def test_a_message_past_its_key_is_found_through_its_archived_delivery(
    engine: AsyncEngine, submit: Submit, settle: Settle
) -> None:
    messages = SqlMessages(engine)
    await messages.accept([submit(HOME, 0, message_id="a"), submit(HOME, 1, message_id="b")], NOW)
    await SqlDeliveries(engine).archive([settle(HOME, 1, message_id="b")], [])
    await upkeep(engine, NOW + 8 * DAY)
    found = await messages.find("im", "b")
    assert found is not None
    assert (found.message.message_id, found.place) == ("b", 1)
    assert await messages.find("im", "a") is None


async def test_homes_are_admitted_once_and_scheduled_ones_wait_for_their_time(
    engine: AsyncEngine, submit: Submit
) -> None:
    messages = SqlMessages(engine)
    scheduled = make_home(NOW, 3, 3)
    await messages.accept([submit(HOME), submit(scheduled, due=NOW + 30 * DAY)], NOW)

    async def waiting(before: int, due_before: int) -> list[int]:
        return [home.home for home in await messages.unadmitted(before, due_before=due_before, limit=10)]

    assert await waiting(NOW, NOW + 1) == []
    assert await waiting(NOW + 1, NOW + 1) == [HOME]
    assert await waiting(NOW + 1, NOW + 31 * DAY) == [HOME, scheduled]
    await messages.mark_admitted([HOME, OTHER_HOME])
    await messages.mark_admitted([HOME])
    assert await waiting(NOW + 1, NOW + 31 * DAY) == [scheduled]
    assert [home.home for home in await messages.open_homes(0, 10)] == [HOME]
    everything = await messages.open_homes(0, 10, unadmitted=True)
    assert [home.home for home in everything] == sorted([HOME, scheduled])


async def test_open_homes_come_in_pages_with_what_is_settled_and_proven(
    engine: AsyncEngine, submit: Submit, settle: Settle
) -> None:
    messages, deliveries = SqlMessages(engine), SqlDeliveries(engine)
    homes = sorted(make_home(NOW + day * DAY, day, day) for day in range(3))
    await messages.accept([submit(home, place) for home in homes for place in range(4)], NOW)
    await messages.mark_admitted(homes)
    await deliveries.archive([settle(homes[0], 0), settle(homes[0], 1)], [])
    rows = [
        (1, 0, Proof.DELIVERED, Path.LONGCONN, False, True),
        (2, 0, Proof.DELIVERED, Path.APNS, False, True),
        (3, 0, Proof.DELIVERED, Path.APNS, False, False),
    ]
    opened = [(2, 0, Proof.OPENED, Path.APNS, False, True)]
    entries = [receipt_entry(NOW + 5, rows), receipt_entry(NOW + 9, opened)]
    await deliveries.append_journal([(homes[0], number, write_entry(entry)) for number, entry in enumerate(entries)])

    first, second = await messages.open_homes(0, 2)
    assert first.settled == {0, 1}
    assert first.proven == {2: (Proof.OPENED, Path.APNS, NOW + 9)}
    assert (second.home, second.settled, second.proven) == (homes[1], frozenset(), {})
    await deliveries.archive([], [homes[2]])
    assert await messages.open_homes(homes[1], 2) == []


async def test_the_books_count_both_sides_from_one_snapshot(
    engine: AsyncEngine, submit: Submit, settle: Settle
) -> None:
    late = make_home(NOW + 10 * DAY, 5, 5)
    await SqlMessages(engine).accept(
        [
            submit(HOME, 0, to=["li", "wang"]),
            submit(HOME, 2, klass="call"),
            submit(late, 0),
            submit(OTHER_HOME, 0, app="other"),
        ],
        NOW,
    )
    await SqlDeliveries(engine).archive([settle(HOME, 0), settle(late, 0)], [])
    assert await accepted_and_archived(engine, NOW + 1) == {
        ("im", "call"): (1, 0),
        ("im", "chat"): (2, 1),
        ("other", "chat"): (1, 0),
    }
    assert await accepted_and_archived(engine, NOW + 11 * DAY, since=NOW + 9 * DAY) == {("im", "chat"): (1, 1)}
