"""The inbox as phones pull it: newest first in three windows, or what came since a cursor."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from dispatcher.domain.clock import DAY, Millis
from dispatcher.domain.delivery import Proof
from dispatcher.domain.ids import InboxCursor, inbox_attempt_id, read_cursor, write_cursor
from dispatcher.domain.paths import Path
from dispatcher.domain.requests import InboxQuery, ReceiptItem, Window
from dispatcher.pipeline.parts import PhoneParts
from dispatcher.pipeline.receive import Receiver
from dispatcher.ports.inboxes import InboxEntry
from dispatcher.ports.receiving import InboxAnswer

RECENT: Millis = 7 * DAY
MONTH: Millis = 30 * DAY
REPLAY = 2_000  #: unproven entries a hot inbox keeps at most
POLL_SOON = "5s"
POLL_LATER = "60s"
_CLASS = re.compile(rb'"class":"([a-z0-9_]{1,32})"')
_json = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class _Page:
    entries: Sequence[InboxEntry]
    more: bool
    next: str | None


class Puller:
    """Answers inbox requests, for API and gateway alike."""

    def __init__(self, parts: PhoneParts, receiver: Receiver) -> None:
        self._parts = parts
        self._receiver = receiver

    async def pull(self, app: str, user_id: str, device_id: str | None, query: InboxQuery, now: Millis) -> InboxAnswer:
        """One page. Raises ``ForeignCursor``. Without *device_id* (a backend looks) a cursor proves nothing."""
        if device_id is not None:
            self._receiver.sightings.note(app, device_id, now)
        epoch = await self._parts.inboxes.epoch()
        if query.after is not None:
            page = await self._since(app, user_id, device_id, query, epoch, now)
        else:
            page = await self._backwards(app, user_id, query, epoch, now)
        unread = await self._parts.inboxes.unread(app, user_id, now - RECENT)
        items = [
            b'{"cursor":"%b","delivery_id":"%b","attempt_id":"%b",%b}'
            % (
                self._cursor(epoch, entry.seq, app, user_id).encode(),
                entry.delivery_id.encode(),
                inbox_attempt_id(entry.delivery_id).encode(),
                entry.body,
            )
            for entry in page.entries
        ]
        body = b'{"messages":[%b],"next":%b,"more":%b,"unread":%d,"poll_after":"%b"}' % (
            b",".join(items),
            _json(page.next),
            b"true" if page.more else b"false",
            unread,
            (POLL_SOON if page.more else POLL_LATER).encode(),
        )
        return InboxAnswer(body, not items)

    async def _since(
        self, app: str, user_id: str, device_id: str | None, query: InboxQuery, epoch: int, now: Millis
    ) -> _Page:
        cursor = read_cursor(self._parts.ids, query.after or "", app, user_id)
        after = cursor.seq if cursor.epoch == epoch else None  # of another life: replay what is unproven
        # a replay goes from the oldest on, for the next cursor says that all below it is stored on the phone
        limit = query.limit if after is not None else max(query.limit, REPLAY)
        found = await self._parts.inboxes.catch_up(
            app, user_id, device_id=device_id or "", session=None, after=after, limit=limit, now=now
        )
        if device_id is not None and found.passed:
            await self.passed(app, user_id, device_id, found.passed, now)
        entries = found.entries[: query.limit]
        more = found.more or len(found.entries) > len(entries)
        last = entries[-1].seq if entries else min(after or found.last_seq, found.last_seq)
        return _Page(entries, more, self._cursor(epoch, last, app, user_id))

    async def passed(self, app: str, user_id: str, device_id: str, deliveries: Sequence[str], now: Millis) -> None:
        """A cursor says: everything up to it is stored on the phone. That proves it, by ``poll``."""
        items = [
            ReceiptItem(
                user_id=user_id, device_id=device_id, delivery_id=delivery, event=Proof.DELIVERED, via=Path.POLL
            )
            for delivery in deliveries
        ]
        await self._receiver.receive(app, items, now)

    async def _backwards(self, app: str, user_id: str, query: InboxQuery, epoch: int, now: Millis) -> _Page:
        before = None
        if query.before is not None:
            before = read_cursor(self._parts.ids, query.before, app, user_id).seq
        wanted = query.limit + 1
        entries: list[InboxEntry] = []
        if query.window == Window.RECENT:
            floor = (now - RECENT) * 1000
            hot = await self._parts.inboxes.newest(app, user_id, before=before, limit=wanted)
            entries = [entry for entry in hot if entry.seq >= floor]
        if len(entries) < wanted:
            below = entries[-1].seq if entries else before
            entries += await self._history(app, user_id, query.window, below, entries, wanted - len(entries), now)
        more = len(entries) > query.limit
        entries = entries[: query.limit]
        following = self._cursor(epoch, entries[-1].seq, app, user_id) if more else None
        return _Page([entry for entry in entries if self._readable(entry, now)], more, following)

    def _readable(self, entry: InboxEntry, now: Millis) -> bool:
        """Whether the retention of the message's class still lets it be read."""
        found = _CLASS.search(entry.body)
        kept = self._parts.rules.retention(found[1].decode()) if found else None
        return entry.seq // 1000 >= now - (DAY if kept is None else kept)

    async def _history(
        self,
        app: str,
        user_id: str,
        window: Window,
        before: int | None,
        known: Sequence[InboxEntry],
        limit: int,
        now: Millis,
    ) -> list[InboxEntry]:
        newest, oldest = {
            Window.RECENT: (now, now - RECENT),
            Window.MONTH: (now - RECENT, now - MONTH),
            Window.ARCHIVE: (now - MONTH, 0),
        }[window]
        rows = await self._parts.deliveries.history(
            app, user_id, before=before, after_time=oldest, before_time=newest, limit=limit + len(known)
        )
        seen = {entry.delivery_id for entry in known}
        entries = [
            InboxEntry(seq=row.seq, delivery_id=self._parts.ids.delivery_id(row.ref, app, user_id), body=row.body)
            for row in rows
            if row.body  # recalled ones have none left
        ]
        return [entry for entry in entries if entry.delivery_id not in seen][:limit]

    def _cursor(self, epoch: int, seq: int, app: str, user_id: str) -> str:
        return write_cursor(self._parts.ids, InboxCursor(epoch, seq), app, user_id)
