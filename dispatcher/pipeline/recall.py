"""Recall: the ledger first, then pending steps die, the inbox entry goes, connected phones take it off the screen.

Clearing pushes follow from the ledger (see :mod:`dispatcher.pipeline.clearing`). A text that went out cannot be taken
back: it is told.
"""

from collections import defaultdict
from dataclasses import dataclass

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import End
from dispatcher.domain.journal import Entry, Kind, write_entry
from dispatcher.pipeline.accept import refs_of
from dispatcher.pipeline.facts import connected
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.messages import StoredMessage
from dispatcher.ports.node_bus import BusFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """What a recall came to. ``pending``: deliveries that were still open. ``sms_sent``: users whose text is out;
    ``sms_possible``: whose text was just being sent."""

    message_id: str
    deliveries: int
    pending: int
    sms_sent: tuple[str, ...] = ()
    sms_possible: tuple[str, ...] = ()


async def recall(app: str, message_id: str, parts: Parts, now: Millis) -> Recalled | None:
    """None where the app has no such message. Repeating it changes nothing."""
    before = await parts.messages.find(app, message_id)
    stored = await parts.messages.recall(app, message_id, now) if before is not None else None
    if before is None or stored is None:
        return None
    refs = refs_of(stored)
    was_open = await parts.homes.end(refs, End.RECALLED, now)
    pending = sum(was_open) if stored.admitted or any(was_open) else len(refs) * (not before.recalled)
    if not before.recalled:
        entry = Entry(kind=Kind.RECALLED, at=now, members=[(ref.place, 255) for ref in refs])
        await parts.homes.append_journal([(stored.home, write_entry(entry))])
    for ref, user_id in zip(refs, stored.user_ids, strict=True):
        await parts.inboxes.remove(app, user_id, [parts.ids.delivery_id(ref, app, user_id)])
    frames = await _frames(app, stored, parts, now)
    if frames:
        await parts.bus.send(frames)
    texts = await parts.sms_guard.of_message(app, message_id)
    return Recalled(
        message_id=message_id,
        deliveries=len(refs),
        pending=pending,
        sms_sent=tuple(text.user_id for text in texts if text.state == "sent"),
        sms_possible=tuple(text.user_id for text in texts if text.state == "reserved"),
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
