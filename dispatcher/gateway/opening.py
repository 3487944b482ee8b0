"""From a verified hello to online: binding, presence, inbox, in batches over the hellos that wait.

Failure policy: where a store does not answer, the device is sent away with a time to come back (1013); its presence,
if it was registered already, lapses or is dropped.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from dispatcher.domain.device import Profile
from dispatcher.gateway.counters import Count
from dispatcher.gateway.desk import Desk
from dispatcher.gateway.line import Line
from dispatcher.ports.node_bus import BusFrame
from dispatcher.ports.presence import Line as Attachment
from dispatcher.ports.presence import Presence
from dispatcher.protocol.close_codes import CloseCode
from dispatcher.protocol.effects import Read
from dispatcher.protocol.server_session import Hailed, Live, Syncing, relive

logger = logging.getLogger("pushpath.gateway")

BATCH = 128


class Openings:
    """Opens lines and reads inboxes for them."""

    __slots__ = ("_batches", "_desk", "_waiting")

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._waiting: deque[tuple[Line, Hailed]] = deque()
        self._batches = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def open(self, line: Line, hailed: Hailed) -> None:
        """Takes a hello in; beyond the limit of waiting ones it is sent away."""
        desk = self._desk
        if len(self._waiting) >= desk.settings.openings_waiting:
            line.farewell(CloseCode.TRY_LATER, "overloaded", desk.pressure.come_back_s(30))
            return
        self._waiting.append((line, hailed))
        if self._batches < max(1, desk.settings.openings_at_once // BATCH):
            self._batches += 1
            desk.chores.start("open", self._work)

    def read(self, line: Line, read: Read) -> None:
        """Reads *line*'s inbox until nothing is left to read."""
        self._desk.counters[Count.REREAD] += 1
        self._desk.chores.start("read", lambda: self._read(line, read))

    def relive(self, line: Line, life: int) -> None:
        """The hot store has a new life: registers *line* again and replays what is unproven."""
        session = line.session
        if isinstance(session, (Live, Syncing)) and not line.ended and session.life != life:
            line.session, effects = relive(session, life)
            self._desk.chores.start("relive", lambda: self._replace(line, line.apply(effects)))

    async def _work(self) -> None:
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
            opened = [
                (line, hailed, read)
                for line, hailed in batch
                if not line.ended and self._bound(line, hailed, profiles)
                for read in [self._admit(line, hailed, life)]
            ]
            placed = await _each([self._place(line) for line, _, _ in opened])
            held = [entry for entry, here in zip(opened, placed, strict=True) if here]
            again = await self._profiles([(line, hailed) for line, hailed, _ in held])
        except Exception:
            desk.counters[Count.FAULTS] += 1
            logger.exception("hellos could not be looked up")
            for line, _ in batch:
                self._send_away(line)
            return
        reads = [
            self._read(line, read)
            for line, hailed, read in held
            if not line.ended and self._bound(line, hailed, again) and read is not None
        ]
        await _each(reads)

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
            line.farewell(CloseCode.BAD_TOKEN, "device_unknown")
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

    async def _place(self, line: Line) -> bool:
        """Registers the session's presence and has the one it replaces closed; False where the line is gone."""
        desk = self._desk
        session = line.session
        if not isinstance(session, (Live, Syncing)) or line.ended:
            return False
        own = session.session
        presence = Presence(
            device_id=session.device_id,
            node=desk.node,
            session=own,
            line=Attachment.SYNCING,
            foreground=session.foreground,
            since=desk.clock(),
        )
        try:
            previous = await desk.presences.register(session.app, session.user_id, presence)
            if _gone(line):
                # It left while it was being registered: what its end dropped was not there yet.
                await desk.presences.drop(session.app, session.user_id, session.device_id, own, desk.clock(), lost=True)
                return False
            if previous is not None and previous.line is not Attachment.LOST and previous.node != desk.node:
                await desk.bus.send({previous.node: [replaced(session.app, session.user_id, previous)]})
        except Exception:
            desk.counters[Count.FAULTS] += 1
            logger.exception("presence could not be registered")
            self._send_away(line)
            return False
        if previous is not None and previous.node == desk.node and previous.session != own:
            desk.polls.replaced(session.app, session.device_id, previous.session)
        return True

    async def _replace(self, line: Line, read: Read | None) -> None:
        if await self._place(line) and read is not None:
            await self._read(line, read)

    async def _read(self, line: Line, read: Read) -> None:
        desk = self._desk
        wanted: Read | None = read
        while wanted is not None and not line.ended:
            session = line.session
            if not isinstance(session, (Live, Syncing)):
                return
            now = desk.clock()
            try:
                page = await desk.inboxes.catch_up(
                    session.app,
                    session.user_id,
                    device_id=session.device_id,
                    session=session.session,
                    after=wanted.after,
                    floor=wanted.floor,
                    limit=wanted.limit,
                    now=now,
                )
            except Exception:
                desk.counters[Count.FAULTS] += 1
                logger.exception("an inbox could not be read")
                self._send_away(line)
                return
            if page.passed:
                desk.acks.passed(session.app, session.user_id, session.device_id, tuple(page.passed))
            if line.session is not session:
                return  # placed anew meanwhile: its own read is under way
            if page.epoch != session.life:
                self.relive(line, page.epoch)
                return
            wanted = line.paged(page, now)

    def _send_away(self, line: Line) -> None:
        line.farewell(CloseCode.TRY_LATER, "unavailable", self._desk.pressure.come_back_s())


def replaced(app: str, user_id: str, previous: Presence) -> BusFrame:
    """Tells a node that a newer session of the device stands elsewhere."""
    return BusFrame(kind="replaced", app=app, user_id=user_id, device_id=previous.device_id, session=previous.session)


async def _each(calls: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """All of them; one alone needs no task of its own."""
    return [await calls[0]] if len(calls) == 1 else list(await asyncio.gather(*calls))


def _gone(line: Line) -> bool:
    return line.ended != 0
