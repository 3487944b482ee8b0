"""Looking through the real door, at what a real pipeline left: figures, pages, switches, dead letters."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from dispatcher.domain.clock import MINUTE, SECOND, rfc3339
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.ids import DeliveryRef, make_home
from dispatcher.domain.message import Message, Priority
from dispatcher.domain.paths import Path
from dispatcher.ledger.rollups import fold
from dispatcher.ports.messages import SettledDelivery, Submission


class Past:
    """Messages accepted and deliveries settled, straight into the ledger."""

    def __init__(self, serving: Any) -> None:
        self.core = serving.core
        self.deliveries = serving.core.stores.deliveries
        self.messages = serving.core.parts.messages

    async def settle(
        self, number: int, end: End = End.EXHAUSTED, *, klass: str = "chat", by: Path | None = None, user: str = "li"
    ) -> SettledDelivery:
        """One message, accepted *number* seconds ago, that has ended."""
        at = self.core.clock() - number * SECOND
        home = make_home(at, number, number % 8)
        message = Message(
            app="im",
            message_id=f"cm-{number}",
            klass=klass,
            priority=Priority.NORMAL,
            body=b'"message_id":"cm"',
            accepted_at=at,
            expires_at=at + 5 * MINUTE,
            notification={"title": "Wang", "body": "hello"},
        )
        submission = Submission(
            message=message, content_hash=bytes(16), home=home, place=0, index=0, user_ids=(user,), due=at
        )
        await self.messages.accept([submission], at)
        row = SettledDelivery(
            ref=DeliveryRef(home, 0),
            app="im",
            user_id=user,
            message_id=message.message_id,
            klass=klass,
            seq=at * 1000,
            end=end,
            proof=Proof.DELIVERED if by else Proof.NONE,
            confirmed_by=by,
            confirmed_at=at + 3_000 if by else None,
            accepted_at=at,
            settled_at=at + 3_000,
            strategy="default",
            version=1,
            rule="everyone",
            platform="ios",
            body=message.body,
            tracks=b'[{"device_id":"d1"}]',
        )
        await self.deliveries.archive([row], [home])
        return row


@pytest.fixture
def past(serving: Any) -> Past:
    return Past(serving)


async def totals(backend: httpx.AsyncClient, **params: str) -> dict[str, Any]:
    answer = await backend.get("/v1/stats", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["totals"]
    return found


async def test_figures_are_exact_at_once_and_the_same_once_folded(
    backend: httpx.AsyncClient, past: Past, serving: Any
) -> None:
    await past.settle(1, End.CONFIRMED, by=Path.APNS)
    await past.settle(2, End.CONFIRMED, by=Path.LONGCONN)
    await past.settle(3, End.EXPIRED, klass="otp")
    fresh = await totals(backend)
    assert (fresh["accepted"], fresh["settled"], fresh["open"]) == (3, 3, 0)
    assert fresh["ends"] == {"confirmed": 2, "expired": 1}
    assert fresh["confirmed"] == {"apns": 1, "longconn": 1}
    assert fresh["time_to_proof"]["p50_s"] == pytest.approx(3, rel=0.1)
    assert await fold(serving.core.stores.engine) > 0
    assert await totals(backend) == fresh
    assert await fold(serving.core.stores.engine) == 0
    assert await totals(backend) == fresh


async def test_what_is_archived_twice_counts_once_and_late_proof_moves_it(
    backend: httpx.AsyncClient, past: Past, serving: Any
) -> None:
    row = await past.settle(1, End.EXHAUSTED)
    await past.deliveries.archive([row], [])
    await fold(serving.core.stores.engine)
    assert (await totals(backend))["ends"] == {"exhausted": 1}
    await past.deliveries.late_proof(
        row.ref, Proof.DELIVERED, Path.APNS, row.accepted_at + 9_000, app="im", user_id="li"
    )
    for _ in range(2):
        found = await totals(backend)
        assert (found["ends"], found["confirmed"], found["settled"]) == ({"confirmed": 1}, {"apns": 1}, 1)
        await fold(serving.core.stores.engine)


async def test_figures_are_told_apart_as_asked(backend: httpx.AsyncClient, past: Past) -> None:
    await past.settle(1, End.CONFIRMED, by=Path.APNS)
    await past.settle(2, End.EXPIRED, klass="otp")
    by_class = (await backend.get("/v1/stats", params={"by": "class"})).json()["rows"]
    assert [(row["class"], row["accepted"], row["settled"]) for row in by_class] == [("chat", 1, 1), ("otp", 1, 1)]
    by_strategy = (await backend.get("/v1/stats", params={"by": "strategy,platform"})).json()["rows"]
    assert [(row["strategy"], row["version"], row["platform"], row["settled"]) for row in by_strategy] == [
        ("default", 1, "ios", 2)
    ]
    assert by_strategy[0]["accepted"] is None
    assert (await totals(backend, **{"class": "otp"}))["accepted"] == 1
    for query, field in (
        ({"by": "moon"}, "by"),
        ({"from": "x"}, "from"),
        ({"step": "1m", "from": "2020-01-01T00:00:00Z"}, "step"),
    ):
        refused = await backend.get("/v1/stats", params=query)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)


async def test_the_funnel_is_told_for_all_and_for_each_group(backend: httpx.AsyncClient, past: Past) -> None:
    row = await past.settle(1, End.CONFIRMED, by=Path.APNS)
    await past.settle(2, End.EXPIRED, klass="otp")
    await past.deliveries.late_proof(row.ref, Proof.OPENED, Path.APNS, row.accepted_at, app="im", user_id="li")
    found = (await backend.get("/v1/stats", params={"by": "class"})).json()
    assert found["totals"]["funnel"] == {"accepted": 2, "attempted": 1, "delivered": 1, "opened": 1}
    assert [(group["class"], group["funnel"]) for group in found["rows"]] == [
        ("chat", {"accepted": 1, "attempted": 1, "delivered": 1, "opened": 1}),
        ("otp", {"accepted": 1, "attempted": 0, "delivered": 0, "opened": 0}),
    ]
    (group,) = (await backend.get("/v1/stats", params={"by": "strategy,platform"})).json()["rows"]
    assert group["funnel"] == {"accepted": None, "attempted": 1, "delivered": 1, "opened": 1}


async def test_another_app_sees_nothing_of_it(serving: Any, past: Past) -> None:
    await past.settle(1)
    headers = {"Authorization": f"Bearer {serving.stranger}"}
    async with httpx.AsyncClient(base_url=serving.url, headers=headers, trust_env=False) as stranger:
        assert (await totals(stranger))["accepted"] == 0
        assert (await stranger.get("/v1/deliveries")).json() == {"deliveries": [], "next": None}
        assert (await stranger.get("/v1/dead-letters")).json() == {"dead_letters": [], "next": None}


async def pages(
    backend: httpx.AsyncClient, address: str, member: str, shift: Callable[[], Any], **params: Any
) -> list[str]:
    """All message ids, page by page; *shift* is called between pages."""
    found: list[str] = []
    before: str | None = None
    for _ in range(50):
        query = {**params, **({"before": before} if before else {})}
        page = (await backend.get(address, params=query)).json()
        found += [row["message_id"] for row in page[member]]
        before = page["next"]
        if before is None:
            return found
        await shift()
    raise AssertionError("the pages never end")


async def test_pages_hold_open_and_archived_ones_once_whatever_arrives(backend: httpx.AsyncClient, past: Past) -> None:
    for number in range(10, 17):
        await past.settle(number)
    for number in range(4):
        body = {"message_id": f"new-{number}", "to": {"user_ids": ["li"]}, "notification": {"title": "a"}}
        assert (await backend.post("/v1/messages", json=body)).status_code == 202
    later = iter(range(100))

    async def arrives() -> None:
        number = next(later)
        body = {"message_id": f"later-{number}", "to": {"user_ids": ["li"]}, "notification": {"title": "a"}}
        await backend.post("/v1/messages", json=body)

    found = await pages(backend, "/v1/deliveries", "deliveries", arrives, limit=3)
    assert found == ["new-3", "new-2", "new-1", "new-0", *(f"cm-{number}" for number in range(10, 17))]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"state": "exhausted"}, ["cm-11"]),
        ({"state": "expired,confirmed"}, ["cm-12", "cm-13"]),
        ({"state": "open"}, ["new-1"]),
        ({"class": "otp"}, ["cm-12"]),
        ({"user_id": "wang"}, ["cm-13"]),
        ({"user_id": "li", "state": "exhausted"}, ["cm-11"]),
        ({"user_id": "nobody"}, []),
        ({"device_id": "nobody's"}, []),
        ({"to": "2020-01-01T00:00:00Z"}, []),
    ],
)
async def test_a_listing_holds_what_was_asked_for(
    backend: httpx.AsyncClient, past: Past, query: dict[str, str], found: list[str]
) -> None:
    await past.settle(11)
    await past.settle(12, End.EXPIRED, klass="otp")
    await past.settle(13, End.CONFIRMED, by=Path.APNS, user="wang")
    body = {"message_id": "new-1", "to": {"user_ids": ["li"]}, "notification": {"title": "a"}}
    await backend.post("/v1/messages", json=body)
    rows = (await backend.get("/v1/deliveries", params=query)).json()["deliveries"]
    assert [row["message_id"] for row in rows] == found


async def test_a_users_open_delivery_is_found_behind_many_of_others(backend: httpx.AsyncClient, past: Past) -> None:
    await past.settle(20, user="mei")
    for number in range(60):  # homes of their own
        body = {"message_id": f"new-{number}", "to": {"user_ids": ["li" if number else "mei"]}, "data": {"a": "b"}}
        assert (await backend.post("/v1/messages", json=body)).status_code == 202
    page = (await backend.get("/v1/deliveries", params={"user_id": "mei"})).json()
    assert ([row["message_id"] for row in page["deliveries"]], page["next"]) == (["new-0", "cm-20"], None)
    everything = await pages(backend, "/v1/deliveries", "deliveries", _nothing, limit=50)
    assert everything == [*(f"new-{number}" for number in reversed(range(60))), "cm-20"]


@pytest.mark.parametrize("query", [{}, {"user_id": "li"}, {"class": "chat", "state": "exhausted"}])
async def test_a_page_that_took_too_long_ends_early_and_nothing_is_left_out(
    backend: httpx.AsyncClient, past: Past, monkeypatch: pytest.MonkeyPatch, query: dict[str, str]
) -> None:
    monkeypatch.setattr("dispatcher.ledger.listings.PATIENCE_S", -1.0)
    ages = [1, *(days * 86_400 + 7 for days in (1, 3, 9, 10, 30))]
    for age in ages:
        await past.settle(age)
    first = (await backend.get("/v1/deliveries", params=query)).json()
    assert len(first["deliveries"]) < len(ages)
    found = await pages(backend, "/v1/deliveries", "deliveries", _nothing, **query)
    assert found == [f"cm-{age}" for age in ages]


async def _nothing() -> None:
    """Arrives between pages."""


async def test_a_window_of_time_holds_what_was_accepted_in_it(backend: httpx.AsyncClient, past: Past) -> None:
    rows = [await past.settle(number) for number in (10, 20, 30)]
    _, middle, oldest = (rfc3339(row.accepted_at) for row in rows)
    found = (await backend.get("/v1/deliveries", params={"from": oldest, "to": middle})).json()["deliveries"]
    assert [row["message_id"] for row in found] == ["cm-30"]  # `to` itself is outside
    found = (await backend.get("/v1/deliveries", params={"from": middle, "user_id": "li"})).json()["deliveries"]
    assert [row["message_id"] for row in found] == ["cm-10", "cm-20"]


async def test_a_dead_letter_is_replayed_once_under_a_new_id(backend: httpx.AsyncClient, past: Past) -> None:
    await past.settle(11)
    confirmed = await past.settle(12, End.CONFIRMED, by=Path.APNS)
    (letter,) = (await backend.get("/v1/dead-letters")).json()["dead_letters"]
    assert (letter["message_id"], letter["replayed_as"]) == ("cm-11", None)
    first = await backend.post(f"/v1/dead-letters/{letter['id']}/replay")
    again = await backend.post(f"/v1/dead-letters/{letter['id']}/replay")
    assert (first.status_code, first.json()["duplicate"], again.json()["duplicate"]) == (202, False, True)
    assert first.json()["message_id"] == again.json()["message_id"] != "cm-11"
    state = await backend.get(f"/v1/messages/{first.json()['message_id']}")
    assert [one["user_id"] for one in state.json()["deliveries"]] == ["li"]
    (letter,) = (await backend.get("/v1/dead-letters")).json()["dead_letters"]
    assert letter["replayed_as"] == first.json()["message_id"]
    key = past.core.stores.ids
    other = key.delivery_id(confirmed.ref, "im", "li")
    assert (await backend.post(f"/v1/dead-letters/{other}/replay")).status_code == 409
    assert (await backend.post(f"/v1/dead-letters/{'0' * 28}/replay")).status_code == 404
    assert (await backend.post("/v1/dead-letters/nonsense/replay")).status_code == 404


async def test_a_path_is_paused_shown_and_resumed(backend: httpx.AsyncClient, serving: Any) -> None:
    paused = await backend.post("/v1/providers/apns/pause", json={"reason": "maintenance"})
    assert (paused.json()["paused"], paused.json()["reason"]) == (True, "maintenance")
    gate = await serving.core.parts.circuits.gate("im", Path.APNS, serving.core.clock())
    assert (gate.passes, gate.reason) == (False, "paused")
    elsewhere = await serving.core.parts.circuits.gate("other", Path.APNS, serving.core.clock())
    assert elsewhere.passes
    assert (await backend.post("/v1/providers/apns/resume")).json()["paused"] is False
    assert (await backend.post("/v1/providers/pigeon/pause")).status_code == 404


async def test_a_configuration_fault_opens_and_a_probe_closes_the_circuit(
    backend: httpx.AsyncClient, serving: Any
) -> None:
    circuits, now = serving.core.parts.circuits, serving.core.clock()
    await circuits.faulted("im", Path.APNS, "InvalidProviderToken", now, probe=False)
    assert not (await circuits.gate("im", Path.APNS, now + 1_000)).passes
    shown = {one["path"]: one for one in (await backend.get("/v1/providers")).json()["providers"]}
    assert (shown["apns"]["circuit"], shown["apns"]["reason"]) == ("open", "InvalidProviderToken")
    assert shown["fcm"]["circuit"] == "closed"
    first = await circuits.gate("im", Path.APNS, now + 6_000)
    second = await circuits.gate("im", Path.APNS, now + 6_000)
    assert (first.passes, first.probe, second.passes) == (True, True, False)
    await circuits.faulted("im", Path.APNS, "InvalidProviderToken", now + 6_000, probe=True)
    assert not (await circuits.gate("im", Path.APNS, now + 15_000)).passes  # twice as long
    assert (await circuits.gate("im", Path.APNS, now + 17_000)).probe
    await circuits.proven_well("im", Path.APNS)
    assert not (await circuits.gate("im", Path.APNS, now + 17_001)).probe


async def test_books_come_from_the_shelf_where_counting_takes_long(serving: Any, backend: httpx.AsyncClient) -> None:
    books = (await backend.get("/v1/books")).json()
    assert (books["balanced"], books["fresh"]) == (True, True)
