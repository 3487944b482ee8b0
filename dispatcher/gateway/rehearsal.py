"""A small world in memory round a gateway: ports, phones and a dispatcher, for benchmarks and tests.

It keeps the contracts that the real pipeline keeps towards the gateway (inbox first, then the bus), and books of what
was proven.
"""

from collections.abc import Callable, Sequence

import msgspec

from dispatcher.domain.clock import HOUR, Clock, Millis, rfc3339, system_clock
from dispatcher.domain.delivery import Proof
from dispatcher.domain.device import Device, Platform, Profile
from dispatcher.domain.device_token import DeviceIdentity, DeviceTokens
from dispatcher.domain.ids import (
    DeliveryRef,
    IdKey,
    InboxCursor,
    attempt_id,
    make_home,
    read_cursor,
    write_cursor,
)
from dispatcher.domain.paths import Path
from dispatcher.gateway.kept_out import ReadRules
from dispatcher.gateway.server import Gateway
from dispatcher.gateway.settings import GatewaySettings
from dispatcher.hot.memory.inboxes import MemoryInboxes
from dispatcher.hot.memory.node_bus import MemoryNodeBus
from dispatcher.hot.memory.presence import MemoryPresences
from dispatcher.hot.memory.profiles import MemoryProfiles
from dispatcher.ports.inboxes import InboxEntry
from dispatcher.ports.node_bus import BusFrame
from dispatcher.ports.presence import Line
from dispatcher.ports.receiving import Acknowledged, Counts, DeviceAcks, InboxAnswer, InboxQuery

APP = "app-1"


class Books:
    """The receiving port in memory: what was proven, by whom, how often it was said.

    *fail*: how many of the next calls raise, as a store that does not answer.
    """

    def __init__(self, ids: IdKey, inboxes: MemoryInboxes) -> None:
        self._ids = ids
        self._inboxes = inboxes
        self.proven: dict[tuple[str, str, str], Proof] = {}  #: by app, user, delivery
        self.by_cursor: set[tuple[str, str, str]] = set()
        self.returned: list[BusFrame] = []
        self.counts = Counts()
        self.calls = 0
        self.fail = 0
        self.on_proof: Callable[[str, str, str], None] | None = None
        self.seen: list[tuple[str, str]] = []
        self.stalls = 0

    def greeted(self, app: str, device_id: str, now: Millis) -> None:
        self.seen.append((app, device_id))

    async def stalled(self, now: Millis) -> None:
        self.stalls += 1

    async def acknowledge(
        self, app: str, user_id: str, device_id: str, items: Sequence[Acknowledged], *, via: Path | None, now: Millis
    ) -> Counts:
        batch = [DeviceAcks(app, user_id, device_id, item.event, (item.id,)) for item in items]
        return await self.acknowledge_many(batch, via=via, now=now)

    async def acknowledge_many(self, batch: Sequence[DeviceAcks], *, via: Path | None, now: Millis) -> Counts:
        self._stumble()
        self.calls += 1
        accepted = unknown = duplicate = 0
        for acks in batch:
            for given in acks.ids:
                delivery_id: str | None = given
                if self._ids.read_delivery(given, acks.app, acks.user_id) is None:
                    found = await self._inboxes.find(acks.app, acks.user_id, [given])
                    delivery_id = found.get(given)
                if delivery_id is None:
                    unknown += 1
                    continue
                key = (acks.app, acks.user_id, delivery_id)
                held = self.proven.get(key, Proof.NONE)
                if held >= acks.event:
                    duplicate += 1
                    continue
                accepted += 1
                self._prove(key, acks.event)
        counts = Counts(accepted, unknown, duplicate)
        total = self.counts
        self.counts = Counts(total.accepted + accepted, total.unknown + unknown, total.duplicate + duplicate)
        return counts

    async def passed(self, app: str, user_id: str, device_id: str, delivery_ids: Sequence[str], now: Millis) -> None:
        self._stumble()
        for delivery_id in delivery_ids:
            key = (app, user_id, delivery_id)
            self.by_cursor.add(key)
            if key not in self.proven:
                self._prove(key, Proof.DELIVERED)

    async def undelivered(self, frames: Sequence[BusFrame]) -> None:
        self.returned.extend(frames)

    def _prove(self, key: tuple[str, str, str], proof: Proof) -> None:
        self.proven[key] = proof
        self._inboxes.mark_now(key[0], key[1], (key[2],), proof)
        if self.on_proof is not None:
            self.on_proof(*key)

    def _stumble(self) -> None:
        if self.fail:
            self.fail -= 1
            raise ConnectionError("the store does not answer")


