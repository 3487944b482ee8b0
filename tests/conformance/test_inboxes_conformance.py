"""What every implementation of the inbox port promises."""

from typing import Any

import pytest
from msgspec.structs import replace

from dispatcher.domain.delivery import Proof
from dispatcher.domain.device import Profile
from dispatcher.ports.inboxes import CatchupAsk
from dispatcher.ports.presence import Line, Presence


def body(message_id: str) -> bytes:
    return f'"message_id":"{message_id}","class":"chat"'.encode()


async def fill(ports: Any, *names: str, user_id: str = "li") -> list[int]:
    """Appends by name; the seqs."""
    placed = await ports.inboxes.append("a", [(user_id, f"d-{name}", body(f"m-{name}")) for name in names], ports.now)
    return [seq for seq, _ in placed]


async def catch_up(ports: Any, after: int | None = None, *, floor: int | None = None, **changed: Any) -> Any:
    asked = {"device_id": "p", "session": None, "limit": 200, "now": ports.now} | changed
    return await ports.inboxes.catch_up("a", "li", after=after, floor=floor, **asked)


def ids(entries: Any) -> list[str]:
    return [entry.delivery_id for entry in entries]


async def register(ports: Any, session: str = "s1", line: Line = Line.SYNCING) -> None:
    presence = Presence(device_id="p", node="n", session=session, line=line, foreground=True, since=ports.now)
    await ports.presences.hold_node("n", ports.now, 60_000)
    await ports.presences.register("a", "li", presence)


async def line(ports: Any) -> Line:
    (presence,) = (await ports.presences.of_users("a", ["li"], ports.now))["li"]
    found: Line = presence.line
    return found


async def test_each_entry_names_its_predecessor_user_by_user(ports: Any) -> None:
    entries = [("li", "d1", body("m1")), ("wang", "d2", body("m2")), ("li", "d3", body("m3")), ("li", "d4", body("m4"))]
    (one, none), (_, nobody), (two, after_one), (three, after_two) = await ports.inboxes.append("a", entries, ports.now)
    assert (none, nobody) == (0, 0)
    assert (after_one, after_two) == (one, two)
    assert one < two < three
    assert one >= ports.now * 1_000


async def test_a_known_entry_keeps_its_place(ports: Any) -> None:
    first, second = await fill(ports, "1", "2")
    again = await ports.inboxes.append("a", [("li", "d-2", body("m-2")), ("li", "d-1", body("m-1"))], ports.now)
    assert again == [(second, first), (first, 0)]
    assert ids((await catch_up(ports)).entries) == ["d-1", "d-2"]


async def test_without_a_cursor_the_newest_unproven_come_oldest_first(ports: Any) -> None:
    seqs = await fill(ports, "1", "2", "3", "4")
    await ports.inboxes.mark("a", "li", ["d-3"], Proof.DELIVERED)
    page = await catch_up(ports, limit=2)
    assert (ids(page.entries), page.more, page.passed, page.online) == (["d-2", "d-4"], True, [], False)
    assert page.last_seq == seqs[-1]
    assert [entry.body for entry in page.entries] == [body("m-2"), body("m-4")]
    whole = await catch_up(ports)
    assert (ids(whole.entries), whole.more) == (["d-1", "d-2", "d-4"], False)


async def test_with_a_cursor_all_above_it_comes_proven_or_not_and_what_is_below_is_passed(ports: Any) -> None:
    seqs = await fill(ports, "1", "2", "3", "4", "5")
    await ports.inboxes.mark("a", "li", ["d-1", "d-4"], Proof.DELIVERED)
    page = await catch_up(ports, seqs[2], limit=1)
    assert (ids(page.entries), page.more, list(page.passed)) == (["d-4"], True, ["d-2", "d-3"])
    page = await catch_up(ports, seqs[2])
    assert (ids(page.entries), page.more) == (["d-4", "d-5"], False)


async def test_what_was_passed_is_told_until_it_is_marked(ports: Any) -> None:
    seqs = await fill(ports, "1", "2")
    assert list((await catch_up(ports, seqs[1])).passed) == ["d-1", "d-2"]
    assert list((await catch_up(ports, seqs[1])).passed) == ["d-1", "d-2"]
    await ports.inboxes.mark_many("a", [("li", Proof.DELIVERED, ["d-1", "d-2"])])
    assert list((await catch_up(ports, seqs[1])).passed) == []


async def test_a_floor_leaves_out_without_proving_and_above_it_everything_counts(ports: Any) -> None:
    seqs = await fill(ports, "1", "2", "3")
    await ports.inboxes.mark("a", "li", ["d-2"], Proof.DELIVERED)
    for after in (None, seqs[0] - 1):
        page = await catch_up(ports, after, floor=seqs[0])
        assert (ids(page.entries), list(page.passed)) == (["d-2", "d-3"], [])


async def test_a_cursor_of_the_future_proves_nothing_and_is_as_none(ports: Any) -> None:
    seqs = await fill(ports, "1", "2")
    page = await catch_up(ports, seqs[-1] + 1)
    assert (ids(page.entries), list(page.passed)) == (["d-1", "d-2"], [])


async def test_a_session_turns_online_only_when_nothing_is_left(ports: Any) -> None:
    await register(ports)
    seqs = await fill(ports, "1")
    page = await catch_up(ports, session="s1")
    assert (page.online, await line(ports)) == (False, Line.SYNCING)
    page = await catch_up(ports, session="s1", floor=seqs[0])
    assert (page.online, ids(page.entries), await line(ports)) == (True, [], Line.ONLINE)


async def test_a_session_that_was_replaced_never_turns_online(ports: Any) -> None:
    await register(ports, "s2")
    assert (await catch_up(ports, session="s1")).online is False
    assert await line(ports) is Line.SYNCING


