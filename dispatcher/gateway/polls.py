"""Long-polls: asked at once, parked without a task, asked again when something wakes them.

A device holds its place (presence ``parked``) from its first waiting poll until ``poll_line`` after its last, so what
comes between two polls finds it, and the next poll takes it along.
"""

import logging
from collections import deque
from typing import TYPE_CHECKING

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.device_token import BadToken, DeviceIdentity
from dispatcher.domain.ids import ForeignCursor
from dispatcher.gateway.answers import answer, problem
from dispatcher.gateway.counters import Count
from dispatcher.gateway.desk import Desk
from dispatcher.gateway.inbox_query import BadQuery, read_inbox_query
from dispatcher.ports.presence import Line as Attachment
from dispatcher.ports.presence import Presence
from dispatcher.ports.receiving import InboxQuery
from dispatcher.protocol.http import Request

if TYPE_CHECKING:
    from dispatcher.gateway.arrival import Arrival

logger = logging.getLogger("pushpath.gateway")

#: Polls whose stores are being asked.
AT_ONCE = 256
#: How long a binding that was looked up is trusted for the next polls on the same connection.
_TRUST: Millis = 10 * SECOND


class PollLine:
    """A device's place between its polls on one connection. ``session`` empty: not registered."""

    __slots__ = ("checked_at", "identity", "session", "token")

    def __init__(self, identity: DeviceIdentity, token: str) -> None:
        self.identity = identity
        self.token = token
        self.checked_at: Millis = 0
        self.session = ""


class Poll:
    """One request being served."""

    __slots__ = ("arrival", "asking", "empty", "keep_alive", "place", "query", "until", "woken")

    def __init__(self, arrival: "Arrival", place: PollLine, query: InboxQuery, until: Millis, keep_alive: bool) -> None:
        self.arrival = arrival
        self.place = place
        self.query = query
        self.until = until  # 0: answers at once
        self.keep_alive = keep_alive
        self.asking = True
        self.woken = False  # while asking
        self.empty = b""  # the answer if nothing comes


