"""From a verified hello to online: binding, presence, inbox, in batches over the hellos that wait.

Failure policy: where a store does not answer, the device is sent away with a time to come back (1013); its presence,
if it was registered already, lapses or is dropped.
"""

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from dispatcher.domain.device import Profile
from dispatcher.gateway.counters import Count
from dispatcher.gateway.desk import Desk
from dispatcher.gateway.line import Line
from dispatcher.ports.inboxes import CatchupAsk
from dispatcher.ports.node_bus import BusFrame
from dispatcher.ports.presence import Line as Attachment
from dispatcher.ports.presence import Presence
from dispatcher.protocol.close_codes import CloseCode
from dispatcher.protocol.effects import Read
from dispatcher.protocol.server_session import Hailed, Live, Syncing, relive

logger = logging.getLogger("pushpath.gateway")

BATCH = 128


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

    def relive(self, lines: Sequence[Line], life: int) -> None:
        """The hot store has a new life: registers *lines* again and replays what is unproven."""
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
        """Looks up bindings, registers, looks again: a device that moves meanwhile is found by one or the other side.

        Whoever moves a device writes its profile first and then asks who holds it; we register first and then read
        the profile, so one of us sees the other.
        """
        desk = self._desk
        try:
            life = await desk.inboxes.epoch()
            profiles = await self._profiles(batch)
            opened = {
                line: (hailed, read)
                for line, hailed in batch
                if not line.ended and self._bound(line, hailed, profiles)
                for read in [self._admit(line, hailed, life)]
            }
            held = [(line, *opened[line]) for line in await self._place(list(opened))]
            again = await self._profiles([(line, hailed) for line, hailed, _ in held])
        except Exception:  # noqa: BLE001 - logged and answered there
            self._failed("hellos could not be looked up", [line for line, _ in batch])
            return
        self._queue(
            [
                (line, read)
                for line, hailed, read in held
                if not line.ended and self._bound(line, hailed, again) and read is not None
            ]
        )

    async def _profiles(self, batch: list[tuple[Line, Hailed]]) -> dict[tuple[str, str], Profile]:
        by_app: dict[str, set[str]] = {}
        for _, hailed in batch:
            by_app.setdefault(hailed.identity.app, set()).add(hailed.identity.user_id)
        found: dict[tuple[str, str], Profile] = {}
        for app, users in by_app.items():
            profiles = await self._desk.profiles.get(app, list(users))
            found.update(((app, user_id), profile) for user_id, profile in profiles.items())
        return found

    def _bound(self, line: Line, hailed: Hailed, profiles: Mapping[tuple[str, str], Profile]) -> bool:
        """Whether the device is bound as its token says; says farewell where it is not."""
        identity = hailed.identity
        profile = profiles.get((identity.app, identity.user_id))
        device = profile.device(identity.device_id) if profile is not None else None
        if device is None:
            line.farewell(CloseCode.MOVED, "device_unknown")
        elif device.epoch != identity.epoch:
            line.farewell(CloseCode.MOVED, "moved")
        else:
            return True
        return False

    def _admit(self, line: Line, hailed: Hailed, life: int) -> Read | None:
        """Makes the session and takes the device's place on this node."""
        desk = self._desk
        if desk.draining:
            line.farewell(CloseCode.GOING_AWAY, "draining", desk.pressure.come_back_s(desk.settings.drain_spread_s))
            return None
        session, effects = hailed.admit(desk.next_session(), life, desk.now, desk.manners)
        session.app = desk.hub.app(session.app)
        line.session = session
        desk.deadlines.drop(line)
        previous = desk.hub.attach(session.app, session.device_id, line)
        if previous is not None:
            held = previous.session
            moved = isinstance(held, (Live, Syncing)) and held.user_id != session.user_id
            previous.farewell(*((CloseCode.MOVED, "moved") if moved else (CloseCode.REPLACED, "replaced")))
        return line.apply(effects)

    async def _place(self, lines: Sequence[Line]) -> list[Line]:
        """Registers the sessions' presence and has those they replace closed; returns the lines still there."""
        desk = self._desk
        now = desk.clock()
        sessions = [
            (line, session)
            for line in lines
            for session in [line.session]
            if isinstance(session, (Live, Syncing)) and not line.ended
        ]
        before = await desk.presences.register_many(
            [
                (
                    session.app,
                    session.user_id,
                    Presence(
                        device_id=session.device_id,
                        node=desk.node,
                        session=session.session,
                        line=Attachment.SYNCING,
                        foreground=session.foreground,
                        since=now,
                    ),
                )
                for _, session in sessions
            ]
        )
        placed: list[Line] = []
        elsewhere: dict[str, list[BusFrame]] = {}
        for (line, session), previous in zip(sessions, before, strict=True):
            if line.ended:
                # It left while it was being registered: what its end dropped was not there yet.
                self._drop(session)
                continue
            placed.append(line)
            if previous is None or previous.session == session.session:
                continue
            if previous.node == desk.node:
                desk.polls.replaced(session.app, session.device_id, previous.session)
            elif previous.line is not Attachment.LOST:
                elsewhere.setdefault(previous.node, []).append(replaced(session.app, session.user_id, previous))
        if elsewhere:
            await desk.bus.send(elsewhere)
        return placed

    def _drop(self, session: Live | Syncing) -> None:
        desk = self._desk
        app, user_id, device_id, own = session.app, session.user_id, session.device_id, session.session
        now = desk.clock()
        desk.chores.start("drop", lambda: desk.presences.drop(app, user_id, device_id, own, now, lost=True))

    async def _relive(self, lines: Sequence[Line], life: int) -> None:
        wanted: dict[Line, Read | None] = {}
        for line in lines:
            session = line.session
            if isinstance(session, (Live, Syncing)) and not line.ended and session.life != life:
                line.session, effects = relive(session, life)
                wanted[line] = line.apply(effects)
        try:
            placed = await self._place(list(wanted))
        except Exception:  # noqa: BLE001 - logged and answered there
            self._failed("presence could not be registered", list(wanted))
            return
        self._queue([(line, read) for line in placed for read in [wanted[line]] if read is not None])

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
            if page.passed:
                desk.acks.passed(session.app, session.user_id, session.device_id, tuple(page.passed))
            if line.session is not session:
                continue  # placed anew meanwhile: its own read is under way
            if page.epoch != session.life:
                self.relive([line], page.epoch)
                continue
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
