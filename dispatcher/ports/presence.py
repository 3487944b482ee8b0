"""Which gateway node holds a device now; valid only while that node's short lease lives."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from dispatcher.domain.clock import Millis


class Line(StrEnum):
    """How a device is attached."""

    SYNCING = "syncing"  #: connected, still draining its inbox
    ONLINE = "online"
    PARKED = "parked"  #: a long-poll waits
    LOST = "lost"  #: gone since ``since``; reconnecting for one grace, then offline


class Presence(Struct, frozen=True, kw_only=True, gc=False):
    """One device's line. A LOST one carries the session it lost."""

    device_id: str
    node: str
    session: str
    line: Line
    foreground: bool
    since: Millis


class Presences(Protocol):
    """Presence across nodes."""

    async def register(self, app: str, user_id: str, presence: Presence) -> Presence | None:
        """The newest session wins; returns the one it replaced, for its node to close (4002)."""

    async def set_foreground(self, app: str, user_id: str, device_id: str, session: str, foreground: bool) -> None:
        """Ignored where *session* is no longer the device's."""

    async def drop(self, app: str, user_id: str, device_id: str, session: str, now: Millis, *, lost: bool) -> None:
        """Ends *session*'s presence; never another's. *lost*: the device may come back within the grace."""

    async def of_users(self, app: str, user_ids: Sequence[str], now: Millis) -> Mapping[str, Sequence[Presence]]:
        """Lines by user; those of nodes whose lease lapsed are LOST since the lapse was seen."""

    async def hold_node(self, node: str, now: Millis, lease_ms: Millis) -> None:
        """Renews a gateway node's lease."""

    async def release_node(self, node: str) -> None:
        """Ends a node's lease on shutdown."""

    async def take_lapsed_nodes(self, now: Millis) -> list[str]:
        """Nodes whose lease ended without a release, each told once."""