class MemoryPull:
    """The inbox port in memory: recent entries both ways."""

    def __init__(self, ids: IdKey, inboxes: MemoryInboxes, books: Books) -> None:
        self._ids = ids
        self._inboxes = inboxes
        self._books = books

    async def pull(self, app: str, user_id: str, device_id: str | None, query: InboxQuery, now: Millis) -> InboxAnswer:
        life = await self._inboxes.epoch()
        cursor = query.after or query.before
        at = read_cursor(self._ids, cursor, app, user_id) if cursor else None
        if query.after is not None and at is not None:
            seq = at.seq if at.epoch == life else None
            page = await self._inboxes.catch_up(
                app, user_id, device_id=device_id or "", session=None, after=seq, limit=query.limit, now=now
            )
            if page.passed:
                await self._books.passed(app, user_id, device_id or "", page.passed, now)
            entries: Sequence[InboxEntry] = page.entries
            more = page.more
            end = entries[-1].seq if entries else at.seq
        else:
            entries = await self._inboxes.newest(app, user_id, before=at.seq if at else None, limit=query.limit)
            more = len(entries) == query.limit
            end = entries[-1].seq if entries else 0
        texts = [
            b'{"cursor":"%b","delivery_id":"%b",%b}'
            % (self._cursor(life, entry.seq, app, user_id), entry.delivery_id.encode(), entry.body)
            for entry in entries
        ]
        body = b'{"messages":[%b],"next":"%b","more":%b,"unread":%d,"poll_after":"30s"}' % (
            b",".join(texts),
            self._cursor(life, end, app, user_id),
            b"true" if more else b"false",
            await self._inboxes.unread(app, user_id, 0),
        )
        return InboxAnswer(body, not texts)

    def _cursor(self, life: int, seq: int, app: str, user_id: str) -> bytes:
        return write_cursor(self._ids, InboxCursor(life, seq), app, user_id).encode()


