"""Archiving: journal and settled deliveries to the ledger in bulk, hot keys dropped. Every step may be repeated."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol

import msgspec

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.delivery import DeliveryState, End
from dispatcher.domain.ids import NOBODY, DeliveryRef
from dispatcher.domain.journal import read_entry, without_devices, write_entry
from dispatcher.domain.paths import Path
from dispatcher.domain.plan import DeliveryPlan, rung_of
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.teach import Budget, teach
from dispatcher.pipeline.turns import ladder_of
from dispatcher.ports.homes import Contents
from dispatcher.ports.messages import SettledDelivery

BATCH = 1_000
_json = msgspec.json.Encoder().encode


class Watcher(Protocol):
    """Hears of everything before it leaves the hot store: webhooks are derived from it. Told again after a failure."""

    async def entries(self, entries: Sequence[tuple[int, bytes]], now: Millis) -> None:
        """Journal entries as (home, entry)."""

    async def settled(self, rows: Sequence[SettledDelivery], now: Millis) -> None: ...


async def archive_shard(
    shard: int, parts: Parts, now: Millis, lessons: Budget | None = None, watcher: Watcher | None = None
) -> int:
    """Moves what one shard has waiting; answers how many deliveries and journal entries that were.

    *lessons*: how many of them may teach about their devices' paths; None: none.
    """
    moved = 0
    forgotten = await parts.homes.forgotten(shard)
    while entries := await parts.homes.take_journal(shard, BATCH):
        if watcher is not None:
            await watcher.entries(entries, now)
        kept = [(home, _without(entry, forgotten.get(home))) for home, entry in entries]
        await parts.deliveries.append_journal([(home, hash_of(home, entry), entry) for home, entry in kept])
        await parts.homes.trim_journal(shard, entries)
        moved += len(entries)
        if len(entries) < BATCH:
            break
    while True:
        taken = await parts.homes.take_settled(shard, BATCH)
        if not taken.entries:
            return moved
        rows = await _rows(taken.refs, parts, now)
        settled = {row.ref: (row.end, row.proof) for row in rows}
        if rows:
            if watcher is not None:
                await watcher.settled(rows, now)
            await parts.deliveries.archive(rows, [])
            await _leave_inboxes(rows, parts)
            _count(rows, parts)
        emptied = await parts.homes.archived(shard, taken, settled)
        if emptied:
            await parts.deliveries.close_homes(emptied, now)
        if lessons is not None:
            await teach(rows, parts, lessons, now)
        moved += len(rows)


def _without(entry: bytes, places: frozenset[int] | None) -> bytes:
    """An entry on its way into the ledger, without the devices of users who were erased meanwhile."""
    return entry if not places else write_entry(without_devices(read_entry(entry), places))


async def _leave_inboxes(rows: Sequence[SettledDelivery], parts: Parts) -> None:
    """What is worth nothing after its ttl (a call, a code) is not shown to a phone that comes back later."""
    for row in rows:
        if row.user_id and row.end is End.EXPIRED and parts.rules.retention(row.klass) is None:
            await parts.inboxes.remove(row.app, row.user_id, [parts.ids.delivery_id(row.ref, row.app, row.user_id)])


def hash_of(home: int, entry: bytes) -> int:
    """A number that makes a journal row unique, so that appending it twice changes nothing."""

    return int.from_bytes(blake2b(entry, digest_size=7, key=home.to_bytes(8, "big")).digest(), "big")


async def _rows(refs: Sequence[DeliveryRef], parts: Parts, now: Millis) -> list[SettledDelivery]:
    by_home: dict[int, list[int]] = defaultdict(list)
    for ref in refs:
        by_home[ref.home].append(ref.place)
    rows = []
    for home, places in by_home.items():
        contents = await parts.homes.contents(home, places)
        if contents is None:
            continue
        states = await parts.homes.states(home, places)
        for place in places:
            state = states.get(place)
            if state is not None and state.end is not End.OPEN and not state.archived and place in contents.recipients:
                rows.append(_row(DeliveryRef(home, place), state, contents, parts, now))
    return rows


def _row(ref: DeliveryRef, state: DeliveryState, contents: Contents, parts: Parts, now: Millis) -> SettledDelivery:
    recipient = contents.recipients[ref.place]
    message = contents.messages[recipient.message]
    plan = contents.plans.get(ref.place)
    ladder = ladder_of(plan.ladders[plan.tracks[0].ladder]) if plan and plan.tracks else None
    known = recipient.user_id != NOBODY
    if plan is not None and not known:  # written by a planner that was at work when they were erased
        plan = plan.without_devices()
    keeps = known and state.end is not End.RECALLED and parts.rules.retention(message.klass) is not None
    return SettledDelivery(
        ref=ref,
        app=contents.app,
        user_id=recipient.user_id,
        message_id=message.message_id,
        klass=message.klass,
        seq=recipient.seq,
        end=state.end,
        proof=state.proof,
        confirmed_by=state.confirmed_by,
        confirmed_at=state.confirmed_at,
        accepted_at=message.accepted_at,
        settled_at=state.confirmed_at if state.end is End.CONFIRMED and state.confirmed_at else now,
        strategy=ladder.strategy if ladder else None,
        version=ladder.version if ladder else None,
        rule=ladder.rule if ladder else None,
        platform=plan.tracks[0].platform if plan and plan.tracks else None,
        body=message.body if keeps else b"",  # what was recalled, or is worth nothing later, has no history
        tracks=_json(describe_tracks(state, plan)),
        attempted=any(track.tried for track in state.tracks),
    )


def describe_tracks(state: DeliveryState, plan: DeliveryPlan | None) -> list[dict[str, object]]:
    """Tracks as message state shows them."""
    shown: list[dict[str, object]] = []
    for index, track in enumerate(state.tracks):
        own = plan.tracks[index] if plan and index < len(plan.tracks) else None
        ladder = ladder_of(plan.ladders[own.ladder]) if plan and own else None
        shown.append(
            {
                "device_id": own.device_id if own else None,
                "platform": own.platform if own else None,
                "state": track.cursor.phase.name.lower(),
                "path": track.path,
                "step": rung_of(track.cursor.step) + 1,
                "attempt": track.cursor.attempt,
                "proof": track.proof.name.lower(),
                "rule": ladder.rule if ladder else None,
            }
        )
    return shown


def _count(rows: Sequence[SettledDelivery], parts: Parts) -> None:
    confirmed: Counter[tuple[str, Path]] = Counter()
    for row in rows:
        if row.confirmed_by is not None and row.confirmed_at is not None:
            confirmed[row.klass, row.confirmed_by] += 1
            parts.telemetry.proof_took(row.confirmed_by, (row.confirmed_at - row.accepted_at) / SECOND)
    for (klass, end), count in Counter([(row.klass, row.end) for row in rows]).items():
        parts.telemetry.settled(klass, end.name.lower(), count)
    for (klass, path), count in confirmed.items():
        parts.telemetry.confirmed(klass, path, count)
