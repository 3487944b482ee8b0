"""The composition root of a gateway: what phones' doors need of the two stores, and nothing beside it.

A gateway holds very many connections, so it must weigh little itself: no SQLAlchemy, no strategies, no vendors, no
cryptography. What every process shares with it is put together here too.
"""

from dataclasses import dataclass
from secrets import randbits
from typing import TYPE_CHECKING

from dispatcher.domain.clock import Clock, system_clock
from dispatcher.domain.device_token import DeviceTokens
from dispatcher.domain.ids import IdKey
from dispatcher.hot.circuits import RedisCircuits
from dispatcher.hot.hold import RedisHold
from dispatcher.hot.homes import RedisHomes
from dispatcher.hot.inboxes import RedisInboxes
from dispatcher.hot.node_bus import RedisNodeBus
from dispatcher.hot.presence import RedisPresences
from dispatcher.hot.profiles import RedisProfiles
from dispatcher.hot.shared_facts import RedisSharedFacts
from dispatcher.hot.store import HotStore
from dispatcher.ledger.deliveries import SqlDeliveries
from dispatcher.ledger.directory import SqlDirectory
from dispatcher.ledger.kept_out import SqlKeptOut
from dispatcher.ledger.lean import LeanPool
from dispatcher.ledger.messages import SqlMessages
from dispatcher.pipeline.parts import PhoneParts, Rules
from dispatcher.settings import Settings
from dispatcher.telemetry import Metrics

if TYPE_CHECKING:
    from dispatcher.pipeline.traces import Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneStores:
    """The two stores as a gateway sees them."""

    settings: Settings
    pool: LeanPool
    hot: HotStore
    kept_out: SqlKeptOut
    tokens: DeviceTokens
    metrics: Metrics
    circuits: RedisCircuits
    parts: PhoneParts

    async def close(self) -> None:
        """Ends connections; what was begun is over by then."""
        if self.parts.traces is not None:
            await self.parts.traces.close()
        await self.circuits.close()
        await self.hot.close()
        await self.pool.close()


def open_phone_stores(settings: Settings, metrics: Metrics, clock: Clock = system_clock) -> PhoneStores:
    """Connects nothing yet: both stores connect on first use, so a gateway starts while they are away."""
    pool = LeanPool(settings.ledger_url.reveal(), size=settings.ledger_pool)
    hot = HotStore(hot_form(settings.hot_store_url.reveal()), shards=settings.hot_shards)
    keyring = settings.keyring()
    directory = SqlDirectory(pool)
    circuits = RedisCircuits(hot, RedisSharedFacts(hot), clock)
    parts = PhoneParts(
        homes=RedisHomes(hot),
        inboxes=RedisInboxes(hot),
        presences=RedisPresences(hot),
        profiles=RedisProfiles(hot, directory.profiles),
        bus=RedisNodeBus(hot),
        hold=RedisHold(hot),
        messages=SqlMessages(pool),
        deliveries=SqlDeliveries(pool),
        directory=directory,
        ids=IdKey(keyring, clock),
        telemetry=metrics,
        clock=clock,
        rules=Rules(retention=settings.retention_of, otp_exempt_from_hold=settings.otp_exempt_from_sms_hold),
        circuits=circuits,
        traces=open_traces(settings),
    )
    return PhoneStores(
        settings=settings,
        pool=pool,
        hot=hot,
        kept_out=SqlKeptOut(pool),
        tokens=DeviceTokens(keyring),
        metrics=metrics,
        circuits=circuits,
        parts=parts,
    )


def open_traces(settings: Settings) -> "Traces | None":
    """Where spans go; None, and nothing imported, unless settings say where."""
    if settings.otlp_endpoint is None:
        return None
    from dispatcher.pipeline.traces import Traces
    from dispatcher.tracing.otlp import OtlpTracing

    return Traces(OtlpTracing(settings.otlp_endpoint), ratio=settings.otlp_sample_ratio, dice=randbits)


def hot_form(url: str) -> str:
    """A hot-store URL as redis-py spells it: ``unix:///path`` for ``redis+socket:///path``."""
    return "unix" + url.removeprefix("redis+socket") if url.startswith("redis+socket:") else url
