"""Receipts, applied by the process that takes them before it answers. Order-free, idempotent, gathered."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from msgspec import Struct

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.delivery import Cursor, Phase, Proof
from dispatcher.domain.ids import AttemptRef, DeliveryRef, parse_attempt_id
from dispatcher.domain.journal import carrier_entry, receipt_entry, write_entry
from dispatcher.domain.paths import Path
from dispatcher.domain.receipt import EVENT_NAMES, Receipt, Seen
from dispatcher.domain.requests import Counts, ReceiptItem
from dispatcher.pipeline.gather import Gatherer
from dispatcher.pipeline.parts import PhoneParts
from dispatcher.pipeline.sightings import Sightings
from dispatcher.ports.homes import Applied, Members
from dispatcher.ports.messages import StoredMessage

LAG_LIMIT: Millis = 2 * SECOND
HOLD_AFTER_LAG: Millis = 20 * SECOND


class Tagged(Struct, frozen=True, kw_only=True, gc=False):
    """A receipt with whose it is and when it came."""

    app: str
    user_id: str
    item: ReceiptItem
    arrived: Millis


class Receiver:
    """The receipt door of one process."""

    def __init__(self, parts: PhoneParts) -> None:
        self._parts = parts
        self.sightings = Sightings(parts)
        self._gatherer: Gatherer[Tagged, Applied] = Gatherer(self._flush, batch=1_000, waiting=100_000)

    async def receive(self, app: str, items: Sequence[ReceiptItem], now: Millis) -> Counts:
        """Applied when answered. Raises ``Overflow`` where too much waits."""
        futures = [
            self._gatherer.submit(Tagged(app=app, user_id=item.user_id, item=item, arrived=now)) for item in items
        ]
        applied = [await future for future in futures]
        unknown = sum(not one.known for one in applied)
        fresh = sum(one.new for one in applied)
        duplicate = len(applied) - unknown - fresh
        self._parts.telemetry.receipts(accepted=fresh, unknown=unknown, duplicate=duplicate)
        return Counts(accepted=fresh, unknown=unknown, duplicate=duplicate)

    async def _flush(self, batch: Sequence[Tagged]) -> list[Applied | Exception]:
        now = self._parts.clock()
        await self._watch_lag(batch, now)
        receipts = await self._resolve(batch, now)
        known = [index for index, receipt in enumerate(receipts) if receipt is not None]
        applied: list[Applied | Exception] = [Applied(known=False)] * len(batch)
        found = [receipt for receipt in receipts if receipt is not None]
        for index, result in zip(known, await self._parts.homes.apply(found, now), strict=True):
            applied[index] = result
        await self._ledger(batch, receipts, applied)
        await self._after(batch, receipts, applied, now)
        return applied

    async def _watch_lag(self, batch: Sequence[Tagged], now: Millis) -> None:
        """While intake lags, silence is no evidence (invariant 9)."""
        lag = now - min(one.arrived for one in batch)
        if lag > LAG_LIMIT:
            await self.lagged(now, "receipt_intake_lags")

    async def lagged(self, now: Millis, reason: str) -> None:
        """Evidence came late: for a while SMS steps conclude nothing from silence."""
        await self._parts.hold.hold(now + HOLD_AFTER_LAG, reason)

    async def _resolve(self, batch: Sequence[Tagged], now: Millis) -> list[Receipt | None]:
        by_message: dict[tuple[str, str], list[str]] = defaultdict(list)
        refs: list[tuple[DeliveryRef | None, AttemptRef | None]] = []
        for one in batch:
            item = one.item
            attempt = self._parts.ids.read_attempt(item.attempt_id, one.app, one.user_id) if item.attempt_id else None
            ref = attempt.delivery if attempt else None
            if item.delivery_id and (attempt is None or not _names(item.attempt_id, item.delivery_id)):
                ref = self._parts.ids.read_delivery(item.delivery_id, one.app, one.user_id)
            if ref is None and item.message_id and not item.delivery_id:
                by_message[one.app, one.user_id].append(item.message_id)
            if attempt is not None and attempt.delivery != ref:
                attempt = None
            refs.append((ref, attempt))
        names = await self._by_message_id(by_message)
        receipts: list[Receipt | None] = []
        for one, (ref, attempt) in zip(batch, refs, strict=True):
            item = one.item
            where = ref
            if where is None and item.message_id and not item.delivery_id:
                where = names.get((one.app, one.user_id, item.message_id))
            if where is None:
                receipts.append(None)
                continue
            receipts.append(
                Receipt(
                    delivery=where,
                    event=item.event,
                    at=now,
                    via=item.via or (attempt.path if attempt else None),
                    device_id=item.device_id,
                    track=attempt.track if attempt and attempt.path else None,
                    step=attempt.step if attempt else None,
                    attempt=attempt.attempt if attempt else None,
                )
            )
        return receipts

    async def _by_message_id(
        self, wanted: Mapping[tuple[str, str], list[str]]
    ) -> dict[tuple[str, str, str], DeliveryRef]:
        """The caller's own inbox first, then the ledger."""
        found: dict[tuple[str, str, str], DeliveryRef] = {}
        for (app, user_id), message_ids in wanted.items():
            for message_id, delivery_id in (await self._parts.inboxes.find(app, user_id, message_ids)).items():
                ref = self._parts.ids.read_delivery(delivery_id, app, user_id)
                if ref is not None:
                    found[app, user_id, message_id] = ref
            missing = [one for one in message_ids if (app, user_id, one) not in found]
            if not missing:
                continue
            stored = await self._parts.deliveries.find_for_user(app, user_id, missing)
            for message_id, ref in stored.items():
                found[app, user_id, message_id] = ref
            for message_id in missing:
                if message_id not in stored:
                    message = await self._parts.messages.find(app, message_id)
                    own = _own_delivery(message, user_id)
                    if own is not None:
                        found[app, user_id, message_id] = own
        return found

    async def _ledger(
        self, batch: Sequence[Tagged], receipts: Sequence[Receipt | None], applied: list[Applied | Exception]
    ) -> None:
        """What is archived gets its late proof there."""
        for index, (one, receipt) in enumerate(zip(batch, receipts, strict=True)):
            result = applied[index]
            if receipt is None or isinstance(result, Exception) or (result.known and not result.archived):
                continue
            known, new, confirmed = await self._parts.deliveries.late_proof(
                receipt.delivery, receipt.event, receipt.via, receipt.at, app=one.app, user_id=one.user_id
            )
            if not result.known:
                applied[index] = Applied(
                    known=known, new=new, confirmed=confirmed, late=confirmed, path=receipt.via, archived=True
                )

    async def _after(
        self,
        batch: Sequence[Tagged],
        receipts: Sequence[Receipt | None],
        applied: Sequence[Applied | Exception],
        now: Millis,
    ) -> None:
        marks: dict[tuple[str, str, Proof], list[str]] = defaultdict(list)
        rows: dict[int, list[tuple[int, int, Proof, Path | None, bool, bool]]] = defaultdict(list)
        seen: list[Seen] = []
        for one, receipt, result in zip(batch, receipts, applied, strict=True):
            if receipt is None or isinstance(result, Exception) or not result.known:
                continue
            if one.item.device_id is not None:
                self.sightings.note(one.app, one.item.device_id, now)
            # as the phone knows it, and so its inbox
            delivery_id = one.item.delivery_id or self._parts.ids.delivery_id(receipt.delivery, one.app, one.user_id)
            marks[one.app, one.user_id, receipt.event].append(delivery_id)
            if result.new:
                place = receipt.delivery.place
                if result.path is not None and result.attempted_at is not None and not result.inferred:
                    self._parts.circuits.received(one.app, result.path, max(now - result.attempted_at, 0), now)
                rows[receipt.delivery.home].append(
                    (place, result.track, receipt.event, result.path, result.inferred, result.confirmed)
                )
                if self._parts.traces is not None:
                    seen.append(_seen(receipt, result))
        if self._parts.traces is not None:
            self._parts.traces.received(seen, self._parts)
        entries = [(home, write_entry(receipt_entry(now, found))) for home, found in rows.items()]
        if entries:
            await self._parts.homes.append_journal(entries)
        by_app: dict[str, list[tuple[str, Proof, Sequence[str]]]] = defaultdict(list)
        for (app, user_id, proof), ids in marks.items():
            by_app[app].append((user_id, proof, ids))
        for app, found_marks in by_app.items():
            await self._parts.inboxes.mark_many(app, found_marks)

    async def carrier_status(
        self, attempt_id: str, status: str, *, proof: bool, failed: bool, now: Millis, error: str | None = None
    ) -> Applied | None:
        """A carrier's status on one SMS: proof confirms, a failure for good escalates at once. *error*: its code."""
        attempt = parse_attempt_id(attempt_id)
        if attempt is None:
            return None
        if proof:
            receipt = Receipt(
                delivery=attempt.delivery, event=Proof.DELIVERED, at=now, via=Path.SMS, track=attempt.track
            )
            (applied,) = await self._parts.homes.apply([receipt], now)
            if applied.known and applied.new:
                row = (attempt.delivery.place, attempt.track, Proof.DELIVERED, Path.SMS, False, applied.confirmed)
                entry = write_entry(receipt_entry(now, [row], source=f"carrier:{status}"))
                await self._parts.homes.append_journal([(attempt.delivery.home, entry)])
                if self._parts.traces is not None:
                    self._parts.traces.received([_seen(receipt, applied)], self._parts)
            return applied
        if failed:
            await self._hasten(attempt, now)
        entry = write_entry(carrier_entry(now, attempt.delivery.place, attempt.track, status, error))
        await self._parts.homes.append_journal([(attempt.delivery.home, entry)])
        if self._parts.traces is not None:
            told = Seen(delivery=attempt.delivery, track=attempt.track, event=f"sms {status}", at=now, path=Path.SMS)
            self._parts.traces.received([told], self._parts)
        return None

    async def _hasten(self, attempt: AttemptRef, now: Millis) -> None:
        home, place = attempt.delivery.home, attempt.delivery.place
        state = (await self._parts.homes.states(home, [place])).get(place)
        contents = await self._parts.homes.contents(home, [place])
        if state is None or contents is None or attempt.track >= len(state.tracks):
            return
        cursor = state.tracks[attempt.track].cursor
        if cursor.step == attempt.step and cursor.phase is Phase.WAITING:
            members = Members(home, Cursor(cursor.step, cursor.attempt, cursor.phase), ((place, attempt.track),))
            await self._parts.homes.hasten(contents.app, contents.lane, members, now)

    async def undelivered(self, attempt_ids: Sequence[str], now: Millis) -> None:
        """Frames whose device was not on the node any more: their step failed, it is due now."""
        for attempt_id in attempt_ids:
            attempt = parse_attempt_id(attempt_id)
            if attempt is not None:
                await self._hasten(attempt, now)


def _seen(receipt: Receipt, applied: Applied) -> Seen:
    return Seen(
        delivery=receipt.delivery,
        track=applied.track,
        event=EVENT_NAMES[receipt.event],
        at=receipt.at,
        path=applied.path,
        attempted_at=applied.attempted_at,
        confirmed=applied.confirmed,
    )


def _names(attempt_id: str | None, delivery_id: str) -> bool:
    """Whether an attempt id says the very delivery id beside it: its tag is checked then."""
    return attempt_id is not None and attempt_id.partition("-")[0] == delivery_id


def _own_delivery(message: StoredMessage | None, user_id: str) -> DeliveryRef | None:
    if message is None or user_id not in message.user_ids:
        return None
    return DeliveryRef(message.home, message.place + list(message.user_ids).index(user_id))
