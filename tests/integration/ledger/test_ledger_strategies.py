"""Strategies: drafts behind ETags, versions that add up, a revision that tells every worker."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.ledger.apps import SqlApps
from dispatcher.ledger.audit import SqlAudit
from dispatcher.ledger.strategies import SqlStrategyStore
from dispatcher.ports.directory import App, AuditEntry, MissingPrecondition, NoDraft, StaleDraft

NOW = 1_800_000_000_000


@pytest.fixture
async def store(engine: AsyncEngine) -> SqlStrategyStore:
    await SqlApps(engine).create_app(App(app_id="im", name="IM"), NOW, strategy="first")
    return SqlStrategyStore(engine)


async def put(store: SqlStrategyStore, document: str, if_match: str | None, name: str = "default") -> str:
    return (await store.put_draft("im", name, document, if_match=if_match, by="ops", now=NOW)).etag


async def live(store: SqlStrategyStore) -> list[tuple[str, int | None, str, str]]:
    return [(one.name, one.version, one.state, one.document) for one in await store.published("im")]


async def test_a_draft_is_replaced_only_by_who_has_seen_it(store: SqlStrategyStore) -> None:
    (published,) = await store.published("im")
    with pytest.raises(MissingPrecondition):
        await put(store, "second", None)
    with pytest.raises(StaleDraft):
        await put(store, "second", "other")
    etag = await put(store, "second", published.etag)
    with pytest.raises(StaleDraft):
        await put(store, "third", published.etag)
    with pytest.raises(MissingPrecondition):
        await put(store, "third", None)
    await put(store, "third", etag)
    await put(store, "fourth", "*")
    draft = await store.draft("im", "default")
    assert draft is not None
    assert (draft.document, draft.version, draft.state) == ("fourth", None, "draft")


async def test_a_new_name_needs_no_precondition_and_only_one_of_two_wins(store: SqlStrategyStore) -> None:
    with pytest.raises(StaleDraft):
        await put(store, "x", "anything", name="chat")
    results = await asyncio.gather(
        *(put(store, f"document {number}", None, name="chat") for number in range(8)), return_exceptions=True
    )
    assert sum(isinstance(one, str) for one in results) == 1
    assert sum(isinstance(one, MissingPrecondition) for one in results) == 7


async def test_publishing_turns_the_draft_into_the_next_version(store: SqlStrategyStore) -> None:
    with pytest.raises(NoDraft):
        await store.publish("im", "default", percent=100, by="ops", now=NOW)
    before = await store.revision()
    await put(store, "second", "*")
    assert await store.revision() == before
    made = await store.publish("im", "default", percent=100, by="ops", now=NOW + 1)
    assert (made.version, made.state, made.published_at, made.by) == (2, "live", NOW + 1, "ops")
    assert await store.draft("im", "default") is None
    assert await live(store) == [("default", 2, "live", "second")]
    assert await store.revision() > before
    assert [(one.version, one.state) for one in await store.versions("im", "default")] == [(2, "live"), (1, "retired")]


async def test_a_partial_version_stands_beside_the_live_one_until_either_wins(store: SqlStrategyStore) -> None:
    for document, percent in (("second", 5), ("third", 50)):
        await put(store, document, "*")
        await store.publish("im", "default", percent=percent, by="ops", now=NOW)
    assert await live(store) == [("default", 1, "live", "first"), ("default", 3, "partial", "third")]
    rolled = await store.rollback("im", "default", 1, by="ops", now=NOW)
    assert rolled.version == 4
    assert await live(store) == [("default", 4, "live", "first")]
    with pytest.raises(KeyError):
        await store.rollback("im", "default", 99, by="ops", now=NOW)
    with pytest.raises(KeyError):
        await store.rollback("im", "default", 2**40, by="ops", now=NOW)


async def test_a_deleted_strategy_leaves_the_live_set_and_stays_readable(store: SqlStrategyStore) -> None:
    await put(store, "chat", None, name="chat")
    await store.publish("im", "chat", percent=100, by="ops", now=NOW)
    before = await store.revision()
    assert await store.delete("im", "chat", by="ops", now=NOW)
    assert not await store.delete("im", "chat", by="ops", now=NOW)
    assert await store.revision() == before + 1
    assert await live(store) == [("default", 1, "live", "first")]
    version = await store.version("im", "chat", 1)
    assert version is not None
    assert version.document == "chat"
    with pytest.raises(ValueError, match="default"):
        await store.delete("im", "default", by="ops", now=NOW)


async def test_every_change_leaves_its_entry(store: SqlStrategyStore, engine: AsyncEngine) -> None:
    await put(store, "second", "*")
    await store.publish("im", "default", percent=10, by="ops", now=NOW)
    await store.rollback("im", "default", 1, by="ops", now=NOW)
    await put(store, "x", None, name="chat")
    await store.delete("im", "chat", by="ops", now=NOW)
    audit = SqlAudit(engine)
    await audit.record("other", AuditEntry(at=NOW, who="x", action="y", subject="z", detail={"n": [1]}))
    newest = await audit.entries("im", before=None, limit=3)
    older = await audit.entries("im", before=newest[-1][0], limit=10)
    assert [entry.action for _, entry in [*newest, *older]] == [
        "strategy.delete",
        "strategy.draft",
        "strategy.rollback",
        "strategy.publish",
        "strategy.draft",
    ]
    assert older[0][1].detail == {"version": 2, "percent": 10}
    assert {entry.who for _, entry in newest} == {"ops"}
