"""This node's place among the others: frames from the bus, its lease, and the hot store's life."""

import asyncio
import logging
from collections.abc import Sequence

from dispatcher.domain.clock import Millis
from dispatcher.gateway.counters import Count
from dispatcher.gateway.desk import Desk
from dispatcher.gateway.kept_out import FRESH
from dispatcher.ports.node_bus import BusFrame
from dispatcher.protocol.close_codes import CloseCode
from dispatcher.protocol.server_session import Live, Syncing

logger = logging.getLogger("pushpath.gateway")

TAKEN_AT_ONCE = 1_000


class Node:
    """Hands bus frames to lines, renews the lease, notices a hot store that lost its memory."""

    __slots__ = ("_desk", "_next_lease", "_next_rules", "_undelivered")

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._next_lease: Millis = 0
        self._next_rules: Millis = 0
        self._undelivered: list[BusFrame] = []

    async def receive(self) -> None:
        """The bus loop; runs until cancelled. Failure policy: the inbox serves what the bus does not."""
        desk = self._desk
        while True:
            try:
                frames = await desk.bus.receive(desk.node, limit=TAKEN_AT_ONCE, block_s=1.0)
            except Exception:
                desk.counters[Count.FAULTS] += 1
                logger.exception("the node bus does not answer")
                await asyncio.sleep(0.25)
                continue
            self.dispatch(frames)

    def dispatch(self, frames: Sequence[BusFrame]) -> None:
        """Frames to their lines; those whose device is not here any more go back at once."""
        line_of = self._desk.hub.line
        missed: list[BusFrame] = []
        for frame in frames:
            if frame.kind == "msg":
                line = line_of(frame.app, frame.device_id)
                if line is not None:
                    line.deliver(frame)
                elif not self._wake(frame):
                    missed.append(frame)
            else:
                self._other(frame, missed)
        if missed:
            desk = self._desk
            desk.counters[Count.UNDELIVERED] += len(missed)
            desk.chores.start("undelivered", lambda: desk.receive.undelivered(missed))

    def tick(self, now: Millis) -> None:
        """Renews the lease when it is time to, and asks for the hot store's life."""
        if now >= self._next_lease:
            self._next_lease = now + self._desk.settings.lease_every
            self._desk.chores.start("lease", self.hold)

        if now >= self._next_rules:
            self._next_rules = now + FRESH
            self._desk.chores.start("rules", self.bar)

    async def bar(self) -> None:
        """Reads block lists anew; whoever came to stand on one is cut."""
        desk = self._desk
        apps = desk.hub.apps()
        now = desk.clock()
        desk.kept_out.forget(apps, now)
        await desk.kept_out.learn(apps, now)
        for app in desk.kept_out.take_changed():
            lines, arrivals = desk.hub.of_app(app)
            for line in lines:
                session = line.session
                if isinstance(session, Live | Syncing) and desk.kept_out.bars(app, line, session.user_id, now):
                    line.bar()
            for arrival in arrivals:
                place = arrival.place
                if place is not None and desk.kept_out.bars(app, arrival, place.identity.user_id, now):
                    desk.polls.barred(arrival)

    async def hold(self) -> None:
        """Renews the lease; where the hot store has another life, every line is placed and read anew."""
        desk = self._desk
        now = desk.clock()
        await desk.presences.hold_node(desk.node, now, desk.settings.lease)
        life = await desk.inboxes.epoch()
        if life != desk.life:
            known, desk.life = desk.life, life
            if known:
                logger.warning("the hot store has a new life; lines are placed and read anew")
            desk.openings.new_life(life)

    async def release(self) -> None:
        """Ends the lease."""
        await self._desk.presences.release_node(self._desk.node)

    def _wake(self, frame: BusFrame) -> bool:
        """Wakes a parked device; False where there is none."""
        arrival = self._desk.hub.waiting(frame.app, frame.device_id)
        if arrival is None or arrival.place is None:
            return False
        if frame.epoch and frame.epoch != arrival.place.identity.epoch:
            return False
        self._desk.polls.wake(arrival)
        return True

    def _other(self, frame: BusFrame, missed: list[BusFrame]) -> None:
        desk = self._desk
        line = desk.hub.line(frame.app, frame.device_id)
        session = line.session if line is not None else None
        held = session if isinstance(session, Live | Syncing) else None
        if frame.kind == "wake":
            if line is not None:
                line.wake()
            elif not self._wake(frame):
                missed.append(frame)
        elif frame.kind == "recall":
            if line is not None and held is not None and held.user_id == frame.user_id:
                line.recall(frame.message_id)
        elif frame.kind == "replaced":
            if line is not None and held is not None and held.session == frame.session:
                line.farewell(CloseCode.REPLACED, "replaced")
            desk.polls.replaced(frame.app, frame.device_id, frame.session)
        elif frame.kind == "moved":
            self._moved(frame)
        else:
            logger.warning("a bus frame of an unknown kind", extra={"kind": frame.kind[:32]})

    def _moved(self, frame: BusFrame) -> None:
        """Ends what was bound before: by session if named, else by an older epoch, else by the user left behind."""
        desk = self._desk
        line = desk.hub.line(frame.app, frame.device_id)
        session = line.session if line is not None else None
        if (
            line is not None
            and isinstance(session, Live | Syncing)
            and _left(frame, session.session, session.user_id, session.epoch)
        ):
            line.farewell(CloseCode.MOVED, "moved")
        arrival = desk.hub.waiting(frame.app, frame.device_id)
        place = arrival.place if arrival is not None else None
        if arrival is not None and place is not None:
            identity = place.identity
            if _left(frame, place.session, identity.user_id, identity.epoch):
                desk.polls.moved(arrival)


def _left(frame: BusFrame, session: str, user_id: str, epoch: int) -> bool:
    if frame.epoch:
        return epoch < frame.epoch
    return frame.session == session if frame.session else frame.user_id == user_id
