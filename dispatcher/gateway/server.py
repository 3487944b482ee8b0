"""The gateway: one listener for WebSocket and long-poll, one coarse timer, one bus loop."""

import asyncio
import logging
import random
import secrets
import signal
import ssl
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from dispatcher.collector import calm_collector
from dispatcher.domain.clock import Clock, Millis, system_clock
from dispatcher.domain.device_token import DeviceTokens
from dispatcher.domain.ids import IdKey
from dispatcher.gateway.arrival import Arrival
from dispatcher.gateway.counters import Count, Counters
from dispatcher.gateway.desk import Desk
from dispatcher.gateway.drain import Drain, within
from dispatcher.gateway.kept_out import ReadRules
from dispatcher.gateway.line import Line
from dispatcher.gateway.node import Node
from dispatcher.gateway.opening import Openings
from dispatcher.gateway.polls import Polls
from dispatcher.gateway.settings import GatewaySettings
from dispatcher.ports.inboxes import Inboxes
from dispatcher.ports.node_bus import NodeBus
from dispatcher.ports.presence import Presences
from dispatcher.ports.profiles import Profiles
from dispatcher.ports.receiving import InboxPull, ReceiveDoor

logger = logging.getLogger("pushpath.gateway")

#: A tick that comes so late tells of a process that stood still: its phones' acks waited unheard.
STALLED_S = 1.0
#: Lines are asked for their deadlines in rounds; a round takes about this many ticks.
_ROUND = 16
#: Each step that follows the drain.
_STEP_S = 1.0


class GatewayMetrics(Protocol):
    """Where a gateway's numbers go."""

    def connections(self, count: int) -> None:
        """Connections held now."""

    def gateway(self, event: str, count: int) -> None:
        """So many more of what :class:`~dispatcher.gateway.counters.Count` names."""