async def test_reading_without_a_session_turns_nobody_online(ports: Any) -> None:
    await register(ports)
    assert (await catch_up(ports)).online is False
    assert await line(ports) is Line.SYNCING


async def test_many_devices_catch_up_at_once_each_with_its_own_answer(ports: Any) -> None:
    await register(ports)
    users = [f"u{number}" for number in range(6)]
    for user_id in users:  # more than one script answers at once
        await fill(ports, *(f"{user_id}-{number}" for number in range(201)), user_id=user_id)
    ask = CatchupAsk(app="a", user_id="li", device_id="p", session="s1", after=None, limit=200)
    asks = [replace(ask, user_id=user_id, session=None) for user_id in users]
    *pages, last = await ports.inboxes.catch_up_many([*asks, ask], ports.now)
    for user_id, page in zip(users, pages, strict=True):
        assert ids(page.entries) == [f"d-{user_id}-{number}" for number in range(1, 201)]
        assert (page.more, page.online) == (True, False)
    assert (ids(last.entries), last.more, last.online, last.last_seq) == ([], False, True, 0)
    assert await line(ports) is Line.ONLINE
    assert {page.epoch for page in pages} == {last.epoch}
    assert await ports.inboxes.catch_up_many([], ports.now) == []


async def test_many_devices_take_their_lines_with_the_look_and_learn_whom_they_replaced(ports: Any) -> None:
    await ports.presences.hold_node("n", ports.now, 10_000)
    await ports.profiles.put([Profile(app="a", user_id="li", rev=7)])
    await register(ports, "s1")
    await fill(ports, "1", user_id="wang")
    takes = [("li", "p", "s2"), ("wang", "q", "s3"), ("li", "p", "s4"), ("li", "r", "s5")]
    lines = [
        Presence(device_id=device, node="n", session=session, line=Line.SYNCING, foreground=True, since=ports.now)
        for _, device, session in takes
    ]
    asks = [
        CatchupAsk(app="a", user_id=user, device_id=device, session=session, after=None, limit=200, line=line)
        for (user, device, session), line in zip(takes, lines, strict=True)
    ]
    pages = await ports.inboxes.catch_up_many(asks, ports.now)
    assert [page.replaced.session if page.replaced else None for page in pages] == ["s1", None, "s2", None]
    assert [page.revision for page in pages] == [7, None, 7, 7]
    assert [page.online for page in pages] == [True, False, True, True]  # what waits for wang comes first
    held = await ports.presences.of_users("a", ["li", "wang"], ports.now)
    assert {(one.session, one.line) for lines in held.values() for one in lines} == {
        ("s4", Line.ONLINE),
        ("s5", Line.ONLINE),
        ("s3", Line.SYNCING),
    }


async def test_pages_go_back_from_the_newest_and_new_arrivals_shift_none(ports: Any) -> None:
    seqs = await fill(ports, "1", "2", "3", "4")
    first = await ports.inboxes.newest("a", "li", before=None, limit=2)
    assert ids(first) == ["d-4", "d-3"]
    await fill(ports, "5")
    assert ids(await ports.inboxes.newest("a", "li", before=first[-1].seq, limit=2)) == ["d-2", "d-1"]
    assert ids(await ports.inboxes.newest("a", "li", before=seqs[0], limit=2)) == []


async def test_only_the_newest_two_hundred_and_what_is_unproven_are_kept(ports: Any) -> None:
    await fill(ports, *(f"{number}" for number in range(10)))
    await ports.inboxes.mark("a", "li", [f"d-{number}" for number in range(1, 10)], Proof.DELIVERED)
    await fill(ports, *(f"{number}" for number in range(10, 210)))
    await fill(ports, "last")
    kept = await ports.inboxes.newest("a", "li", before=None, limit=500)
    assert "d-0" in ids(kept)
    assert not {f"d-{number}" for number in range(1, 10)} & set(ids(kept))
    assert set(ids(kept)) == {"d-0", "d-last", *(f"d-{number}" for number in range(10, 210))}


@pytest.mark.parametrize(("proof", "unread"), [(Proof.DELIVERED, 2), (Proof.DISPLAYED, 2), (Proof.OPENED, 1)], ids=str)
async def test_only_opening_makes_a_message_read(ports: Any, proof: Proof, unread: int) -> None:
    await fill(ports, "1", "2")
    await ports.inboxes.mark("a", "li", ["d-1"], proof)
    assert await ports.inboxes.unread("a", "li", ports.now - 60_000) == unread
    assert ids((await catch_up(ports)).entries) == ["d-2"]


async def test_recalled_entries_are_gone_everywhere(ports: Any) -> None:
    await fill(ports, "1", "2")
    await ports.inboxes.remove("a", "li", ["d-1"])
    assert ids((await catch_up(ports)).entries) == ["d-2"]
    assert await ports.inboxes.find("a", "li", ["m-1", "m-2"]) == {"m-2": "d-2"}
    assert await ports.inboxes.unread("a", "li", 0) == 1


async def test_entries_are_found_by_message_id_in_their_own_inbox_only(ports: Any) -> None:
    await fill(ports, "1")
    assert await ports.inboxes.find("a", "li", ["m-1", "m-x"]) == {"m-1": "d-1"}
    assert await ports.inboxes.find("a", "wang", ["m-1"]) == {}
    assert await ports.inboxes.find("b", "li", ["m-1"]) == {}


async def test_an_erased_user_leaves_nothing(ports: Any) -> None:
    await register(ports)
    await fill(ports, "1")
    await ports.inboxes.forget_user("a", "li")
    page = await catch_up(ports)
    assert (ids(page.entries), page.last_seq) == ([], 0)
    assert list((await ports.presences.of_users("a", ["li"], ports.now))["li"]) == []
