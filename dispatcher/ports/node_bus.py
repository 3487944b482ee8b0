"""Worker to gateway node in one hop. At least once comes from the inbox: the bus only wakes."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct


class BusFrame(Struct, frozen=True, array_like=True, kw_only=True):
    """One thing for one device at one node.

    ``kind``: ``msg`` (push it), ``wake`` (a parked poll has something), ``recall``, ``replaced`` (4002: a newer session
    stands elsewhere), ``moved`` (4010: the device belongs to another user). For ``msg``: where ``prev_seq`` is not the
    last seq sent on the line, the gateway reads the inbox instead.
    """

    kind: str
    app: str
    user_id: str
    device_id: str
    session: str = ""
    epoch: int = 0  #: binding epoch the frame was made for; another one's session drops it
    seq: int = 0
    prev_seq: int = 0
    delivery_id: str = ""
    attempt_id: str = ""
    message_id: str = ""
    body: bytes = b""


class NodeBus(Protocol):
    """Bounded queues, one a node: beyond 50,000 waiting frames the oldest go, and inboxes serve instead."""

    async def send(self, frames: Mapping[str, Sequence[BusFrame]]) -> None:
        """Frames by node."""

    async def receive(self, node: str, *, limit: int, block_s: float) -> list[BusFrame]:
        """Waits up to *block_s* for the next frames of *node*."""