class Gateway:
    """One gateway process. Ports are handed in; the caller owns them.

    *metrics* hear of it once a second; *rules* reads an app's block lists.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        inboxes: Inboxes,
        presences: Presences,
        bus: NodeBus,
        profiles: Profiles,
        tokens: DeviceTokens,
        ids: IdKey,
        receive: ReceiveDoor,
        pull: InboxPull,
        clock: Clock = system_clock,
        dice: Callable[[], float] = random.random,
        metrics: GatewayMetrics | None = None,
        rules: ReadRules | None = None,
    ) -> None:
        self.settings = settings
        self._metrics = metrics
        self._reported: Counter[str] = Counter()
        self._report_at: Millis = 0
        self.desk = Desk(
            settings,
            node=settings.node or f"g{secrets.token_hex(4)}",
            inboxes=inboxes,
            presences=presences,
            bus=bus,
            profiles=profiles,
            tokens=tokens,
            ids=ids,
            receive=receive,
            pull=pull,
            clock=clock,
            dice=dice,
            rules=rules,
        )
        self.desk.openings = Openings(self.desk)
        self.desk.polls = Polls(self.desk)
        self.node = Node(self.desk)
        self._doors: list[asyncio.Server] = []
        self._bus: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tick_at = 0.0  # the loop's time
        self._round: list[Line] = []
        self._round_at = 0
        self._tls: ssl.SSLContext | None = None
        self._tls_stamp: tuple[float, float] = (0.0, 0.0)

    @property
    def port(self) -> int:
        """The port it listens on."""
        if not self._doors:
            raise RuntimeError("the gateway does not listen")
        return int(self._doors[0].sockets[0].getsockname()[1])

    @property
    def counters(self) -> Counters:
        """What was counted so far."""
        return self.desk.counters

    def gauges(self) -> dict[str, int]:
        """What stands now."""
        desk = self.desk
        return {
            "connections": desk.pressure.connections,
            "lines": desk.hub.lines_held,
            "parked": sum(1 for _ in desk.hub.parked()),
            "openings_waiting": len(desk.openings),
            "acks_waiting": desk.acks.waiting,
            "chores": len(desk.chores),
        }

    async def start(self) -> None:
        """Takes the node's lease, then listens. Raises OSError where the address is taken."""
        settings = self.settings
        loop = asyncio.get_running_loop()
        await self.node.hold()
        if settings.tls_certificate is not None:
            self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._load_certificate(self._tls)
        # An event loop takes one connection a turn from each listener (libuv does so on purpose): several of the same
        # socket let a storm's hellos be worked off together.
        first = await self._listen(host=settings.host, port=settings.port, reuse_port=settings.reuse_port or None)
        self._doors = [first]
        for _ in range(1, settings.doors):
            self._doors += [await self._listen(sock=each.dup()) for each in first.sockets]
        self._bus = loop.create_task(self.node.receive())
        self._arm()

    async def _listen(self, **where: Any) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: Arrival(self.desk), backlog=self.settings.backlog, ssl=self._tls, **where
        )

    async def serve(self) -> None:
        """Starts, serves until SIGTERM or SIGINT, drains, stops."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await self.start()
        calm_collector()
        try:
            await stop.wait()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            await self.stop()

    async def stop(self, budget_s: float | None = None) -> None:
        """Drains within the budget, then ends everything within a few seconds more. Safe to call twice.

        Each step has its own time: a store that does not answer must not keep a node that was told to go.
        """
        doors, self._doors = self._doors, []
        if not doors:
            return
        for door in doors:
            door.close()
        budget = self.settings.drain_budget / 1_000 if budget_s is None else budget_s
        await Drain(self.desk).run(budget)
        if self._bus is not None:
            self._bus.cancel()
            await asyncio.wait({self._bus}, timeout=_STEP_S)
        if self._timer is not None:
            self._timer.cancel()
        left = []
        if not await within(self.desk.acks.flush(), _STEP_S):
            left.append("acks")
        await self.desk.chores.done(_STEP_S)
        if not await within(self.node.release(), _STEP_S):
            left.append("lease")
        await within(self.desk.chores.cancel(), _STEP_S)
        if left:
            logger.warning("the stores did not answer while this node left", extra={"left": ", ".join(left)})
        self._report()

    def tick(self) -> None:
        """The coarse timer's work: deadlines, leases, lines in turn."""
        desk = self.desk
        now = desk.now = desk.clock()
        desk.deadlines.tick(now)
        self.node.tick(now)
        self._ask_lines(now)
        if desk.throttled and desk.acks.waiting < self.settings.acks_waiting:
            throttled, desk.throttled = desk.throttled, {}
            for line, rest in throttled.items():
                line.unthrottle(rest)
        if self._tls is not None:
            self._load_certificate(self._tls)
        if now >= self._report_at:
            self._report_at = now + 1_000
            self._report()

    def ask_all_lines(self, now: Millis) -> None:
        """Asks every line for its deadlines at once, for tests that move time."""
        for line in list(self.desk.hub):
            line.tick(now)

    def _report(self) -> None:
        if self._metrics is None:
            return
        self._metrics.connections(self.desk.pressure.connections)
        counted = Counter(self.desk.counters)
        for event, more in (counted - self._reported).items():
            self._metrics.gateway(event, more)
        self._reported = counted

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._tick_at = loop.time() + self.settings.tick / 1_000
        self._timer = loop.call_at(self._tick_at, self._ticked)

    def _ticked(self) -> None:
        late_s = asyncio.get_running_loop().time() - self._tick_at
        if late_s >= STALLED_S:
            desk = self.desk
            desk.counters[Count.STALLED] += 1
            logger.warning("the gateway stood still; what phones said meanwhile is heard now", extra={"late_s": late_s})
            desk.chores.start("stalled", lambda: desk.receive.stalled(desk.clock()))
        try:
            self.tick()
        except Exception:
            logger.exception("a tick failed")
        self._arm()

    def _ask_lines(self, now: Millis) -> None:
        if self._round_at >= len(self._round):
            self._round = list(self.desk.hub)
            self._round_at = 0
        share = len(self._round) // _ROUND + 1
        for line in islice(self._round, self._round_at, self._round_at + share):
            line.tick(now)
        self._round_at += share

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        """Loads the certificate, again whenever its files changed; a broken pair leaves the old one in place."""
        certificate = Path(self.settings.tls_certificate or "")
        key = Path(self.settings.tls_key or certificate)
        try:
            stamp = (certificate.stat().st_mtime, key.stat().st_mtime)
            if stamp != self._tls_stamp:
                context.load_cert_chain(certificate, key)
                self._tls_stamp = stamp
        except (OSError, ssl.SSLError):
            if self._tls_stamp == (0.0, 0.0):
                raise
            logger.exception("the TLS certificate could not be loaded; the old one stays")
            self._tls_stamp = stamp if "stamp" in locals() else self._tls_stamp
