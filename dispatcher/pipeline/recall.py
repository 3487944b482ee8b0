"""Recall: the ledger first, then pending steps die, the inbox entry goes, connected phones take it off the screen."""

from collections import defaultdict

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import End
from dispatcher.domain.journal import Entry, Kind, write_entry
from dispatcher.pipeline.accept import refs_of
from dispatcher.pipeline.facts import connected
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.messages import StoredMessage
from dispatcher.ports.node_bus import BusFrame


async def recall(app: str, message_id: str, parts: Parts, now: Millis) -> bool:
    """False where the app has no such message. Repeating it changes nothing."""
    stored = await parts.messages.recall(app, message_id, now)
    if stored is None:
        return False
    refs = refs_of(stored)
    await parts.homes.end(refs, End.RECALLED, now)
    entry = Entry(kind=Kind.RECALLED, at=now, members=[(ref.place, 255) for ref in refs])
    await parts.homes.append_journal([(stored.home, write_entry(entry))])
    for ref, user_id in zip(refs, stored.user_ids, strict=True):
        await parts.inboxes.remove(app, user_id, [parts.ids.delivery_id(ref, app, user_id)])
    await parts.bus.send(await _frames(app, stored, parts, now))
    return True


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
