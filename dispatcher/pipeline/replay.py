"""Replaying a dead letter: a delivery that ended exhausted, its message dispatched again to its user alone.

The message gets a new id, for the old one is taken and its one SMS may be spent: a replay may cost one more. The new id
follows from the delivery, so that a replay asked for twice happens once.
"""

from hashlib import blake2b
from typing import Any

from dispatcher.domain.clock import Millis, rfc3339
from dispatcher.domain.delivery import End
from dispatcher.domain.ids import DeliveryRef, parse_delivery_id
from dispatcher.domain.message import Message
from dispatcher.domain.requests import Accepted, DispatchRequest
from dispatcher.pipeline.accept import Acceptor, Conflict
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.messages import SettledDelivery
from dispatcher.ports.operations import Replay, Replays


class NotThere(Exception):
    """No such delivery in this app, or nothing of its message is left."""


class NotExhausted(Exception):
    """It ended otherwise; the text says how."""


async def replay(
    app: str, delivery_id: str, by: str, acceptor: Acceptor, replays: Replays, parts: Parts, now: Millis
) -> dict[str, Any]:
    """``{id, message_id, accepted_at, duplicate}``. Raises :class:`NotThere`, :class:`NotExhausted`."""
    row = await _dead_letter(app, delivery_id, parts)
    stored = await parts.messages.find(app, row.message_id)
    if stored is None or stored.home != row.ref.home:
        raise NotThere
    request = again(stored.message, row.user_id, delivery_id)
    (result,) = await acceptor.accept(app, [request], now)
    if isinstance(result, Conflict):  # the ttl or a default has changed with a release: it was replayed before
        raise NotExhausted("replayed already")
    if not isinstance(result, Accepted):
        raise result
    await replays.note_replay(app, Replay(ref=row.ref, message_id=result.message_id, by=by, at=now))
    return {
        "id": delivery_id,
        "message_id": result.message_id,
        "accepted_at": rfc3339(result.accepted_at),
        "duplicate": result.duplicate,
    }


async def _dead_letter(app: str, delivery_id: str, parts: Parts) -> SettledDelivery:
    ref: DeliveryRef | None = parse_delivery_id(delivery_id)
    if ref is None or ref.home >= 2**63:
        raise NotThere
    rows = [row for row in await parts.deliveries.of_message(ref.home, ref.place, 1) if row.ref == ref]
    if not rows or rows[0].app != app or parts.ids.read_delivery(delivery_id, app, rows[0].user_id) is None:
        raise NotThere
    if rows[0].end is not End.EXHAUSTED:
        raise NotExhausted(rows[0].end.name.lower())
    return rows[0]


def again(message: Message, user_id: str, delivery_id: str) -> DispatchRequest:
    """The message for one of its users, with its whole ttl."""
    starts = max(message.not_before or message.accepted_at, message.accepted_at)
    mark = blake2b(delivery_id.encode(), digest_size=6).hexdigest()
    return DispatchRequest(
        message_id=f"{message.message_id[:106]}~replay-{mark}",
        user_ids=(user_id,),
        klass=message.klass,
        notification=message.notification,
        data=message.data,
        sms_text=message.sms_text,
        priority=message.priority,
        ttl_ms=message.expires_at - starts,
        collapse_key=message.collapse_key,
        strategy=message.strategy,
    )
