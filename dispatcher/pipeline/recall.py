"""Recall: the ledger first, then pending steps die, the inbox entry goes, connected phones take it off the screen."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.ids import DeliveryRef
from dispatcher.domain.journal import Entry, Kind, write_entry
from dispatcher.pipeline.accept import refs_of
from dispatcher.pipeline.facts import connected
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.messages import SettledDelivery, StoredMessage
from dispatcher.ports.node_bus import BusFrame


async def recall(app: str, message_id: str, parts: Parts, now: Millis) -> bool:
    """False where the app has no such message. Repeating it changes nothing."""
    stored = await parts.messages.recall(app, message_id, now)
    if stored is None:
        return False
    refs = refs_of(stored)
    await parts.homes.end(refs, End.RECALLED, now)
    await _settle_elsewhere(stored, refs, parts, now)
    entry = Entry(kind=Kind.RECALLED, at=now, members=[(ref.place, 255) for ref in refs])
    await parts.homes.append_journal([(stored.home, write_entry(entry))])
    for ref, user_id in zip(refs, stored.user_ids, strict=True):
        await parts.inboxes.remove(app, user_id, [parts.ids.delivery_id(ref, app, user_id)])
    if frames := await _frames(app, stored, parts, now):
        await parts.bus.send(frames)
    return True


async def _settle_elsewhere(stored: StoredMessage, refs: Sequence[DeliveryRef], parts: Parts, now: Millis) -> None:
    """Deliveries that the hot store does not hold: archived ones, and scheduled ones that never were in flight."""
    states = await parts.homes.states(stored.home, [ref.place for ref in refs])
    archived = {row.ref: row for row in await parts.deliveries.of_message(stored.home, stored.place, len(refs))}
    rows = []
    for ref, user_id in zip(refs, stored.user_ids, strict=True):
        if (row := archived.get(ref)) is not None:
            rows.append(replace(row, end=End.RECALLED, body=b""))
        elif ref.place not in states:
            rows.append(_recalled(stored, ref, user_id, now))
    if rows:
        await parts.deliveries.archive(rows, [])


def _recalled(stored: StoredMessage, ref: DeliveryRef, user_id: str, now: Millis) -> SettledDelivery:
    message = stored.message
    return SettledDelivery(
        ref=ref,
        app=message.app,
        user_id=user_id,
        message_id=message.message_id,
        klass=message.klass,
        seq=0,
        end=End.RECALLED,
        proof=Proof.NONE,
        confirmed_by=None,
        confirmed_at=None,
        accepted_at=message.accepted_at,
        settled_at=now,
        strategy=None,
        version=None,
        rule=None,
        platform=None,
        body=b"",
        tracks=b"[]",
    )


async def _frames(app: str, stored: StoredMessage, parts: Parts, now: Millis) -> dict[str, list[BusFrame]]:
    lines = await parts.presences.of_users(app, stored.user_ids, now)
    frames: dict[str, list[BusFrame]] = defaultdict(list)
    for user_id, found in lines.items():
        for line in found:
            if connected(line):
                frames[line.node].append(
                    BusFrame(
                        kind="recall",
                        app=app,
                        user_id=user_id,
                        device_id=line.device_id,
                        session=line.session,
                        message_id=stored.message.message_id,
                    )
                )
    return frames
