"""What a gateway's phones say and ask, handed to the pipeline: evidence, inboxes, and who is kept out."""

from collections import defaultdict
from collections.abc import Sequence

from dispatcher.domain.clock import DAY, Millis
from dispatcher.domain.delivery import Proof
from dispatcher.domain.paths import Path
from dispatcher.domain.requests import Counts, InboxQuery, ReceiptItem
from dispatcher.ledger.kept_out import SqlKeptOut
from dispatcher.pipeline.parts import PhoneParts
from dispatcher.pipeline.pull import Puller
from dispatcher.pipeline.receive import Receiver
from dispatcher.ports.block_list import BlockList, sorted_blocks
from dispatcher.ports.node_bus import BusFrame
from dispatcher.ports.receiving import Acknowledged, DeviceAcks, InboxAnswer


class PhoneDesk:
    """Implements :mod:`dispatcher.ports.receiving` for the gateway, over the receiver and puller that the API has."""

    def __init__(self, parts: PhoneParts) -> None:
        self._parts = parts
        self._receiver = Receiver(parts)
        self._puller = Puller(parts, self._receiver)

    async def acknowledge(
        self, app: str, user_id: str, device_id: str, items: Sequence[Acknowledged], *, via: Path | None, now: Millis
    ) -> Counts:
        receipts = [self._item(app, user_id, device_id, item.id, item.event, via) for item in items]
        return await self._receiver.receive(app, receipts, now)

    async def acknowledge_many(self, batch: Sequence[DeviceAcks], *, via: Path | None, now: Millis) -> Counts:
        by_app: dict[str, list[ReceiptItem]] = defaultdict(list)
        for acks in batch:
            by_app[acks.app] += [
                self._item(acks.app, acks.user_id, acks.device_id, one, acks.event, via) for one in acks.ids
            ]
        counts = [await self._receiver.receive(app, items, now) for app, items in by_app.items()]
        return Counts(
            accepted=sum(one.accepted for one in counts),
            unknown=sum(one.unknown for one in counts),
            duplicate=sum(one.duplicate for one in counts),
        )

    async def passed(self, app: str, user_id: str, device_id: str, delivery_ids: Sequence[str], now: Millis) -> None:
        await self._puller.passed(app, user_id, device_id, delivery_ids, now)

    def greeted(self, app: str, device_id: str, now: Millis) -> None:
        self._receiver.sightings.note(app, device_id, now, again=DAY)

    async def stalled(self, now: Millis) -> None:
        await self._receiver.lagged(now, "gateway_stalled")

    async def undelivered(self, frames: Sequence[BusFrame]) -> None:
        attempts = [frame.attempt_id for frame in frames if frame.attempt_id]
        await self._receiver.undelivered(attempts, self._parts.clock())

    async def pull(self, app: str, user_id: str, device_id: str | None, query: InboxQuery, now: Millis) -> InboxAnswer:
        return await self._puller.pull(app, user_id, device_id, query, now)

    async def close(self) -> None:
        """Writes the signs of life that wait."""
        await self._receiver.sightings.close()

    def _item(self, app: str, user_id: str, device_id: str, named: str, event: Proof, via: Path | None) -> ReceiptItem:
        known = self._parts.ids.read_delivery(named, app, user_id) is not None
        return ReceiptItem(
            user_id=user_id,
            device_id=device_id,
            delivery_id=named if known else None,
            message_id=None if known else named,
            event=event,
            via=via,
        )


class Blocked:
    """Who is kept out of an app, as a gateway asks it."""

    def __init__(self, kept_out: SqlKeptOut) -> None:
        self._kept_out = kept_out

    async def __call__(self, app: str) -> BlockList | None:
        """None where there is no such app."""
        blocks = await self._kept_out.blocks(app)
        return None if blocks is None else BlockList(**sorted_blocks(blocks))
