"""An inbox that nobody writes to any more goes by itself; one that somebody writes to does not."""

import pytest

from dispatcher.domain.clock import DAY, SECOND, Millis
from dispatcher.domain.delivery import Proof
from dispatcher.hot.inboxes import RedisInboxes
from dispatcher.hot.store import HotStore

FUTURE: Millis = 4_000_000_000_000  #: beyond the server's own clock, so that the days in here are the test's
LEAST_S = 8 * DAY // SECOND


@pytest.fixture
def inboxes(hot: HotStore) -> RedisInboxes:
    return RedisInboxes(hot)


async def put(inboxes: RedisInboxes, name: str, now: Millis) -> None:
    await inboxes.append("im", [("li", f"d-{name}", f'"message_id":"m-{name}"'.encode())], now)


async def lapses(hot: HotStore) -> dict[str, int]:
    """Seconds that each of the inbox's keys has left."""
    left = {part: await hot.client.ttl(hot.user("im", "li") + part) for part in "qpob"}
    return {part: seconds for part, seconds in left.items() if seconds != -2}


def assert_whole(left: dict[str, int], parts: str = "qpob") -> None:
    assert left.keys() == set(parts)
    assert all(LEAST_S - 60 < seconds <= LEAST_S + DAY // SECOND for seconds in left.values()), left


async def test_every_part_of_an_inbox_lapses_a_while_after_its_last_entry(inboxes: RedisInboxes, hot: HotStore) -> None:
    await put(inboxes, "1", FUTURE)
    assert_whole(await lapses(hot))


async def test_the_first_entry_of_a_later_day_lengthens_every_part(inboxes: RedisInboxes, hot: HotStore) -> None:
    await put(inboxes, "1", FUTURE)
    for part in "qpob":
        await hot.client.expire(hot.user("im", "li") + part, 60)
    await put(inboxes, "2", FUTURE + DAY)
    assert_whole(await lapses(hot))


async def test_what_proofs_and_reads_emptied_lapses_again_once_it_is_filled(
    inboxes: RedisInboxes, hot: HotStore
) -> None:
    await put(inboxes, "1", FUTURE)
    await inboxes.mark("im", "li", ["d-1"], Proof.OPENED)
    assert_whole(await lapses(hot), "qb")
    await put(inboxes, "2", FUTURE + SECOND)
    assert_whole(await lapses(hot))


async def test_an_inbox_emptied_by_recalls_lapses_again_once_it_is_filled(inboxes: RedisInboxes, hot: HotStore) -> None:
    await put(inboxes, "1", FUTURE)
    await inboxes.remove("im", "li", ["d-1"])
    assert_whole(await lapses(hot), "b")
    await put(inboxes, "2", FUTURE + SECOND)
    assert_whole(await lapses(hot))
