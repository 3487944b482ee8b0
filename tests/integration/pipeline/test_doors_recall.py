"""Recall across paths, erasure of what is in flight, templates by the recipient's language, lines that close."""

from typing import Any

import msgspec
import pytest

from dispatcher.domain.clock import HOUR, MINUTE, SECOND
from dispatcher.domain.delivery import End
from dispatcher.domain.outcome import HandedOver, Outcome, RetryLater
from dispatcher.domain.paths import Path
from dispatcher.domain.requests import Accepted, DispatchRequest
from dispatcher.domain.template import Template, Texts
from dispatcher.errors import Problem
from dispatcher.ledger.upkeep import upkeep
from dispatcher.pipeline.clearing import clear_due
from dispatcher.ports.provider import Attempt
from workers.chores import archive_turn


async def clear(world: Any) -> int:
    cleared: int = await clear_due(world.stores.parts, world.stores.clearings, world.now)
    return cleared


def clearing(world: Any) -> list[tuple[Path, str | None]]:
    return [(sent.path, sent.attempt.device_id) for sent in world.sent if sent.attempt.clear]


async def frames(world: Any) -> list[tuple[str, str]]:
    bus = world.stores.parts.bus
    return [(frame.kind, frame.device_id) for frame in await bus.receive("n1", limit=100, block_s=0.05)]


async def test_a_recall_takes_back_what_it_can_on_every_path(world: Any) -> None:
    await world.app()
    await world.user("li", "d1", "d2")
    await world.dispatch("cm1", "li")
    await world.advance(16 * SECOND)  # both pushes went, then the SMS
    await world.connect("li", "d1")
    await world.marked()
    assert world.paths() == ["apns", "apns", "sms"]
    recalled = await world.core.recall("im", "cm1")
    assert (recalled.deliveries, recalled.pending, recalled.sms_sent) == (1, 1, ("li",))
    assert await frames(world) == [("recall", "d1")]
    assert await world.stores.parts.inboxes.newest("im", "li", before=None, limit=5) == []
    assert await clear(world) == 2
    assert sorted(clearing(world)) == [(Path.APNS, "d1"), (Path.APNS, "d2")]
    assert await clear(world) == 0
    state = await world.state("cm1")
    assert (state["state"], state["deliveries"][0]["sms"]["state"]) == ("recalled", "sent")
    await world.advance(HOUR)
    assert len(world.sent) == 5


async def test_what_is_being_sent_at_the_moment_of_a_recall_is_cleared_once_it_left(world: Any) -> None:
    await world.app("{path: push, wait: 10s}")
    await world.user("li", "d1")

    async def recalled_meanwhile(attempt: Attempt) -> Outcome:
        if not attempt.clear:
            await world.marked()
            await world.core.recall("im", "cm1")
            await clear(world)  # too early: nothing is known of the attempt yet
        return HandedOver("x")

    world.providers[Path.APNS].answer = recalled_meanwhile
    await world.dispatch("cm1", "li")
    await world.work()
    assert clearing(world) == []
    world.now += 5 * SECOND
    assert await clear(world) == 1
    assert clearing(world) == [(Path.APNS, "d1")]


async def test_a_clearing_push_that_must_wait_is_sent_again(world: Any) -> None:
    await world.app("{path: push, wait: 10s}")
    await world.user("li", "d1")
    await world.dispatch("cm1", "li")
    await world.work()
    await world.marked()
    await world.core.recall("im", "cm1")
    world.providers[Path.APNS].answer = lambda attempt: RetryLater("busy")
    assert await clear(world) == 0
    world.providers[Path.APNS].answer = lambda attempt: HandedOver("x")
    assert await clear(world) == 0  # not due yet
    world.now += MINUTE
    assert await clear(world) == 1


async def test_an_archived_message_is_recalled_in_the_ledger_and_who_confirmed_it_stays(world: Any) -> None:
    await world.app("{path: push, wait: 10s}")
    await world.user("li", "d1")
    await world.dispatch("cm1", "li")
    await world.work()
    await world.receipt("cm1", "li", "d1", via=Path.APNS)
    await world.archive()
    await world.marked()
    recalled = await world.core.recall("im", "cm1")
    assert recalled.pending == 0
    (row,) = (await world.state("cm1"))["deliveries"]
    assert (row["state"], row["confirmed_by"], row["proof"]) == ("recalled", "apns", "delivered")
    history = await world.stores.deliveries.history(
        "im", "li", before=None, after_time=0, before_time=world.now + HOUR, limit=5
    )
    assert history == []
    assert await clear(world) == 1


