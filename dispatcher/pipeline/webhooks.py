"""Webhooks: events derived where the journal is archived, queued in the ledger, sent endpoint by endpoint.

At least once: events are queued before the journal is trimmed. In order for each endpoint, one POST at a time; a batch
that fails stands in front until it is taken or its endpoint is paused.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from dispatcher.domain.clock import DAY, HOUR, MINUTE, SECOND, Millis
from dispatcher.domain.delivery import End
from dispatcher.domain.ids import NOBODY, DeliveryRef, attempt_id
from dispatcher.domain.journal import read_entry
from dispatcher.domain.webhook import (
    MAX_EVENTS,
    EventBody,
    Happened,
    StatusEvent,
    event_id,
    event_time,
    happened,
    join_events,
    post_body,
    settled,
    write_event,
)
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.homes import Contents
from dispatcher.ports.messages import SettledDelivery
from dispatcher.ports.webhooks import Batch, Endpoint, Failed, Poster, Reply, Subscription, Waiting, Webhooks

LEASE: Millis = MINUTE
#: After how long a failing POST is tried again, by the number of tries before; the last goes on.
BACKOFF: tuple[Millis, ...] = (
    5 * SECOND,
    15 * SECOND,
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    4 * HOUR,
)
GIVE_UP: Millis = DAY
_GONE = 410
_log = logging.getLogger(__name__)
_tracks = msgspec.json.Decoder(list[dict[str, object]]).decode

#: Users erased lately and when, by app: their events are not told any more.
Erased = Mapping[tuple[str, str], Millis]


@dataclass(frozen=True, slots=True)
class _Whose:
    """One delivery as events name it. *devices*: by track."""

    user_id: str
    message_id: str
    klass: str
    accepted_at: Millis
    devices: Sequence[str | None] = field(default=())


class Watch:
    """Derives events from what is archived, for apps that subscribed to them."""

    def __init__(
        self, parts: Parts, webhooks: Webhooks, subscriptions: Sequence[Subscription], erased: Erased | None = None
    ) -> None:
        self._parts = parts
        self._webhooks = webhooks
        self._by_app: dict[str, list[Subscription]] = defaultdict(list)
        for subscription in subscriptions:
            self._by_app[subscription.app].append(subscription)
        self._wanted = frozenset(event for one in subscriptions for event in one.events)
        self._erased = erased or {}

    async def entries(self, entries: Sequence[tuple[int, bytes]], now: Millis) -> None:
        """Journal entries on their way into the ledger, as (home, entry)."""
        found: dict[int, list[Happened]] = defaultdict(list)
        for home, raw in entries:
            found[home] += [one for one in happened(read_entry(raw), raw) if one.event in self._wanted]
        await self._tell({home: events for home, events in found.items() if events}, now)

    async def settled(self, rows: Sequence[SettledDelivery], now: Millis) -> None:
        """Settled deliveries on their way into the ledger. Confirmed ones were told with their receipt."""
        found: dict[int, list[Happened]] = defaultdict(list)
        known: dict[tuple[int, int], tuple[str, _Whose]] = {}
        for row in rows:
            if row.app in self._by_app and row.end is not End.CONFIRMED and StatusEvent.SETTLED in self._wanted:
                event = settled(row.ref.home, row.ref.place, row.end.name.lower(), row.settled_at)
                found[row.ref.home].append(event)
                known[row.ref.home, row.ref.place] = (row.app, _archived(row))
        await self._tell(found, now, known)

    async def _tell(
        self,
        found: Mapping[int, Sequence[Happened]],
        now: Millis,
        known: Mapping[tuple[int, int], tuple[str, _Whose]] | None = None,
    ) -> None:
        queues: dict[Subscription, list[tuple[Millis, bytes]]] = defaultdict(list)
        for home, events in found.items():
            places = sorted({event.place for event in events})
            owners = known if known is not None else await self._owners(home, places)
            for event in events:
                owner = owners.get((home, event.place))
                if owner is None or self._is_erased(*owner):
                    continue
                app, whose = owner
                wanting = [one for one in self._by_app.get(app, ()) if event.event in one.events]
                if wanting:
                    body = write_event(self._body(app, home, event, whose))
                    for subscription in wanting:
                        queues[subscription].append((event.at, body))
        rows = []
        for subscription, waiting in queues.items():
            ordered = [body for _, body in sorted(waiting, key=lambda one: one[0])]
            for start in range(0, len(ordered), MAX_EVENTS):
                part = ordered[start : start + MAX_EVENTS]
                rows.append(
                    Waiting(
                        webhook_id=subscription.webhook_id,
                        app=subscription.app,
                        count=len(part),
                        events=join_events(part),
                    )
                )
        if rows:
            await self._webhooks.enqueue(rows, now)

    def _is_erased(self, app: str, whose: _Whose) -> bool:
        at = self._erased.get((app, whose.user_id))
        return whose.user_id == NOBODY or (at is not None and whose.accepted_at <= at)

    async def _owners(self, home: int, places: Sequence[int]) -> dict[tuple[int, int], tuple[str, _Whose]]:
        """Whose deliveries these are: from the hot store, else from the ledger. Other apps' are left out unread."""
        head = await self._parts.homes.contents(home, [])
        if head is not None and head.app not in self._by_app:
            return {}
        owners: dict[tuple[int, int], tuple[str, _Whose]] = {}
        contents = await self._parts.homes.contents(home, places) if head is not None else None
        if contents is not None:
            for place in places:
                if place in contents.recipients:
                    owners[home, place] = (contents.app, _in_flight(contents, place))
        missing = [place for place in places if (home, place) not in owners]
        if missing:
            first, last = missing[0], missing[-1]
            for row in await self._parts.deliveries.of_message(home, first, last - first + 1):
                if row.ref.place in missing and row.app in self._by_app:
                    owners[home, row.ref.place] = (row.app, _archived(row))
        return owners

    def _body(self, app: str, home: int, event: Happened, whose: _Whose) -> EventBody:
        delivery_id = self._parts.ids.delivery_id(DeliveryRef(home, event.place), app, whose.user_id)
        attempt = None
        if event.of_attempt and event.path is not None:
            attempt = attempt_id(delivery_id, event.track, event.step, event.attempt, event.path)
        return EventBody(
            id=event_id(event.key),
            event=event.event,
            at=event_time(event.at),
            app=app,
            message_id=whose.message_id,
            klass=whose.klass,
            user_id=whose.user_id,
            delivery_id=delivery_id,
            device_id=whose.devices[event.track] if event.track < len(whose.devices) else None,
            attempt_id=attempt,
            path=event.path,
            detail=dict(event.detail or {}),
        )