class Polls:
    """Serves ``GET /v1/inbox``."""

    __slots__ = ("_desk", "_starting", "_waiting", "_workers")

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._waiting: deque[tuple[bool, Poll]] = deque()  # new or woken, and which
        self._workers = 0
        self._starting = False

    def begin(self, arrival: "Arrival", request: Request) -> None:
        """A request came in whole. Nothing is kept for one whose token or query is bad."""
        desk = self._desk
        desk.counters[Count.POLLS] += 1
        scheme, _, token = request.fields.get("authorization", "").partition(" ")
        now = desk.clock()
        place = arrival.place
        try:
            if place is not None and place.token == token and now < place.identity.expires_at:
                identity = place.identity
            else:
                identity = desk.manners.tokens.read(token.strip() if scheme.lower() == "bearer" else "", now)
            query, wait = read_inbox_query(request.query, wait_most=desk.settings.poll_most)
        except BadToken as bad:
            refusal = problem(401, f"token_{bad.code}", "a device token is needed", keep_alive=request.keep_alive)
            arrival.respond(refusal, keep_alive=request.keep_alive)
            return
        except BadQuery as bad:
            refusal = problem(422, "invalid", str(bad), keep_alive=request.keep_alive, errors=bad.errors)
            arrival.respond(refusal, keep_alive=request.keep_alive)
            return
        if place is None or place.token != token:
            self.leave(arrival)
            place = PollLine(identity, token)
        poll = Poll(arrival, place, query, now + wait if wait else 0, request.keep_alive)
        arrival.poll = poll
        desk.deadlines.drop(arrival)
        self._start(poll, new=True)

    def wake(self, arrival: "Arrival") -> None:
        """Something waits for the device."""
        poll = arrival.poll
        if poll is None:
            return  # its next poll asks first
        if poll.asking:
            poll.woken = True
        else:
            poll.asking = True
            self._desk.counters[Count.POLLS_WOKEN] += 1
            self._desk.deadlines.drop(arrival)
            self._start(poll, new=False)

    def timed_out(self, poll: Poll) -> None:
        """Nothing came in time."""
        if not poll.asking:
            keep_alive = poll.keep_alive and not self._desk.draining
            self._answer(poll, answer(200, poll.empty, keep_alive=keep_alive))

    def moved(self, arrival: "Arrival") -> None:
        """The device belongs to another user now."""
        poll = arrival.poll
        self.leave(arrival)
        if poll is not None:
            arrival.poll = poll
            self._answer(poll, problem(401, "token_invalid", "the device belongs to another user now"))
        else:
            arrival.transport.close()

    def barred(self, arrival: "Arrival") -> None:
        """The device's user or address is kept out now."""
        poll = arrival.poll
        self.leave(arrival)
        if poll is not None:
            arrival.poll = poll
            self._answer(poll, problem(403, "blocked", "this user or address is blocked"))
        else:
            arrival.transport.close()

    def replaced(self, app: str, device_id: str, session: str) -> None:
        """A newer session took the device's place."""
        arrival = self._desk.hub.waiting(app, device_id)
        if arrival is not None and arrival.place is not None and arrival.place.session == session:
            arrival.place.session = ""
            self._release(arrival)

    def release_all(self) -> None:
        """Draining: parked polls are answered with what they have, which is nothing."""
        for arrival in list(self._desk.unclaimed):
            if arrival.poll is None:
                arrival.transport.close()
            elif not arrival.poll.asking:
                self.timed_out(arrival.poll)
            else:
                arrival.poll.until = 0

    def leave(self, arrival: "Arrival") -> None:
        """Ends the device's place on this connection."""
        place, arrival.place = arrival.place, None
        arrival.poll = None
        if place is None:
            return
        desk = self._desk
        identity = place.identity
        desk.hub.unpark(identity.app, identity.device_id, arrival)
        session = place.session
        if session:
            now = desk.clock()
            desk.chores.start(
                "drop",
                lambda: desk.presences.drop(
                    identity.app, identity.user_id, identity.device_id, session, now, lost=True
                ),
            )

    def _release(self, arrival: "Arrival") -> None:
        poll = arrival.poll
        if poll is None:
            return
        if poll.asking:
            poll.until = 0
        else:
            self.timed_out(poll)

    def _start(self, poll: Poll, *, new: bool) -> None:
        self._waiting.append((new, poll))
        if not self._starting and self._workers < AT_ONCE:
            self._add_worker()

    def _add_worker(self) -> None:
        self._starting = True
        self._workers += 1
        self._desk.chores.start("poll", self._work)

    async def _work(self) -> None:
        """Serves what waits. Each worker that takes something up sees to it that another one takes the next."""
        self._starting = False
        try:
            while self._waiting:
                new, poll = self._waiting.popleft()
                if self._waiting and not self._starting and self._workers < AT_ONCE:
                    self._add_worker()
                await (self._serve(poll) if new else self._guarded(poll))
        finally:
            self._workers -= 1

    async def _serve(self, poll: Poll) -> None:
        try:
            if await self._bound(poll):
                if poll.until and await self._park(poll):
                    # It may have moved while it was being registered, when nobody could have told us.
                    poll.place.checked_at = 0
                    if not await self._bound(poll):
                        return
                await self._ask(poll)
        except Exception:  # noqa: BLE001 - logged and answered there
            self._failed(poll)

    async def _guarded(self, poll: Poll) -> None:
        try:
            await self._ask(poll)
        except Exception:  # noqa: BLE001 - logged and answered there
            self._failed(poll)

    def _failed(self, poll: Poll) -> None:
        desk = self._desk
        desk.counters[Count.FAULTS] += 1
        logger.exception("a poll could not be served")
        again = desk.pressure.come_back_s()
        refusal = problem(
            503, "unavailable", "the inbox does not answer", keep_alive=poll.keep_alive, retry_after_s=again
        )
        self._answer(poll, refusal)

    async def _bound(self, poll: Poll) -> bool:
        """Whether the device is still bound as its token says."""
        desk = self._desk
        place = poll.place
        now = desk.clock()
        if now - place.checked_at < _TRUST:
            return True
        identity = place.identity
        await desk.kept_out.learn((identity.app,), now)
        if desk.kept_out.bars(identity.app, poll.arrival, identity.user_id, now):
            self.barred(poll.arrival)
            return False
        profile = (await desk.profiles.get(identity.app, [identity.user_id])).get(identity.user_id)
        device = profile.device(identity.device_id) if profile is not None else None
        if device is None or device.epoch != identity.epoch:
            refusal = problem(401, "token_invalid", "the token's device is not bound so", keep_alive=poll.keep_alive)
            self._answer(poll, refusal)
            return False
        place.checked_at = now
        return True

    async def _park(self, poll: Poll) -> bool:
        """Takes the device's place before the first look, so that nothing falls between look and wait.

        True where its presence was registered just now.
        """
        desk = self._desk
        arrival = poll.arrival
        place = poll.place
        identity = place.identity
        if arrival.poll is not poll:
            return False
        arrival.place = place
        previous = desk.hub.park(identity.app, identity.device_id, arrival)
        if previous is not None:
            if previous.place is not None:
                previous.place.session = ""
            self._release(previous)
        if place.session or desk.hub.line(identity.app, identity.device_id) is not None:
            return False
        session = desk.next_session()
        presence = Presence(
            device_id=identity.device_id,
            node=desk.node,
            session=session,
            line=Attachment.PARKED,
            foreground=False,
            since=desk.clock(),
        )
        held = await desk.presences.register(identity.app, identity.user_id, presence)
        if arrival.place is not place:
            await desk.presences.drop(
                identity.app, identity.user_id, identity.device_id, session, desk.clock(), lost=True
            )
            return False
        place.session = session
        if held is not None and held.line is not Attachment.LOST and held.node != desk.node:
            from dispatcher.gateway.opening import replaced

            await desk.bus.send({held.node: [replaced(identity.app, identity.user_id, held)]})
        return True

    async def _ask(self, poll: Poll) -> None:
        desk = self._desk
        identity = poll.place.identity
        while poll.arrival.poll is poll:
            poll.woken = False
            now = desk.clock()
            try:
                found = await desk.pull.pull(identity.app, identity.user_id, identity.device_id, poll.query, now)
            except ForeignCursor:
                field = "after" if poll.query.after is not None else "before"
                errors = [(field, "is no cursor of this user")]
                refusal = problem(422, "foreign_cursor", "the cursor is no cursor of this user", errors=errors)
                self._answer(poll, refusal)
                return
            if not found.empty or desk.clock() >= poll.until:
                self._answer(poll, answer(200, found.body, keep_alive=poll.keep_alive and not desk.draining))
                return
            if not poll.woken and poll.arrival.poll is poll:
                poll.empty = found.body
                poll.asking = False
                desk.deadlines.put(poll.arrival, poll.until)
                return

    def _answer(self, poll: Poll, data: bytes) -> None:
        arrival = poll.arrival
        if arrival.poll is poll:
            self._desk.deadlines.drop(arrival)
            arrival.respond(data, keep_alive=poll.keep_alive and b"\r\nConnection: close\r\n" not in data[:400])
