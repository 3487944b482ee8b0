"""One master secret follows another: nothing that was made before ends, and nothing that is made after needs it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from dispatcher.core import AppCore
from dispatcher.domain.clock import DAY, HOUR, MINUTE, SECOND, rfc3339
from dispatcher.domain.delivery import Proof
from dispatcher.domain.device_token import BadToken, DeviceIdentity
from dispatcher.domain.ids import InboxCursor, read_cursor, write_cursor
from dispatcher.domain.outcome import Unknown
from dispatcher.domain.paths import Path
from dispatcher.domain.requests import InboxQuery
from dispatcher.domain.webhook import StatusEvent
from dispatcher.ports.operations import Role
from dispatcher.ports.webhooks import Waiting
from dispatcher.secret import Secret
from dispatcher.webhooks.signing import sealed_for
from workers.resealing import reseal_all

OLD, NEW = "s" * 40, "n" * 40
AHEAD = 10 * MINUTE


@dataclass
class Rotated:
    """The same installation, its processes restarted with the new secret, which takes over at *at*."""

    stores: Any
    core: AppCore
    at: int

    def __post_init__(self) -> None:
        self.parts = self.stores.parts


@pytest.fixture(params=["by the clock", "no time written down"])
async def rotate(world: Any, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    made: list[Rotated] = []
    first = world.core

    async def run(*, earlier: bool = True) -> Rotated:
        at = world.now + AHEAD
        kept = f"{OLD}@{rfc3339(at)}" if request.param == "by the clock" else OLD
        world.settings = msgspec.structs.replace(
            world.settings, secret_key=Secret(NEW), previous_secret_keys=(Secret(kept),) if earlier else ()
        )
        stores = await world.another_process()
        made.append(Rotated(stores, AppCore(stores), at))
        return made[-1]

    yield run
    for one in made:
        await one.core.close()
    world.core = first


async def switch(world: Any, after: Rotated, *, late: int = 1) -> None:
    """All processes run with the new secret, and its time has come."""
    world.stores, world.core = after.stores, after.core
    world.drains = world.worker(after.stores)
    world.now = max(after.at + late, world.now)


async def test_device_tokens_of_before_are_good_until_they_end(world: Any, rotate: Any) -> None:
    identity = DeviceIdentity(app="im", user_id="li", device_id="d1", epoch=1, expires_at=world.now + DAY)
    token = world.stores.tokens.mint(identity, world.now)
    after = await rotate()
    assert after.stores.tokens.read(token, after.at + HOUR) == identity
    fresh = after.stores.tokens.mint(msgspec.structs.replace(identity, expires_at=after.at + DAY), after.at + 1)
    with pytest.raises(BadToken):
        world.stores.tokens.read(fresh, after.at + 1)  # made with the new secret only


async def test_what_was_dispatched_before_is_proven_after_under_its_own_ids(world: Any, rotate: Any) -> None:
    await world.app()
    await world.user("li", "d1")
    await world.dispatch("cm1", "li", ttl_ms=DAY)
    await world.work()
    sent = world.sent[-1].attempt
    await switch(world, await rotate())
    counts = await world.receipt("", "li", "d1", delivery_id=sent.delivery_id, attempt_id=sent.attempt_id)
    assert counts.accepted == 1
    state = await world.state("cm1")
    assert state["deliveries"][0]["delivery_id"] == sent.delivery_id, "one id for life"
    left = await world.stores.parts.inboxes.catch_up(
        "im", "li", device_id="d1", session=None, after=None, limit=10, now=world.now
    )
    assert list(left.entries) == [], "what is proven is replayed to nobody"


async def test_a_text_whose_answer_was_lost_is_looked_up_under_the_id_it_left_with(world: Any, rotate: Any) -> None:
    world.providers[Path.SMS].answer = lambda _: Unknown("timeout")
    await world.app("{path: sms, wait: 1m}")
    await world.user("li")
    await world.dispatch("cm1", "li", ttl_ms=DAY)
    await world.work()
    first = world.sent[-1].attempt.attempt_id
    await switch(world, await rotate())
    world.providers[Path.SMS].answer = lambda _: Unknown("timeout")
    await world.advance(3 * MINUTE)
    assert {sent.attempt.attempt_id for sent in world.sent} == {first}
    await world.core.receiver.carrier_status(first, "delivered", proof=True, failed=False, now=world.now)
    assert (await world.state("cm1"))["deliveries"][0]["confirmed_by"] == "sms"


async def test_a_recall_after_it_takes_the_entry_of_before(world: Any, rotate: Any) -> None:
    await world.app()
    await world.user("li", "d1")
    await world.dispatch("cm1", "li", ttl_ms=DAY)
    await world.work()
    await switch(world, await rotate())
    await world.core.recall("im", "cm1")
    assert list(await world.stores.parts.inboxes.newest("im", "li", before=None, limit=10)) == []


async def test_cursors_of_before_are_read_after(world: Any, rotate: Any) -> None:
    text = write_cursor(world.stores.ids, InboxCursor(1, 7), "im", "li")
    after = await rotate()
    assert read_cursor(after.stores.ids, text, "im", "li") == InboxCursor(1, 7)
    await world.app()
    answer = await after.core.pull("im", "li", "d1", InboxQuery(after=text))
    assert b'"messages":[]' in answer


@pytest.mark.parametrize("rotate", ["by the clock"], indirect=True)
async def test_processes_restarted_one_by_one_understand_each_other(world: Any, rotate: Any) -> None:
    """Before its time the new secret writes nothing that an old process could not read."""
    after = await rotate()
    identity = DeviceIdentity(app="im", user_id="li", device_id="d1", epoch=1, expires_at=world.now + HOUR)
    assert world.stores.tokens.read(after.stores.tokens.mint(identity, world.now), world.now) == identity
    assert world.stores.sealer.open(after.stores.sealer.seal(b"number")) == b"number"
    assert after.stores.ids.user_tag("im", "li") == world.stores.ids.user_tag("im", "li")
    await world.app()
    await world.user("li", "d1")
    await world.dispatch("cm1", "li")
    ref = await world.ref("cm1")
    assert after.stores.ids.delivery_id(ref, "im", "li") == world.stores.ids.delivery_id(ref, "im", "li")


async def test_everything_sealed_goes_over_and_the_old_secret_can_be_dropped(world: Any, rotate: Any) -> None:
    await world.app()
    await world.user("li", "d1")
    seal = world.stores.sealer
    await world.stores.apps.set_credentials("im", Path.SMS, seal.seal(b'{"auth_token": "t"}'), world.now)
    sealed = seal.seal(b"whsec_" + b"QUFB" * 8, sealed_for("im"))
    await world.stores.webhooks.register("im", "wh_1", "https://h.example/", list(StatusEvent), sealed, world.now)
    await world.stores.parts.profiles.get("im", ["li"])  # a hot copy, sealed with the old secret
    after = await rotate()
    await switch(world, after)
    looked = await reseal_all(after.stores, write=False)
    assert {kind: tally.earlier for kind, tally in looked.items()} == {"credentials": 1, "webhooks": 1, "numbers": 1}
    first, again = await reseal_all(after.stores), await reseal_all(after.stores)
    assert {tally.earlier for tally in first.values()} == {1}
    assert {tally.earlier for tally in again.values()} == {0}
    alone = await rotate(earlier=False)
    opened = alone.stores.sealer
    profile = (await alone.parts.profiles.get("im", ["li"]))["li"]
    assert opened.open(profile.phone).startswith(b"+86138")
    assert opened.open(await alone.stores.apps.credentials("im", Path.SMS)) == b'{"auth_token": "t"}'
    await alone.stores.webhooks.enqueue([Waiting(webhook_id="wh_1", app="im", count=1, events=b"{}")], world.now)
    (endpoint,) = await alone.stores.webhooks.claim(world.now, lease_ms=SECOND, limit=5)
    assert opened.open(endpoint.secret, sealed_for("im")).startswith(b"whsec_")


async def test_what_no_secret_opens_is_named_and_stops_nothing(world: Any, rotate: Any) -> None:
    await world.app()
    await world.app(app="other")
    await world.stores.apps.set_credentials("im", Path.SMS, b"\x00" * 40, world.now)
    await world.stores.apps.set_credentials("other", Path.SMS, world.stores.sealer.seal(b"{}"), world.now)
    after = await rotate()
    await switch(world, after)
    tally = (await reseal_all(after.stores))["credentials"]
    assert (tally.read, tally.earlier, tally.broken) == (2, 1, ["im/sms"])


async def test_sessions_and_api_keys_hang_on_no_master_secret(world: Any, rotate: Any) -> None:
    await world.app()
    _, key = await world.stores.apps.create_key("im", "backend", ["send"], world.now)
    operators = world.stores.desk.operators
    await operators.put_operator("ada", Role.ADMIN, None, "hash", world.now)
    _, token = await operators.open_session("ada", world.now, world.now + HOUR)
    after = await rotate(earlier=False)
    found = await after.stores.apps.key_by_secret(key)
    assert found is not None
    assert found.name == "backend"
    session = await after.stores.desk.operators.session_by_token(token, world.now)
    assert session is not None
    assert session.operator.login == "ada"


async def test_proof_after_the_archive_is_taken_with_the_id_of_before(world: Any, rotate: Any) -> None:
    await world.app()
    await world.user("li", "d1")
    await world.dispatch("cm1", "li")
    await world.work()
    sent = world.sent[-1].attempt
    await world.receipt("cm1", "li", "d1")
    await world.archive()
    await switch(world, await rotate())
    counts = await world.receipt("", "li", "d1", delivery_id=sent.delivery_id, event=Proof.OPENED)
    assert counts.accepted == 1
