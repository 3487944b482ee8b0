"""From a verified hello to online: binding, line, inbox, in batches over the hellos that wait.

Two questions a batch: the profiles; then each device takes its line and looks into its inbox in one step. Failure
policy: where a store does not answer, the device is sent away with a time to come back (1013); its presence, if it was
registered already, lapses or is dropped.
"""

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from dispatcher.domain.clock import DAY, Millis
from dispatcher.domain.device import Profile
from dispatcher.gateway.counters import Count
from dispatcher.gateway.desk import Desk
from dispatcher.gateway.line import Line
from dispatcher.ports.inboxes import Catchup, CatchupAsk
from dispatcher.ports.node_bus import BusFrame
from dispatcher.ports.presence import Line as Attachment
from dispatcher.ports.presence import Presence
from dispatcher.protocol.close_codes import CloseCode
from dispatcher.protocol.effects import Effect, Read
from dispatcher.protocol.server_session import Hailed, Live, Syncing, relive

logger = logging.getLogger("pushpath.gateway")

BATCH = 256


class Taking(Struct, gc=False):
    """A session about to take its device's line. ``hailed`` None: it was let in before, in another life of the store.

    ``revision``: of the profile by which the device was found bound; ``greeting`` goes out with the first page.
    """

    line: Line
    session: Syncing
    read: Read
    greeting: Sequence[Effect] = ()
    hailed: Hailed | None = None
    revision: int | None = None


