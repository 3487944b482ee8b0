"""Inboxes in memory."""

from bisect import bisect_right
from collections.abc import Callable, Sequence

import msgspec

from dispatcher.domain.clock import Millis, system_clock
from dispatcher.domain.delivery import Proof
from dispatcher.hot.memory.presence import MemoryPresences
from dispatcher.hot.memory.profiles import MemoryProfiles
from dispatcher.ports.inboxes import Catchup, CatchupAsk, InboxEntry

NEWEST_KEPT = 200
PASSED_AT_ONCE = 1_000


class _Named(msgspec.Struct):
    message_id: str = ""


class _Inbox:
    """One user's entries in order of seq, with what is unproven and unopened among them."""

    __slots__ = ("entries", "last", "seqs", "unopened", "unproven")

    def __init__(self) -> None:
        self.entries: list[InboxEntry] = []
        self.seqs: dict[str, int] = {}
        self.unproven: set[str] = set()
        self.unopened: set[str] = set()
        self.last = 0

    def above(self, seq: int) -> list[InboxEntry]:
        return self.entries[bisect_right(self.entries, seq, key=lambda entry: entry.seq) :]

    def up_to(self, seq: int) -> list[InboxEntry]:
        return self.entries[: bisect_right(self.entries, seq, key=lambda entry: entry.seq)]

    def take_out(self, gone: set[str]) -> None:
        self.entries = [entry for entry in self.entries if entry.delivery_id not in gone]
        for delivery_id in gone:
            self.seqs.pop(delivery_id, None)
        self.unproven -= gone
        self.unopened -= gone


class MemoryInboxes:
    """The port :class:`~dispatcher.ports.inboxes.Inboxes`.

    *presences*: where lines are taken and the switch to online is written; *profiles*: whose revisions are told.
    """

    def __init__(
        self,
        presences: MemoryPresences,
        clock: Callable[[], Millis] = system_clock,
        profiles: MemoryProfiles | None = None,
    ) -> None:
        self._presences = presences
        self._profiles = profiles
        self._clock = clock
        self._inboxes: dict[tuple[str, str], _Inbox] = {}
        self.life = 1

    async def epoch(self) -> int:
        return self.life

    async def append(self, app: str, entries: Sequence[tuple[str, str, bytes]], now: Millis) -> list[tuple[int, int]]:
        return [self.append_now(app, user_id, delivery_id, body) for user_id, delivery_id, body in entries]

    def append_now(self, app: str, user_id: str, delivery_id: str, body: bytes) -> tuple[int, int]:
        """One entry, without waiting; (seq, prev_seq)."""
        inbox = self._inboxes.setdefault((app, user_id), _Inbox())
        known = inbox.seqs.get(delivery_id)
        if known is not None:
            before = inbox.up_to(known - 1)
            return known, before[-1].seq if before else 0
        previous = inbox.last
        seq = inbox.last = max(previous + 1, self._clock() * 1_000)
        inbox.entries.append(InboxEntry(seq=seq, delivery_id=delivery_id, body=body))
        inbox.seqs[delivery_id] = seq
        inbox.unproven.add(delivery_id)
        inbox.unopened.add(delivery_id)
        over = len(inbox.entries) - NEWEST_KEPT
        if over > 0:
            oldest = {entry.delivery_id for entry in inbox.entries[:over]} - inbox.unproven
            if oldest:
                inbox.take_out(oldest)
        return seq, previous

    async def newest(self, app: str, user_id: str, *, before: int | None, limit: int) -> Sequence[InboxEntry]:
        inbox = self._inbox(app, user_id)
        entries = inbox.entries if before is None else inbox.up_to(before - 1)
        return entries[::-1][:limit]

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
        ask = CatchupAsk(
            app=app, user_id=user_id, device_id=device_id, session=session, after=after, limit=limit, floor=floor
        )
        return self._look(ask)

    async def catch_up_many(self, asks: Sequence[CatchupAsk], now: Millis) -> list[Catchup]:
        return [self._look(ask) for ask in asks]

    def _look(self, ask: CatchupAsk) -> Catchup:
        app, user_id, after, floor, limit = ask.app, ask.user_id, ask.after, ask.floor, ask.limit
        replaced = revision = None
        if ask.line is not None:
            replaced = self._presences.register_now(app, user_id, ask.line)
            revision = self._profiles.revision(app, user_id) if self._profiles is not None else None
        found: list[InboxEntry] = []
        passed: list[str] = []
        more, last = False, 0
        inbox = self._inboxes.get((app, user_id))
        if inbox is not None:
            last = inbox.last
            if after is not None and after > last:
                after = None  # of the future: as if none
            if after is not None:
                covered = (entry.delivery_id for entry in inbox.up_to(after))
                passed = [delivery_id for delivery_id in covered if delivery_id in inbox.unproven][:PASSED_AT_ONCE]
            if after is None and floor is None:
                waiting = [entry for entry in inbox.entries if entry.delivery_id in inbox.unproven]
                found = waiting[-limit:]
            else:
                waiting = inbox.above(max(after or 0, floor or 0))
                found = waiting[:limit]
            more = len(waiting) > limit
        online = False
        if ask.session and not found:
            online = self._presences.turn_online(app, user_id, ask.device_id, ask.session)
        return Catchup(
            epoch=self.life,
            entries=found,
            more=more,
            passed=passed,
            online=online,
            last_seq=last,
            replaced=replaced,
            revision=revision,
        )

    async def mark(self, app: str, user_id: str, deliveries: Sequence[str], proof: Proof) -> None:
        self.mark_now(app, user_id, deliveries, proof)

    async def mark_many(self, app: str, marks: Sequence[tuple[str, Proof, Sequence[str]]]) -> None:
        for user_id, proof, deliveries in marks:
            self.mark_now(app, user_id, deliveries, proof)

    def mark_now(self, app: str, user_id: str, deliveries: Sequence[str], proof: Proof) -> None:
        """:meth:`mark` without waiting."""
        inbox = self._inbox(app, user_id)
        inbox.unproven.difference_update(deliveries)
        if proof is Proof.OPENED:
            inbox.unopened.difference_update(deliveries)

    async def remove(self, app: str, user_id: str, deliveries: Sequence[str]) -> None:
        self._inbox(app, user_id).take_out(set(deliveries))

    async def find(self, app: str, user_id: str, message_ids: Sequence[str]) -> dict[str, str]:
        named = {_message_id(entry.body): entry.delivery_id for entry in self._inbox(app, user_id).entries}
        return {message_id: named[message_id] for message_id in message_ids if message_id in named}

    async def unread(self, app: str, user_id: str, since: Millis) -> int:
        inbox = self._inbox(app, user_id)
        return sum(1 for delivery_id in inbox.unopened if inbox.seqs[delivery_id] >= since * 1_000)

    async def forget_user(self, app: str, user_id: str) -> None:
        self._inboxes.pop((app, user_id), None)
        self._presences.forget(app, user_id)

    def lose(self, life: int) -> None:
        """Forgets everything and begins *life*, as a hot store that lost its data."""
        self._inboxes.clear()
        self._presences.lose()
        self.life = life

    def _inbox(self, app: str, user_id: str) -> _Inbox:
        return self._inboxes.get((app, user_id)) or _Inbox()


def _message_id(body: bytes) -> str:
    return msgspec.json.decode(b"{%b}" % body, type=_Named).message_id
