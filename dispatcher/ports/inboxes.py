"""What a user's devices can still pull, by cursor, and the switch to live without loss.

The hot inbox keeps each user's newest 200 and what is unproven. ``seq`` = max(last + 1, the store's time in
microseconds), so nothing can appear below a cursor that was read.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Proof
from dispatcher.ports.presence import Presence


class InboxEntry(Struct, frozen=True, kw_only=True, gc=False):
    """One message in one inbox. ``body``: the frame's JSON members, passed through (see domain.message.Message)."""

    seq: int
    delivery_id: str
    body: bytes


class Catchup(Struct, frozen=True, kw_only=True, gc=False):
    """What a device has not stored yet.

    ``passed``: deliveries its cursor newly covered, which it thereby proves. ``online``: nothing was left, and the
    session's presence was flipped to online in the same script. Where the device took its line with this look:
    ``replaced``, the line it had before, and ``revision``, the user's profile as the store had it at that moment (None:
    it holds none).
    """

    epoch: int
    entries: Sequence[InboxEntry]
    more: bool
    passed: Sequence[str]
    online: bool
    last_seq: int
    replaced: Presence | None = None
    revision: int | None = None


class CatchupAsk(Struct, frozen=True, kw_only=True, gc=False):
    """One device's question; see :meth:`Inboxes.catch_up`.

    ``line``: the device takes this line first, in the same step: the newest session wins. Its session is ``session``.
    """

    app: str
    user_id: str
    device_id: str
    session: str | None
    after: int | None
    limit: int
    floor: int | None = None
    line: Presence | None = None


class Inboxes(Protocol):
    """Hot inboxes."""

    async def epoch(self) -> int:
        """The number of the hot store's present life; 0 where it was lost and is not rebuilt yet."""

    async def append(self, app: str, entries: Sequence[tuple[str, str, bytes]], now: Millis) -> list[tuple[int, int]]:
        """Appends (user_id, delivery_id, body); answers (seq, prev_seq) in order. A known entry keeps its seq."""

    async def newest(self, app: str, user_id: str, *, before: int | None, limit: int) -> Sequence[InboxEntry]:
        """Newest first, below *before*."""

    async def catch_up(
        self,
        app: str,
        user_id: str,
        *,
        device_id: str,
        session: str | None,
        after: int | None,
        limit: int,
        now: Millis,
        floor: int | None = None,
    ) -> Catchup:
        """Entries above *after*, oldest first; without it the newest unproven ones.

        ``after`` also proves all up to it (``passed``). With *session*, a device with nothing left turns online.
        ``floor``: entries at or below are left out but not proven (already sent on this line).
        """

    async def catch_up_many(self, asks: Sequence[CatchupAsk], now: Millis) -> list[Catchup]:
        """:meth:`catch_up` for many devices, in order, in few round trips."""

    async def mark(self, app: str, user_id: str, deliveries: Sequence[str], proof: Proof) -> None:
        """Proven entries leave the unproven, opened ones the unread."""

    async def mark_many(self, app: str, marks: Sequence[tuple[str, Proof, Sequence[str]]]) -> None:
        """:meth:`mark` for many users: (user_id, proof, deliveries)."""

    async def remove(self, app: str, user_id: str, deliveries: Sequence[str]) -> None:
        """Recalled or erased entries go."""

    async def find(self, app: str, user_id: str, message_ids: Sequence[str]) -> dict[str, str]:
        """Delivery ids by message id, for those in the hot inbox."""

    async def unread(self, app: str, user_id: str, since: Millis) -> int:
        """Entries since then that no device opened."""

    async def forget_user(self, app: str, user_id: str) -> None:
        """Erases the user's inbox and presence."""
