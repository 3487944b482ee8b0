"""Admitting a home from the ledger's truth: the first time, by the reconcile, or after the hot store was lost."""

from dispatcher.domain.clock import Millis
from dispatcher.domain.ids import DeliveryRef
from dispatcher.domain.receipt import Receipt
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.homes import Admission, Recipient
from dispatcher.ports.messages import StoredHome

UNKNOWN_PREFIX = "? "


async def admit_home(stored: StoredHome, parts: Parts, now: Millis) -> None:
    """Inbox entries first, then payloads and plan wave. Safe to repeat: known entries keep their seq."""
    entries: list[tuple[str, str, bytes]] = []
    rows: list[tuple[int, int, str, tuple[str, ...] | None]] = []
    for message in stored.messages:
        if message.recalled:
            continue
        for offset, user_id in enumerate(message.user_ids):
            place = message.place + offset
            if place in stored.settled:
                continue
            delivery_id = parts.ids.delivery_id(DeliveryRef(stored.home, place), stored.app, user_id)
            entries.append((user_id, delivery_id, message.message.body))
            named = (message.device_ids or {}).get(user_id)
            rows.append((place, message.index, user_id, tuple(named) if named else None))
    known = [index for index, row in enumerate(rows) if not row[2].startswith(UNKNOWN_PREFIX)]
    seqs = await parts.inboxes.append(stored.app, [entries[index] for index in known], now) if known else []
    placed = dict(zip(known, seqs, strict=True))
    recipients = [
        Recipient(
            place=place,
            message=index,
            user_id=user_id,
            seq=placed.get(position, (0, 0))[0],
            prev_seq=placed.get(position, (0, 0))[1],
            devices=devices,
        )
        for position, (place, index, user_id, devices) in enumerate(rows)
    ]
    if not recipients:
        return
    await parts.homes.admit(
        Admission(
            home=stored.home,
            app=stored.app,
            lane=stored.lane,
            messages={message.index: message.message for message in stored.messages},
            recipients=recipients,
            due=max(stored.due, now),
            size=stored.size,
        ),
        now,
    )
    proven = [
        Receipt(delivery=DeliveryRef(stored.home, place), event=proof, at=at, via=path)
        for place, (proof, path, at) in stored.proven.items()
        if place not in stored.settled
    ]
    if proven:
        await parts.homes.apply(proven, now)
