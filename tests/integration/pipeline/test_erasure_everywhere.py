"""An erased user is searched for in every key of the hot store and every row of the ledger."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import text

from dispatcher.domain.clock import DAY, HOUR, MINUTE, SECOND
from dispatcher.domain.outcome import HandedOver, Outcome
from dispatcher.domain.paths import Path
from dispatcher.domain.webhook import StatusEvent
from dispatcher.ledger.upkeep import upkeep
from dispatcher.ports.directory import AuditEntry
from dispatcher.ports.provider import Attempt
from strategies.learn import Pin
from workers.chores import archive_turn

#: Part of the user's id and of all that is named after them.
NEEDLE = "9d3fzq"
LI, PHONE, MO = f"li-{NEEDLE}", f"phone-{NEEDLE}", "mo"


async def hot_places(world: Any) -> AsyncIterator[tuple[str, bytes]]:
    """Every key with everything in it."""
    client = world.stores.hot.client
    async for key in client.scan_iter(count=1_000):
        kind = (await client.type(key)).decode()
        match kind:
            case "string":
                content = await client.get(key) or b""
            case "hash":
                content = b"|".join(part for pair in (await client.hgetall(key)).items() for part in pair)
            case "list":
                content = b"|".join(await client.lrange(key, 0, -1))
            case "set":
                content = b"|".join(await client.smembers(key))
            case "zset":
                content = b"|".join(await client.zrange(key, 0, -1))
            case "stream":
                rows = await client.xrange(key)
                content = b"|".join(part for _, fields in rows for pair in fields.items() for part in pair)
            case _:
                raise AssertionError(f"{key!r} is a {kind}")
        yield key.decode(errors="replace"), key + b"|" + content


async def ledger_places(world: Any) -> AsyncIterator[tuple[str, bytes]]:
    """Every column of every row; partitions through their table."""
    tables = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1
    """
    async with world.stores.engine.connect() as connection:
        for (table,) in (await connection.execute(text(tables))).all():
            for row in (await connection.execute(text(f'SELECT * FROM "{table}"'))).all():  # noqa: S608
                for column, value in row._mapping.items():
                    read = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                    yield f"{table}.{column}", read


async def found(world: Any, needles: tuple[bytes, ...]) -> set[str]:
    """Where any of *needles* stands; of a shard's keys only which kind."""
    places: set[str] = set()
    for source in (hot_places(world), ledger_places(world)):
        async for place, content in source:
            if any(needle in content for needle in needles):
                kind = re.sub(r"^pp:\{s\d+\}:(\w+).*", r"pp:{shard}\1", place, flags=re.DOTALL)
                places.add(kind.replace(NEEDLE, "*"))
    return places


#: The frame that closes their line: gone when the gateway reads it, after two minutes at the latest.
CLOSING = "pp:bus:n1"
#: That they were erased, so that what was being written at that moment is erased again: for two days.
REMEMBERED = "erasures.user_id"
#: Journal entries on their way into the ledger, where they arrive without devices: for seconds.
JOURNAL = "pp:{shard}j"


async def crowded(world: Any) -> tuple[bytes, ...]:
    """A world that knows Li in every way there is; what to search for."""
    await world.app()
    await world.user(LI, PHONE)
    await world.user(MO, "d2")
    seal, stores = world.stores.sealer, world.stores
    profile = (await stores.directory.profiles("im", [LI]))[LI]
    number = seal.open(profile.phone).decode()
    sealed = seal.seal(b"whsec_" + b"0" * 32)
    await stores.webhooks.register("im", "wh_im", "https://h.example/", list(StatusEvent), sealed, world.now)
    await stores.strategies.pin("im", f"d:apns:{PHONE}", Pin(p95_s=30.0), by="ops", now=world.now)
    unmasked = AuditEntry(at=world.now, who="ada", action="unmask.device", subject=PHONE, detail={})
    await stores.audit.record("im", unmasked)
    await world.connect(LI, PHONE)
    await world.dispatch("settled", LI)
    await world.dispatch("settled-both", LI, MO)
    await world.work()
    await world.receipt("settled", LI, PHONE)
    await world.receipt("settled-both", LI, PHONE)
    await world.advance(20 * SECOND)
    await world.receipt("settled-both", MO, "d2")
    await archive_turn(stores)
    await world.dispatch("exhausted", LI)
    await world.advance(10 * MINUTE)
    await archive_turn(stores)
    dead = (await world.state("exhausted"))["deliveries"][0]["delivery_id"]
    await world.core.operations.replay("im", dead, "ada", world.now)
    await stores.parts.learning.archive(world.now)
    await world.dispatch("open", LI)
    await world.dispatch("open-both", LI, MO)
    await world.work()
    await world.advance(6 * SECOND)
    await world.receipt("open-both", LI, PHONE)  # settled, not archived yet
    await world.dispatch("fresh-both", LI, MO)
    await world.dispatch("named", MO, device_ids=(PHONE,))
    await world.dispatch("later", LI, not_before=world.now + HOUR)
    await world.dispatch("later-both", LI, MO, not_before=world.now + HOUR)
    await world.dispatch("code", LI, klass="otp")
    await world.marked()
    return (NEEDLE.encode(), number.encode(), seal.number_hash(number))


