"""What all connections of one gateway process share."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import TYPE_CHECKING

from dispatcher.domain.clock import Clock, Millis
from dispatcher.domain.device_token import DeviceTokens
from dispatcher.domain.ids import IdKey
from dispatcher.gateway.acks import Acks
from dispatcher.gateway.chores import Chores
from dispatcher.gateway.counters import Counters
from dispatcher.gateway.deadlines import Deadlines
from dispatcher.gateway.hub import Hub
from dispatcher.gateway.kept_out import KeptOut, ReadRules
from dispatcher.gateway.origins import Origins
from dispatcher.gateway.pressure import Pressure
from dispatcher.gateway.settings import GatewaySettings
from dispatcher.ports.inboxes import Inboxes
from dispatcher.ports.node_bus import NodeBus
from dispatcher.ports.presence import Presences
from dispatcher.ports.profiles import Profiles
from dispatcher.ports.receiving import InboxPull, ReceiveDoor
from dispatcher.protocol.handshake import Upgrades
from dispatcher.protocol.known_line import Manners

if TYPE_CHECKING:
    from dispatcher.gateway.arrival import Arrival
    from dispatcher.gateway.line import Line
    from dispatcher.gateway.opening import Openings
    from dispatcher.gateway.polls import Polls


class Desk:
    """Ports, books and the coarse clock. ``now`` is at most one tick old: good for silence, not for tokens."""

    __slots__ = (
        "acks",
        "bus",
        "chores",
        "clock",
        "counters",
        "deadlines",
        "dice",
        "draining",
        "hub",
        "inboxes",
        "kept_out",
        "life",
        "manners",
        "node",
        "now",
        "openings",
        "origins",
        "polls",
        "presences",
        "pressure",
        "profiles",
        "pull",
        "receive",
        "session_count",
        "settings",
        "throttled",
        "trusted",
        "unclaimed",
        "upgrades",
    )

    openings: "Openings"
    polls: "Polls"

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        node: str,
        inboxes: Inboxes,
        presences: Presences,
        bus: NodeBus,
        profiles: Profiles,
        tokens: DeviceTokens,
        ids: IdKey,
        receive: ReceiveDoor,
        pull: InboxPull,
        clock: Clock,
        dice: Callable[[], float],
        rules: ReadRules | None = None,
    ) -> None:
        self.settings = settings
        self.node = node
        self.inboxes = inboxes
        self.presences = presences
        self.bus = bus
        self.profiles = profiles
        self.receive = receive
        self.pull = pull
        self.clock = clock
        self.dice = dice
        self.now: Millis = clock()
        self.life = 0  #: the hot store's epoch as last read
        self.draining = False
        self.session_count = 0
        self.manners = Manners(
            tokens=tokens,
            ids=ids,
            heartbeat_s=settings.heartbeat_s,
            heartbeat_least_s=settings.heartbeat_least_s,
            heartbeat_most_s=settings.heartbeat_most_s,
            probe_after=settings.probe_after,
            dead_after=settings.dead_after,
        )
        self.counters = Counters()
        self.hub = Hub()
        self.kept_out = KeptOut(rules, self.counters)
        self.deadlines = Deadlines(self.now)
        self.pressure = Pressure(settings, dice)
        self.origins = Origins(settings.cors_origins) if settings.cors_origins else None
        self.trusted = tuple(ip_network(peers, strict=False) for peers in settings.trusted_peers)
        self.chores = Chores(self.counters, at_once=settings.openings_at_once)
        self.acks = Acks(receive, clock, self.counters, gather=settings.gather_acks)
        #: lines whose device says too much, with what it said and was not heard yet
        self.throttled: dict[Line, bytes] = {}
        self.upgrades = Upgrades()
        #: connections that belong to no line: requests coming in, polls
        self.unclaimed: set[Arrival] = set()

    def next_session(self) -> str:
        """A session id no other node has."""
        self.session_count += 1
        return f"{self.node}.{self.session_count:x}"