class Rehearsal:
    """Ports that belong together, and what a backend and a worker would do with them."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self.clock = clock
        self.ids = IdKey(b"rehearsal ids")
        self.tokens = DeviceTokens(b"rehearsal tokens")
        self.presences = MemoryPresences()
        self.profiles = MemoryProfiles()
        self.inboxes = MemoryInboxes(self.presences, clock, self.profiles)
        self.bus = MemoryNodeBus()
        self.books = Books(self.ids, self.inboxes)
        self.pull = MemoryPull(self.ids, self.inboxes, self.books)
        self.rules: ReadRules | None = None  #: an app's block lists, for gateways made from now on
        self._places = 0
        self._epochs: dict[tuple[str, str], int] = {}

    def gateway(self, settings: GatewaySettings | None = None, dice: Callable[[], float] = lambda: 0.5) -> Gateway:
        """A gateway on these ports; by default on a free port."""
        return Gateway(
            settings or GatewaySettings(port=0),
            inboxes=self.inboxes,
            presences=self.presences,
            bus=self.bus,
            profiles=self.profiles,
            tokens=self.tokens,
            ids=self.ids,
            receive=self.books,
            pull=self.pull,
            clock=self.clock,
            dice=dice,
            rules=self.rules,
        )

    async def bind(self, user_id: str, device_id: str, *, ttl: Millis = HOUR, app: str = APP) -> str:
        """Binds the device to the user, from whomever it was; returns a token."""
        epoch = self._epochs[app, device_id] = self._epochs.get((app, device_id), 0) + 1
        profile = (await self.profiles.get(app, [user_id]))[user_id]
        others = tuple(device for device in profile.devices if device.device_id != device_id)
        device = Device(device_id=device_id, epoch=epoch, platform=Platform.ANDROID)
        fresh = Profile(app=app, user_id=user_id, rev=profile.rev + 1, devices=(*others, device))
        await self.profiles.put([fresh])
        return self.token(user_id, device_id, ttl=ttl, app=app)

    async def unbind(self, user_id: str, device_id: str, *, app: str = APP) -> None:
        """Takes the device out of the user's profile."""
        profile = (await self.profiles.get(app, [user_id]))[user_id]
        others = tuple(device for device in profile.devices if device.device_id != device_id)
        await self.profiles.put([msgspec.structs.replace(profile, rev=profile.rev + 1, devices=others)])

    def token(
        self, user_id: str, device_id: str, *, ttl: Millis = HOUR, app: str = APP, epoch: int | None = None
    ) -> str:
        """A token of the device's present binding."""
        now = self.clock()
        identity = DeviceIdentity(
            app=app,
            user_id=user_id,
            device_id=device_id,
            epoch=self._epochs.get((app, device_id), 1) if epoch is None else epoch,
            expires_at=now + ttl,
        )
        return self.tokens.mint(identity, now)

    def cursor(self, user_id: str, seq: int, *, life: int | None = None, app: str = APP) -> str:
        """A cursor as this world writes them."""
        at = InboxCursor(self.inboxes.life if life is None else life, seq)
        return write_cursor(self.ids, at, app, user_id)

    def append(self, user_id: str, message_id: str, text: str = "", *, app: str = APP) -> BusFrame:
        """Puts a message into the user's inbox; returns the bus frame for it, without device."""
        self._places += 1
        now = self.clock()
        home = make_home(now, self._places >> 16, 0)
        delivery_id = self.ids.delivery_id(DeliveryRef(home, self._places & 0xFFFF), app, user_id)
        body = (
            b'"message_id":%b,"class":"chat","notification":{"title":"Wang","body":%b},"data":null,"sent_at":"%b"'
            % (
                msgspec.json.encode(message_id),
                msgspec.json.encode(text),
                rfc3339(now).encode(),
            )
        )
        seq, prev_seq = self.inboxes.append_now(app, user_id, delivery_id, body)
        return BusFrame(
            kind="msg",
            app=app,
            user_id=user_id,
            device_id="",
            seq=seq,
            prev_seq=prev_seq,
            delivery_id=delivery_id,
            attempt_id=attempt_id(delivery_id, 0, 0, 0, Path.LONGCONN),
            message_id=message_id,
            body=body,
        )

    async def wake(self, frame: BusFrame) -> int:
        """Sends *frame* to wherever the user's devices are; returns to how many."""
        lines = (await self.presences.of_users(frame.app, [frame.user_id], self.clock()))[frame.user_id]
        here = [line for line in lines if line.line is not Line.LOST]
        for line in here:
            kind = "wake" if line.line is Line.PARKED and frame.kind == "msg" else frame.kind
            epoch = self._epochs.get((frame.app, line.device_id), 1)
            sent = msgspec.structs.replace(
                frame, kind=kind, device_id=line.device_id, session=line.session, epoch=epoch
            )
            await self.bus.send({line.node: [sent]})
        return len(here)

    async def dispatch(self, user_id: str, message_id: str, text: str = "", *, app: str = APP) -> str:
        """Inbox, then bus; returns the delivery id."""
        frame = self.append(user_id, message_id, text, app=app)
        await self.wake(frame)
        return frame.delivery_id
