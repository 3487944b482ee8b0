"""Looking: what became of a message, and the story of one delivery."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dispatcher.domain.clock import Millis, rfc3339
from dispatcher.domain.delivery import DeliveryState, End, Phase, Proof
from dispatcher.domain.ids import DeliveryRef, attempt_id
from dispatcher.domain.journal import JournalEvent, Kind, events_of, read_entry
from dispatcher.domain.plan import rung_of
from dispatcher.pipeline.accept import refs_of
from dispatcher.pipeline.archive import describe_tracks
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.homes import Contents
from dispatcher.ports.messages import SettledDelivery, StoredMessage
from dispatcher.ports.sms_guard import SmsRow

_UNPLACED = (Kind.RECALLED, Kind.SETTLED)


class SeveralRecipients(Exception):
    """A timeline is one recipient's; say whose."""


async def message_state(app: str, message_id: str, parts: Parts, now: Millis) -> dict[str, Any] | None:
    """A message with all its deliveries, from the hot store where they are in flight, else from the ledger."""
    stored = await parts.messages.find(app, message_id)
    if stored is None:
        return None
    refs = refs_of(stored)
    places = [ref.place for ref in refs]
    states = await parts.homes.states(stored.home, places)
    contents = await parts.homes.contents(stored.home, places) if states else None
    archived = {row.ref.place: row for row in await parts.deliveries.of_message(stored.home, stored.place, len(refs))}
    texts = {row.user_id: row for row in await parts.sms_guard.of_message(app, message_id)}
    deliveries = []
    ends = []
    for ref, user_id in zip(refs, stored.user_ids, strict=True):
        state, row = states.get(ref.place), archived.get(ref.place)
        end, name = _state(stored, state, row, now)
        ends.append((end, name))
        deliveries.append(
            {
                "user_id": user_id,
                "delivery_id": parts.ids.delivery_id(ref, app, user_id),
                "state": name,
                **_proof(state, row),
                "sms": _sms(texts.get(user_id)),
                "tracks": _tracks(ref, state, row, contents),
            }
        )
    return {
        "message_id": message_id,
        "class": stored.message.klass,
        "accepted_at": rfc3339(stored.message.accepted_at),
        "state": _whole(ends),
        "deliveries": deliveries,
    }


async def timeline(app: str, message_id: str, user_id: str | None, parts: Parts, now: Millis) -> dict[str, Any] | None:
    """Everything that happened to one delivery, in order. Raises :class:`SeveralRecipients`."""
    stored = await parts.messages.find(app, message_id)
    if stored is None:
        return None
    if user_id is None:
        if len(stored.user_ids) != 1:
            raise SeveralRecipients
        user_id = stored.user_ids[0]
    if user_id not in stored.user_ids:
        return None
    ref = refs_of(stored)[list(stored.user_ids).index(user_id)]
    texts = [*await parts.deliveries.journal(stored.home), *await parts.homes.journal_of(stored.home)]
    happened = events_of([read_entry(text) for text in dict.fromkeys(texts)], ref.place)
    state = (await parts.homes.states(stored.home, [ref.place])).get(ref.place)
    rows = [row for row in await parts.deliveries.of_message(stored.home, ref.place, 1) if row.ref == ref]
    row = rows[0] if rows else None
    delivery_id = parts.ids.delivery_id(ref, app, user_id)
    devices = {event.track: event.detail.get("device_id") for event in happened if event.kind is Kind.PLANNED}
    events = [_accepted(stored)]
    events += [_shown(event, delivery_id, devices) for event in happened]
    end, name = _state(stored, state, row, now)
    if end is not End.OPEN and not any(event.kind is Kind.SETTLED for event in happened):
        events.append(_settled(name, state, row, events[-1]["at"]))
    return {"message_id": message_id, "user_id": user_id, "delivery_id": delivery_id, "events": events}


def _accepted(stored: StoredMessage) -> dict[str, Any]:
    message = stored.message
    detail = {"class": message.klass, "priority": message.priority.value, "expires_at": rfc3339(message.expires_at)}
    return _event(rfc3339(message.accepted_at), Kind.ACCEPTED, detail)


def _settled(name: str, state: DeliveryState | None, row: SettledDelivery | None, last: str) -> dict[str, Any]:
    at = (state and state.confirmed_at) or (row and row.settled_at)
    by = state.confirmed_by if state else row.confirmed_by if row else None
    detail = {"state": name, "confirmed_by": by}
    return _event(max(rfc3339(at), last) if at else last, Kind.SETTLED, detail, path=by)


def _event(at: str, kind: Kind, detail: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"at": at, "kind": kind.value, "path": None, "device_id": None, "attempt_id": None, **more, "detail": detail}


def _shown(event: JournalEvent, delivery_id: str, devices: Mapping[int, Any]) -> dict[str, Any]:
    detail = dict(event.detail)
    more: dict[str, Any] = {"path": event.path, "device_id": devices.get(event.track)}
    if event.kind in {Kind.ATTEMPTED, Kind.OUTCOME} and event.path is not None:
        attempt = 0 if event.path == "sms" else event.attempt
        more["attempt_id"] = attempt_id(delivery_id, event.track, event.step, attempt, event.path)
    if event.kind is Kind.PLANNED:
        platform = detail.get("platform")
        detail = {**detail["explanations"][detail["explanation"]], "platform": platform}
    elif event.kind not in _UNPLACED and event.kind is not Kind.RECEIPT:
        detail["step"] = rung_of(event.step) + 1
    if event.kind is Kind.SKIPPED and "skipped" in detail:
        more["path"] = detail.pop("skipped")
    return _event(rfc3339(event.at), event.kind, detail, **more)


def _state(
    stored: StoredMessage, state: DeliveryState | None, row: SettledDelivery | None, now: Millis
) -> tuple[End, str]:
    ends = [one.end for one in (state, row) if one is not None]
    end = max([*ends, End.RECALLED if stored.recalled else End.OPEN])
    if end is not End.OPEN:
        return end, end.name.lower()
    if state is None and not stored.admitted and stored.due > now:
        return end, "scheduled"
    if state is not None and state.tracks and all(track.cursor.phase is Phase.HELD for track in state.tracks):
        return end, "held"
    return end, "open"


def _proof(state: DeliveryState | None, row: SettledDelivery | None) -> dict[str, Any]:
    proof = max((one.proof for one in (state, row) if one is not None), default=Proof.NONE)
    by = next((one.confirmed_by for one in (state, row) if one is not None and one.confirmed_by), None)
    at = next((one.confirmed_at for one in (state, row) if one is not None and one.confirmed_at), None)
    return {
        "proof": proof.name.lower(),
        "confirmed_by": by,
        "confirmed_at": rfc3339(at) if at is not None else None,
    }


def _sms(text: SmsRow | None) -> dict[str, Any] | None:
    """The user's SMS for this message: a recall does not take it back."""
    if text is None:
        return None
    sent_at = rfc3339(text.sent_at) if text.sent_at is not None else None
    return {"state": text.state, "status": text.status, "sent_at": sent_at}


def _tracks(
    ref: DeliveryRef, state: DeliveryState | None, row: SettledDelivery | None, contents: Contents | None
) -> Any:
    if state is not None:
        return describe_tracks(state, contents.plans.get(ref.place) if contents else None)
    return msgspec.json.decode(row.tracks) if row is not None else []


def _whole(ends: Sequence[tuple[End, str]]) -> str:
    """One word for all recipients: what is still pending first, then the least successful end."""
    pending = [name for end, name in ends if end is End.OPEN]
    for name in ("open", "held", "scheduled"):
        if name in pending:
            return name
    return min(ends)[1]
