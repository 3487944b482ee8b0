"""What the pipeline stands on: the ports of one process, put together by the composition root."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from dispatcher.domain.clock import DAY, Clock, Millis
from dispatcher.domain.ids import IdKey
from dispatcher.domain.paths import Path
from dispatcher.ports.circuits import Circuits, OpenCircuits
from dispatcher.ports.directory import Apps, Directory
from dispatcher.ports.homes import Homes, Queue
from dispatcher.ports.inboxes import Inboxes
from dispatcher.ports.learning import Learning
from dispatcher.ports.messages import Deliveries, Messages
from dispatcher.ports.node_bus import NodeBus
from dispatcher.ports.presence import Presences
from dispatcher.ports.profiles import Profiles
from dispatcher.ports.provider import Provider
from dispatcher.ports.push_caps import PushCaps
from dispatcher.ports.sms_guard import SmsGuard
from dispatcher.ports.telemetry import Telemetry
from dispatcher.ports.throttle import Throttle

if TYPE_CHECKING:
    from dispatcher.pipeline.facts import FactReader
    from dispatcher.pipeline.strategy_book import StrategyBook
    from dispatcher.pipeline.traces import Traces


class Providers(Protocol):
    """Who speaks for an app on a path."""

    async def provider(self, app: str, path: Path) -> Provider | None:
        """None where the app has no credentials for *path*."""


class Hints(Protocol):
    """Celery messages: queues with work due now. A lost one costs a sweep, nothing else."""

    def __call__(self, queues: Sequence[Queue]) -> Awaitable[None]: ...


class Seal(Protocol):
    """Opens what was sealed at the door (phone numbers)."""

    def open(self, sealed: bytes) -> bytes: ...

    def number_hash(self, phone: str) -> bytes: ...


class Hold(Protocol):
    """Invariant 9: whether silence can be trusted to mean that nothing arrived."""

    async def held_until(self, now: Millis) -> Millis:
        """0, or until when no SMS step may conclude anything from silence."""

    async def hold(self, until: Millis, reason: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Settings that the pipeline follows."""

    default_zone: str = "UTC"
    otp_exempt_from_hold: bool = True
    grace_ms: Millis = 20_000
    background_pushes_per_hour: int = 3  #: a device's that show nothing, through Apple; 0: as many as there are
    max_devices: int = 32  #: of one user, the latest seen first
    #: how long history of a class stays readable; None: it leaves with its ttl and is not kept in the ledger
    retention: Callable[[str], Millis | None] = lambda _klass: 90 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneParts:
    """What taking receipts and answering phones stands on: all that a gateway needs of one process's ports."""

    homes: Homes
    inboxes: Inboxes
    presences: Presences
    profiles: Profiles
    bus: NodeBus
    hold: Hold
    messages: Messages
    deliveries: Deliveries
    directory: Directory
    ids: IdKey
    telemetry: Telemetry
    clock: Clock
    rules: Rules
    circuits: Circuits = field(default_factory=OpenCircuits)
    traces: "Traces | None" = None  #: where tracing is on


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts(PhoneParts):
    """One process's ports."""

    throttle: Throttle
    apps: Apps
    sms_guard: SmsGuard
    book: "StrategyBook"
    learning: Learning
    push_caps: PushCaps
    facts: "FactReader"
    providers: Providers
    seal: Seal
    #: cuts a text to so many SMS segments; answers the text and how many it takes
    cut_sms: Callable[[str, int], tuple[str, int]]
    hints: Hints