class Openings:
    """Opens lines and reads inboxes for them. Hellos and reads wait in two queues, each worked off in batches."""

    __slots__ = ("_batches", "_desk", "_most", "_reading", "_reads", "_waiting")

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._waiting: deque[tuple[Line, Hailed]] = deque()
        self._reads: deque[tuple[Line, Read]] = deque()
        self._most = max(1, desk.settings.openings_at_once // BATCH)
        self._batches = 0
        self._reading = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def open(self, line: Line, hailed: Hailed) -> None:
        """Takes a hello in; beyond the limit of waiting ones it is sent away."""
        desk = self._desk
        if len(self._waiting) >= desk.settings.openings_waiting:
            line.farewell(CloseCode.TRY_LATER, "overloaded", desk.pressure.come_back_s(30))
            return
        self._waiting.append((line, hailed))
        if self._batches < self._most:
            self._batches += 1
            desk.chores.start("open", self._open)

    def read(self, line: Line, read: Read) -> None:
        """Reads *line*'s inbox until nothing is left to read."""
        self._desk.counters[Count.REREAD] += 1
        self._queue([(line, read)])

    def new_life(self, life: int) -> None:
        """The hot store has a new life: every line is placed again, and what is unproven is replayed.

        A line whose first look is under way compares lives when its answer comes.
        """
        self.relive(
            [
                line
                for line in self._desk.hub
                if isinstance(line.session, Live) or (isinstance(line.session, Syncing) and line.session.begun)
            ],
            life,
        )

    def relive(self, lines: Sequence[Line], life: int) -> None:
        """Places *lines* in the store's new life."""
        for start in range(0, len(lines), BATCH):
            batch = lines[start : start + BATCH]
            self._desk.chores.start("relive", lambda batch=batch: self._relive(batch, life))  # type: ignore[misc]

    async def _open(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                await self._open_all([(line, hailed) for line, hailed in batch if not line.ended])
        finally:
            self._batches -= 1

    async def _open_all(self, batch: list[tuple[Line, Hailed]]) -> None:
        """Looks up bindings, then lets the devices take their lines.

        Whoever moves a device writes its profile first and then asks who holds it; we register and read the profile's
        revision in one step, so one of us sees the other.
        """
        desk = self._desk
        try:
            await desk.kept_out.learn({hailed.identity.app for _, hailed in batch}, desk.now)
            profiles = await self._profiles(batch)
            takings: list[Taking] = []
            for line, hailed in batch:
                if not line.ended and (profile := self._bound(line, hailed, profiles)) is not None:
                    taking = self._admit(line, hailed, profile.rev)
                    if taking is not None:
                        takings.append(taking)
            await self._take(takings)
        except Exception:  # noqa: BLE001 - logged and answered there
            self._failed("hellos could not be looked up", [line for line, _ in batch])

    async def _profiles(self, batch: Iterable[tuple[Line, Hailed]]) -> dict[tuple[str, str], Profile]:
        by_app: dict[str, set[str]] = {}
        for _, hailed in batch:
            identity = hailed.identity
            users = by_app.get(identity.app)
            if users is None:
                by_app[identity.app] = {identity.user_id}
            else:
                users.add(identity.user_id)
        found: dict[tuple[str, str], Profile] = {}
        for app, users in by_app.items():
            profiles = await self._desk.profiles.get(app, list(users))
            for user_id, profile in profiles.items():
                found[app, user_id] = profile
        return found

    def _bound(self, line: Line, hailed: Hailed, profiles: Mapping[tuple[str, str], Profile]) -> Profile | None:
        """The profile by which the device is bound as its token says; says farewell where it is not."""
        identity = hailed.identity
        desk = self._desk
        if desk.kept_out.bars(identity.app, line, identity.user_id, desk.now):
            line.bar()
            return None
        profile = profiles.get((identity.app, identity.user_id))
        if profile is not None:
            for device in profile.devices:
                if device.device_id == identity.device_id:
                    if device.epoch == identity.epoch:
                        if desk.now - device.last_seen >= DAY:
                            desk.receive.greeted(identity.app, identity.device_id, desk.now)
                        return profile
                    line.farewell(CloseCode.MOVED, "moved")
                    return None
        line.farewell(CloseCode.MOVED, "device_unknown")
        return None

    def _admit(self, line: Line, hailed: Hailed, revision: int) -> Taking | None:
        """Makes the session and takes the device's place on this node."""
        desk = self._desk
        if desk.draining:
            line.farewell(CloseCode.GOING_AWAY, "draining", desk.pressure.come_back_s(desk.settings.drain_spread_s))
            return None
        session, greeting, read = hailed.admit(desk.next_session(), desk.life, desk.now, desk.manners)
        session.app = desk.hub.app(session.app)
        line.session = session
        previous = desk.hub.attach(session.app, session.device_id, line)
        if previous is not None:
            held = previous.session
            moved = isinstance(held, (Live, Syncing)) and held.user_id != session.user_id
            previous.farewell(*((CloseCode.MOVED, "moved") if moved else (CloseCode.REPLACED, "replaced")))
        return Taking(line, session, read, (greeting,), hailed, revision)

    async def _take(self, takings: Sequence[Taking]) -> None:
        """Registers the sessions, has those they replace closed, and begins with what their inboxes hold."""
        desk = self._desk
        now = desk.clock()
        node = desk.node
        asks = [
            CatchupAsk(
                app=session.app,
                user_id=session.user_id,
                device_id=session.device_id,
                session=session.session,
                after=taking.read.after,
                limit=taking.read.limit,
                line=Presence(
                    device_id=session.device_id,
                    node=node,
                    session=session.session,
                    line=Attachment.SYNCING,
                    foreground=session.foreground,
                    since=now,
                ),
            )
            for taking in takings
            for session in (taking.session,)
        ]
        pages = await desk.inboxes.catch_up_many(asks, now) if asks else []
        doubted: list[tuple[Taking, Catchup]] = []
        elsewhere: dict[str, list[BusFrame]] = {}
        for taking, page in zip(takings, pages, strict=True):
            session = taking.session
            previous = page.replaced
            if taking.line.ended:
                # It left while it was being registered: what its end dropped was not there yet.
                self._drop(session)
            elif taking.hailed is not None and page.revision != taking.revision:
                doubted.append((taking, page))
            else:
                self._begin(taking, page, now)
            if previous is not None and previous.session != session.session:
                if previous.node == node:
                    desk.polls.replaced(session.app, session.device_id, previous.session)
                elif previous.line is not Attachment.LOST:
                    elsewhere.setdefault(previous.node, []).append(replaced(session.app, session.user_id, previous))
        if elsewhere:
            desk.chores.start("replaced", lambda: desk.bus.send(elsewhere))
        if doubted:
            await self._look_again(doubted)

    async def _look_again(self, doubted: Sequence[tuple[Taking, Catchup]]) -> None:
        """The profile changed between look and line, or the store let go of it."""
        asked = [(taking.line, taking.hailed) for taking, _ in doubted if taking.hailed is not None]
        try:
            profiles = await self._profiles(asked)
        except Exception:  # noqa: BLE001 - logged and answered there
            self._failed("bindings could not be looked up again", [line for line, _ in asked])
            return
        now = self._desk.clock()
        for taking, page in doubted:
            line, hailed = taking.line, taking.hailed
            if not line.ended and hailed is not None and self._bound(line, hailed, profiles) is not None:
                self._begin(taking, page, now)

    def _begin(self, taking: Taking, page: Catchup, now: Millis) -> None:
        """Greets the device and sends the first page, in one write."""
        line, session = taking.line, taking.session
        if line.session is not session:
            return  # placed anew meanwhile: its own look is under way
        life = page.epoch if page.epoch != session.life else self._desk.life
        if life != session.life:
            line.apply(taking.greeting)
            self.relive([line], life)
            return
        self._passed(session, page)
        again = line.paged(page, now, taking.greeting)
        if again is not None:
            self._queue([(line, again)])

    def _passed(self, session: Live | Syncing, page: Catchup) -> None:
        if page.passed:
            self._desk.acks.passed(session.app, session.user_id, session.device_id, tuple(page.passed))

    def _drop(self, session: Live | Syncing) -> None:
        desk = self._desk
        app, user_id, device_id, own = session.app, session.user_id, session.device_id, session.session
        now = desk.clock()
        desk.chores.start("drop", lambda: desk.presences.drop(app, user_id, device_id, own, now, lost=True))

    async def _relive(self, lines: Sequence[Line], life: int) -> None:
        takings: list[Taking] = []
        for line in lines:
            session = line.session
            if isinstance(session, (Live, Syncing)) and not line.ended and session.life != life:
                anew, read = relive(session, life)
                line.session = anew
                takings.append(Taking(line, anew, read))
        try:
            await self._take(takings)
        except Exception:  # noqa: BLE001 - logged and answered there
            self._failed("presence could not be registered", [taking.line for taking in takings])

    def _queue(self, reads: Iterable[tuple[Line, Read]]) -> None:
        self._reads.extend(reads)
        if self._reads and self._reading < self._most:
            self._reading += 1
            self._desk.chores.start("read", self._read)

    async def _read(self) -> None:
        try:
            while self._reads:
                batch = [self._reads.popleft() for _ in range(min(BATCH, len(self._reads)))]
                await self._read_all(batch)
        finally:
            self._reading -= 1

    async def _read_all(self, batch: list[tuple[Line, Read]]) -> None:
        """One page each; a line that wants another one waits behind the others."""
        desk = self._desk
        lines: list[tuple[Line, Live | Syncing]] = []
        asks: list[CatchupAsk] = []
        for line, wanted in batch:
            session = line.session
            if line.ended or not isinstance(session, (Live, Syncing)):
                continue
            lines.append((line, session))
            asks.append(
                CatchupAsk(
                    app=session.app,
                    user_id=session.user_id,
                    device_id=session.device_id,
                    session=session.session,
                    after=wanted.after,
                    floor=wanted.floor,
                    limit=wanted.limit,
                )
            )
        now = desk.clock()
        try:
            pages = await desk.inboxes.catch_up_many(asks, now)
        except Exception:  # noqa: BLE001 - logged and answered there
            self._failed("inboxes could not be read", [line for line, _ in lines])
            return
        for (line, session), page in zip(lines, pages, strict=True):
            if line.session is not session:
                continue  # placed anew meanwhile: its own read is under way
            if page.epoch != session.life:
                self.relive([line], page.epoch)
                continue
            self._passed(session, page)
            again = line.paged(page, now)
            if again is not None:
                self._reads.append((line, again))

    def _failed(self, what: str, lines: Sequence[Line]) -> None:
        desk = self._desk
        desk.counters[Count.FAULTS] += 1
        logger.exception(what)
        for line in lines:
            line.farewell(CloseCode.TRY_LATER, "unavailable", desk.pressure.come_back_s())


def replaced(app: str, user_id: str, previous: Presence) -> BusFrame:
    """Tells a node that a newer session of the device stands elsewhere."""
    return BusFrame(kind="replaced", app=app, user_id=user_id, device_id=previous.device_id, session=previous.session)