def _in_flight(contents: Contents, place: int) -> _Whose:
    recipient = contents.recipients[place]
    message = contents.messages[recipient.message]
    plan = contents.plans.get(place)
    return _Whose(
        user_id=recipient.user_id,
        message_id=message.message_id,
        klass=message.klass,
        accepted_at=message.accepted_at,
        devices=[track.device_id for track in plan.tracks] if plan is not None else (),
    )


def _archived(row: SettledDelivery) -> _Whose:
    devices = [track.get("device_id") for track in _tracks(row.tracks)]
    return _Whose(
        user_id=row.user_id,
        message_id=row.message_id,
        klass=row.klass,
        accepted_at=row.accepted_at,
        devices=[device if isinstance(device, str) else None for device in devices],
    )


Sign = Callable[[Endpoint, str, Millis, bytes], Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What sending stands on. *sign* makes a POST's headers; *dice* gives 0 to 1."""

    webhooks: Webhooks
    poster: Poster
    sign: Sign
    clock: Callable[[], Millis]
    dice: Callable[[], float]


async def send_waiting(endpoint: Endpoint, ports: Sending) -> int:
    """Sends what waits for a claimed endpoint, batch after batch, until nothing is left or one fails; how many went."""
    sent = 0
    while (batch := await ports.webhooks.next_batch(endpoint.webhook_id)) is not None:
        now = ports.clock()
        body = post_body(batch.events)
        headers = ports.sign(endpoint, f"msg_{endpoint.webhook_id}_{batch.batch_id}", now, body)
        reply = await ports.poster.post(endpoint.url, headers, body)
        now = ports.clock()
        if not reply.good:
            await ports.webhooks.failed(endpoint.webhook_id, judge(endpoint, reply, now, ports.dice()), now)
            return sent
        sent += batch.count
        if not await ports.webhooks.sent(endpoint.webhook_id, batch, now, lease_ms=LEASE):
            return sent
    await ports.webhooks.release(endpoint.webhook_id)
    return sent


def judge(endpoint: Endpoint, reply: Reply, now: Millis, dice: float) -> Failed:
    """When a failed POST is tried again; a day of failures, or 410 Gone, pauses the endpoint."""
    error = reply.error or f"HTTP {reply.status}"
    if reply.status == _GONE:
        return Failed(error=error, next_at=now, pause="the receiver answered 410 Gone")
    if endpoint.failing_since is not None and now - endpoint.failing_since >= GIVE_UP:
        return Failed(error=error, next_at=now, pause=f"failing for a day: {error}")
    wait = BACKOFF[min(endpoint.tries, len(BACKOFF) - 1)]
    wait = max(int(wait * (0.8 + 0.4 * dice)), reply.retry_after or 0)
    return Failed(error=error, next_at=now + wait)


async def in_background(work: Awaitable[int], webhook_id: str) -> None:
    """Logs what nobody waits for."""
    try:
        await work
    except asyncio.CancelledError:
        raise
    except Exception:  # noqa: BLE001 - the lease lapses, and another turn takes it
        _log.exception("sending webhooks failed", extra={"webhook": webhook_id})


__all__ = ["Batch", "Sending", "Watch", "in_background", "judge", "send_waiting"]