async def test_an_erased_user_leaves_nothing_in_flight_and_nothing_behind(world: Any) -> None:
    await world.app()
    await world.user("li", "d1")
    await world.user("mo", "d2")
    await world.connect("li", "d1")
    secret = "the secret of li"
    await world.dispatch("alone", "li", notification={"title": secret})
    await world.dispatch("both", "li", "mo")
    await world.dispatch("later", "li", "mo", not_before=world.now + HOUR)
    await world.plan()
    await world.marked()
    assert await world.core.erase_user("im", "li", "key:t", world.now)
    assert await frames(world) == [("moved", "d1")]
    assert (await world.hot_state("alone")).end is End.RECALLED
    ref = await world.ref("alone")
    contents = await world.stores.parts.homes.contents(ref.home, None)
    assert secret not in repr(msgspec.to_builtins(dict(contents.messages)))
    await world.work()
    assert {sent.attempt.user_id for sent in world.sent} <= {"mo"}
    await archive_turn(world.stores)
    world.now += HOUR + SECOND
    await world.reconcile()
    await world.advance(HOUR)
    await archive_turn(world.stores)
    await upkeep(world.stores.engine, world.now)
    assert {sent.attempt.user_id for sent in world.sent} == {"mo"}
    async with world.stores.engine.connect() as connection:
        from sqlalchemy import text

        rows = await connection.execute(text("SELECT user_id, body FROM deliveries"))
        found = [(row.user_id, bytes(row.body)) for row in rows]
        journal = b"".join(bytes(row.entry) for row in await connection.execute(text("SELECT entry FROM journal")))
    assert "li" not in {user for user, _ in found}
    assert all(secret.encode() not in body for _, body in found)
    assert b"d1" not in journal.replace(b"d1-", b"")
    assert (await world.books())["balanced"]
    assert not await world.core.erase_user("im", "nobody", "key:t", world.now)


async def test_a_logged_out_devices_line_closes(world: Any) -> None:
    await world.app()
    await world.user("li", "d1", "d2")
    await world.connect("li", "d1")
    await world.connect("li", "d2", session="s2")
    binding = await world.stores.directory.remove_device("im", "d1", world.now)
    await world.core.rebound("im", "d1", binding)
    assert await frames(world) == [("moved", "d1")]


TEMPLATE = Template(
    name="greet",
    texts={
        "en": Texts(title="Hi {name}", body="You owe {amount}", sms="Owe {amount}"),
        "zh": Texts(title="你好 {name}"),
        "zh-Hant": Texts(title="妳好 {name}", sms="{{x}} {name}"),
    },
    default_locale="en",
    etag="e",
)


async def test_each_recipient_reads_a_template_in_their_language(world: Any) -> None:
    await world.app("{path: push, wait: 10s}", "{path: sms, wait: 1m}")
    await world.stores.templates.put("im", TEMPLATE)
    for user, locale in (("tw", "zh-Hant-TW"), ("cn", "zh-CN"), ("fr", "fr"), ("none", None)):
        await world.user(user, f"d-{user}", locale=locale)
    params = {"name": "{amount}", "amount": 3}
    users = ["tw", "cn", "fr", "none"]
    plain = await world.dispatch("cm0", "tw")
    assert plain.recipients == 1
    await world.dispatch("cm1", *users, notification={"badge": 2}, template="greet", params=params)
    await world.stores.templates.delete("im", "greet", by="t", now=world.now)
    world.now += 2 * SECOND
    again = await world.dispatch("cm1", *users, notification={"badge": 2}, template="greet", params=params)
    assert again.duplicate
    await world.work()
    titles = {
        sent.attempt.user_id: sent.attempt.message.notification
        for sent in world.sent
        if sent.attempt.message.message_id == "cm1"
    }
    assert titles == {
        "tw": {"title": "妳好 {amount}", "badge": 2},
        "cn": {"title": "你好 {amount}", "badge": 2},
        "fr": {"title": "Hi {amount}", "body": "You owe 3", "badge": 2},
        "none": {"title": "Hi {amount}", "body": "You owe 3", "badge": 2},
    }
    await world.advance(15 * SECOND)
    texts = {sent.attempt.user_id: sent.attempt.text for sent in world.sent if sent.path is Path.SMS}
    assert (texts["tw"], texts["fr"]) == ("{x} {amount}", "Owe 3")
    (entry,) = [
        one for one in await world.stores.parts.inboxes.newest("im", "cn", before=None, limit=5) if b'"cm1"' in one.body
    ]
    assert "你好".encode() in entry.body
    await world.lose_hot_store()
    await world.reconcile()
    (entry,) = await world.stores.parts.inboxes.newest("im", "cn", before=None, limit=5)
    assert "你好".encode() in entry.body


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"template": "nope"}, "template"),
        ({"template": "greet", "params": {"name": "x"}}, "params.amount"),
        ({"template": "greet", "params": {"name": ["x"], "amount": 1}}, "params.name"),
        ({"template": "greet", "params": {"name": "x" * 4_000, "amount": 1}}, "template"),
    ],
)
async def test_templates_that_cannot_be_filled_in_are_refused_at_dispatch(
    world: Any, values: dict[str, Any], field: str
) -> None:
    await world.app()
    await world.stores.templates.put("im", TEMPLATE)
    request = DispatchRequest(message_id="cm1", user_ids=("li",), **values)
    good = world.request("cm2", "li")
    refused, accepted = await world.core.accept("im", [request, good], world.now)
    assert isinstance(refused, Problem)
    assert [error.field for error in refused.errors] == [field]
    assert isinstance(accepted, Accepted)
    with pytest.raises(Problem):
        await world.core.dry_run("im", request)


async def test_thousands_that_share_a_moment_are_released_in_it(world: Any) -> None:
    await world.app("{path: poll, wait: 10s}")
    due = world.now + HOUR
    requests = [world.request(f"cm{number}", f"u{number}", not_before=due) for number in range(2_000)]
    await world.core.accept("im", requests[:1_500], world.now)
    for request in requests[1_500:1_560]:  # homes of their own
        await world.core.accept("im", [request], world.now)
    world.now = due
    await world.reconcile()
    for user in ("u0", "u1499", "u1559"):
        assert len(await world.stores.parts.inboxes.newest("im", user, before=None, limit=5)) == 1
