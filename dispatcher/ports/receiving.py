"""The doors through which the gateway hands on what phones say, and asks what waits for them.

Failure policy: evidence is never dropped. A call that raises is repeated by the gateway with the same arguments, so
every method is idempotent.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Proof
from dispatcher.domain.paths import Path
from dispatcher.domain.requests import Counts, InboxQuery
from dispatcher.ports.node_bus import BusFrame

__all__ = [
    "Acknowledged",
    "Counts",
    "DeviceAcks",
    "InboxAnswer",
    "InboxPull",
    "InboxQuery",
    "ReceiveDoor",
]


class Acknowledged(Struct, frozen=True):
    """One receipt as a phone words it. ``id``: a delivery_id or a message_id; nothing about it was checked."""

    id: str
    event: Proof


class DeviceAcks(Struct, frozen=True):
    """One ack frame of one device. ``ids`` as in :class:`Acknowledged`."""

    app: str
    user_id: str
    device_id: str
    event: Proof
    ids: Sequence[str]


class ReceiveDoor(Protocol):
    """Where evidence goes in. It is applied when a call returns."""

    async def acknowledge(
        self,
        app: str,
        user_id: str,
        device_id: str,
        items: Sequence[Acknowledged],
        *,
        via: Path | None,
        now: Millis,
    ) -> Counts:
        """Receipts of one device."""

    async def acknowledge_many(self, batch: Sequence[DeviceAcks], *, via: Path | None, now: Millis) -> Counts:
        """Ack frames of many devices, gathered over one flush; the same device may stand in it several times."""

    async def passed(self, app: str, user_id: str, device_id: str, delivery_ids: Sequence[str], now: Millis) -> None:
        """Deliveries that a device's cursor newly covered: delivered, by path ``poll``."""

    def greeted(self, app: str, device_id: str, now: Millis) -> None:
        """A device that was not seen for a day said hello: its tokens are no stale ones. Never waits."""

    async def stalled(self, now: Millis) -> None:
        """The node stood still: acks may have waited unheard, so silence proves nothing for a while."""

    async def undelivered(self, frames: Sequence[BusFrame]) -> None:
        """``msg`` and ``wake`` frames whose device is not on this node any more: their step is known to have failed."""


class InboxAnswer(Struct, frozen=True):
    """The answer's JSON text, and whether it holds no message (then a long-poll goes on waiting)."""

    body: bytes
    empty: bool


class InboxPull(Protocol):
    """Answers inbox requests, for API and gateway alike."""

    async def pull(self, app: str, user_id: str, device_id: str | None, query: InboxQuery, now: Millis) -> InboxAnswer:
        """Raises :class:`dispatcher.domain.ids.ForeignCursor` for a cursor of another user (422 at the door)."""