async def turn(world: Any) -> None:
    """What runs every second, and the upkeep."""
    await archive_turn(world.stores)
    await upkeep(world.stores.engine, world.now)


async def test_an_erased_user_stands_nowhere_but_where_it_says_why(world: Any) -> None:
    needles = await crowded(world)
    before = await found(world, needles)
    known = ("messages.user_ids", "deliveries.user_id", "webhook_queue.events", "learned.key", "learning_pins.key")
    assert {*known, "sms_reservations.user_id", "audit.subject", "journal.entry", "pp:{shard}h", JOURNAL} <= before
    assert await world.core.erase_user("im", LI, "key:t", world.now)
    assert await found(world, needles) <= {CLOSING, JOURNAL, REMEMBERED}
    await world.work()
    await turn(world)
    assert await found(world, needles) == {CLOSING, REMEMBERED}
    for wait in (3 * MINUTE, HOUR, DAY):
        await world.advance(wait)
        await world.reconcile()
        await world.advance(MINUTE)
        await turn(world)
        assert await found(world, needles) == {CLOSING, REMEMBERED}, "what was scheduled names nobody when it comes due"
    assert await world.stores.hot.client.ttl("pp:bus:n1") <= 120
    world.now += 2 * DAY
    await turn(world)
    assert await found(world, needles) == {CLOSING}, "this clock stands beside the one of the hot store"


async def test_the_audit_says_who_erased_somebody_and_only_who_knows_the_id_whom(world: Any) -> None:
    await crowded(world)
    await world.core.erase_user("im", LI, "key:t", world.now)
    name = world.stores.sealer.erased_name("im", LI)
    entries = [entry for _, entry in await world.stores.audit.entries("im", before=None, limit=20)]
    assert (entries[0].action, entries[0].who, entries[0].subject) == ("user.erase", "key:t", name)
    assert {"user.update", "unmask.device", "learning.pin"} <= {one.action for one in entries if one.subject == name}
    assert [one.subject for one in entries if one.action == "user.update"].count(MO) == 1


async def test_who_shares_a_message_with_an_erased_user_gets_it_all_the_same(world: Any) -> None:
    await crowded(world)
    await world.core.erase_user("im", LI, "key:t", world.now)
    world.sent.clear()
    await world.advance(HOUR + SECOND)
    await world.reconcile()
    await world.advance(HOUR)
    assert {sent.attempt.user_id for sent in world.sent} == {MO}
    assert {sent.attempt.message.message_id for sent in world.sent} >= {"fresh-both", "later-both"}
    for message_id in ("open-both", "later-both", "fresh-both"):
        rows = (await world.state(message_id))["deliveries"]
        assert [row["user_id"] for row in rows] == ["", MO]
    await archive_turn(world.stores)
    assert (await world.books())["balanced"]
    recalled = await world.core.recall("im", "later-both")
    assert recalled.deliveries == 2


async def test_a_rebuilt_hot_store_does_not_bring_an_erased_user_back(world: Any) -> None:
    needles = await crowded(world)
    await world.core.erase_user("im", LI, "key:t", world.now)
    await world.lose_hot_store()
    world.sent.clear()
    await world.reconcile()
    await world.advance(HOUR)
    await turn(world)
    assert await found(world, needles) == {REMEMBERED}
    assert {sent.attempt.user_id for sent in world.sent} == {MO}
    assert (await world.books())["balanced"]


async def test_two_who_are_erased_at_once_are_both_gone_from_what_they_shared(world: Any) -> None:
    needles = await crowded(world)
    erased = await asyncio.gather(*(world.core.erase_user("im", user_id, "key:t", world.now) for user_id in (LI, MO)))
    assert all(erased)
    assert await found(world, needles) <= {CLOSING, JOURNAL, REMEMBERED}
    assert [row["user_id"] for row in (await world.state("open-both"))["deliveries"]] == ["", ""]
    ref = await world.ref("open-both")
    contents = await world.stores.parts.homes.contents(ref.home, None)
    mine = contents.messages[contents.recipients[ref.place].message]
    assert (mine.notification, mine.body) == (None, b""), "nobody is left to read it"


async def test_what_was_being_planned_while_its_user_was_erased_is_archived_without_them(world: Any) -> None:
    await world.app()
    await world.user(LI, PHONE)
    await world.user(MO, "d2")
    await world.dispatch("both", LI, MO)
    await world.marked()

    async def erased_meanwhile(attempt: Attempt) -> Outcome:
        await world.core.erase_user("im", LI, "key:t", world.now)
        return HandedOver("x")

    world.providers[Path.APNS].answer = erased_meanwhile
    await world.advance(6 * SECOND)
    await world.advance(HOUR)
    await turn(world)
    assert await found(world, (NEEDLE.encode(),)) == {REMEMBERED}
