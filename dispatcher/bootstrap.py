"""The composition root: the one place that knows implementations. One :class:`Stores` a process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import Clock, system_clock
from dispatcher.domain.device_token import DeviceTokens
from dispatcher.domain.ids import IdKey
from dispatcher.domain.paths import Path
from dispatcher.hot.carrier_health import RedisCarrierHealth
from dispatcher.hot.circuits import RedisCircuits
from dispatcher.hot.credential_checks import RedisCredentialChecks
from dispatcher.hot.hold import RedisHold
from dispatcher.hot.homes import RedisHomes
from dispatcher.hot.inboxes import RedisInboxes
from dispatcher.hot.learning import RedisLearning
from dispatcher.hot.node_bus import RedisNodeBus
from dispatcher.hot.presence import RedisPresences
from dispatcher.hot.profiles import RedisProfiles
from dispatcher.hot.push_caps import RedisPushCaps
from dispatcher.hot.receipt_watch import RedisReceiptWatch
from dispatcher.hot.shared_facts import RedisSharedFacts
from dispatcher.hot.shelf import RedisShelf
from dispatcher.hot.sign_ins import RedisSignIns
from dispatcher.hot.store import HotStore
from dispatcher.hot.throttle import RedisLocks, RedisThrottle
from dispatcher.ledger.apps import SqlApps
from dispatcher.ledger.audit import SqlAudit
from dispatcher.ledger.blocks import SqlBlocks, SqlReplays
from dispatcher.ledger.books import SqlBooks
from dispatcher.ledger.clearings import SqlClearings
from dispatcher.ledger.deliveries import SqlDeliveries
from dispatcher.ledger.directory import SqlDirectory
from dispatcher.ledger.engine import open_ledger
from dispatcher.ledger.epochs import SqlEpochs
from dispatcher.ledger.learning import SqlLearned
from dispatcher.ledger.listings import SqlListings
from dispatcher.ledger.messages import SqlMessages
from dispatcher.ledger.operators import SqlOperators
from dispatcher.ledger.rollups import SqlRollUps
from dispatcher.ledger.sms_guard import SqlSmsGuard
from dispatcher.ledger.strategies import SqlStrategyStore
from dispatcher.ledger.templates import SqlTemplates
from dispatcher.ledger.webhooks import SqlWebhooks
from dispatcher.phone_stores import hot_form, open_traces
from dispatcher.pipeline.facts import FactReader
from dispatcher.pipeline.limits import BudgetReader
from dispatcher.pipeline.parts import Hints, Parts, Rules
from dispatcher.pipeline.strategy_book import StrategyBook
from dispatcher.ports.homes import Queue
from dispatcher.ports.provider import Provider
from dispatcher.sealing import Sealer
from dispatcher.settings import Settings
from dispatcher.telemetry import Metrics
from providers.sms.segments import cut, measure

if TYPE_CHECKING:
    from providers.registry import Registry


class Vendors:
    """The provider registry, opened on first use: its vendor libraries take a third of a second to import, and of all
    processes only workers that send need them. Those call :func:`import_vendors` before they begin."""

    __slots__ = ("_open", "_opened")

    def __init__(self, open_registry: "Callable[[], Registry]") -> None:
        self._open = open_registry
        self._opened: Registry | None = None

    async def provider(self, app: str, path: Path) -> Provider | None:
        """See :class:`dispatcher.pipeline.parts.Providers`."""
        if self._opened is None:
            self._opened = self._open()
        return await self._opened.provider(app, path)

    async def close(self) -> None:
        """Ends every provider of the process."""
        if self._opened is not None:
            await self._opened.close()


def import_vendors() -> None:
    """Imports what sending needs, so that the first push does not wait for it."""
    import providers.registry  # noqa: F401


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorStores:
    """What operators look at and switch."""

    operators: SqlOperators
    sign_ins: RedisSignIns
    rollups: SqlRollUps
    listings: SqlListings
    blocks: SqlBlocks
    replays: SqlReplays
    circuits: RedisCircuits
    shelf: RedisShelf
    receipt_watch: RedisReceiptWatch
    checks: RedisCredentialChecks


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """The two stores and what only the composition root may hand out."""

    settings: Settings
    engine: AsyncEngine
    hot: HotStore
    apps: SqlApps
    directory: SqlDirectory
    deliveries: SqlDeliveries
    strategies: SqlStrategyStore
    audit: SqlAudit
    templates: SqlTemplates
    webhooks: SqlWebhooks
    clearings: SqlClearings
    books: SqlBooks
    epochs: SqlEpochs
    locks: RedisLocks
    sealer: Sealer
    tokens: DeviceTokens
    ids: IdKey
    metrics: Metrics
    clock: Clock
    vendors: Vendors
    parts: Parts
    desk: OperatorStores

    async def close(self) -> None:
        """Ends connections; what was begun is over by then."""
        await self.vendors.close()
        if self.parts.traces is not None:
            await self.parts.traces.close()
        await self.desk.circuits.close()
        await self.hot.close()
        await self.engine.dispose()


async def no_hint(queues: Sequence[Queue]) -> None:
    """For processes that leave every wake-up to the sweep."""


async def open_stores(
    settings: Settings, *, hint: Hints = no_hint, clock: Clock = system_clock, metrics: Metrics | None = None
) -> Stores:
    """Connects nothing yet: both stores connect on first use, so a process starts while they are away."""
    engine = open_ledger(settings.ledger_url.reveal(), pool_size=settings.ledger_pool)
    hot = HotStore(hot_form(settings.hot_store_url.reveal()), shards=settings.hot_shards)
    keyring = settings.keyring()
    sealer = Sealer(keyring.secrets, in_use=lambda: keyring.in_use(clock()))
    directory, apps, strategies = SqlDirectory(engine), SqlApps(engine), SqlStrategyStore(engine)
    deliveries = SqlDeliveries(engine)
    profiles = RedisProfiles(hot, directory.profiles)
    presences, bus = RedisPresences(hot), RedisNodeBus(hot)

    async def credentials(app: str, path: Path) -> bytes | None:
        sealed = await apps.credentials(app, path)
        return sealer.open(sealed) if sealed is not None else None

    def registry() -> "Registry":
        from providers.registry import Registry

        def health(app: str) -> RedisCarrierHealth:
            return RedisCarrierHealth(hot, app)

        return Registry(credentials, bus=bus, public_url=settings.public_url, health=health, clock=clock)

    vendors = Vendors(registry)
    guard, learning = SqlSmsGuard(engine), RedisLearning(hot, SqlLearned(engine))
    metrics = metrics or Metrics()
    ids = IdKey(keyring, clock)
    shared_facts = RedisSharedFacts(hot)
    circuits = RedisCircuits(hot, shared_facts, clock)
    parts = Parts(
        homes=RedisHomes(hot),
        inboxes=RedisInboxes(hot),
        presences=presences,
        profiles=profiles,
        bus=bus,
        throttle=RedisThrottle(hot),
        hold=RedisHold(hot),
        messages=SqlMessages(engine),
        deliveries=deliveries,
        directory=directory,
        apps=apps,
        sms_guard=guard,
        book=StrategyBook(strategies, clock),
        learning=learning,
        push_caps=RedisPushCaps(hot),
        facts=FactReader(profiles, presences, learning, shared_facts, BudgetReader(guard)),
        providers=vendors,
        seal=sealer,
        cut_sms=cut_sms,
        ids=ids,
        hints=hint,
        telemetry=metrics,
        clock=clock,
        rules=Rules(
            retention=settings.retention_of,
            otp_exempt_from_hold=settings.otp_exempt_from_sms_hold,
            background_pushes_per_hour=settings.background_pushes_per_hour,
        ),
        circuits=circuits,
        traces=open_traces(settings),
    )
    return Stores(
        settings=settings,
        engine=engine,
        hot=hot,
        apps=apps,
        directory=directory,
        deliveries=deliveries,
        strategies=strategies,
        audit=SqlAudit(engine),
        templates=SqlTemplates(engine),
        webhooks=SqlWebhooks(engine),
        clearings=SqlClearings(engine),
        books=SqlBooks(engine),
        epochs=SqlEpochs(engine),
        locks=RedisLocks(hot),
        sealer=sealer,
        tokens=DeviceTokens(keyring),
        ids=ids,
        metrics=metrics,
        clock=clock,
        vendors=vendors,
        parts=parts,
        desk=OperatorStores(
            operators=SqlOperators(engine),
            sign_ins=RedisSignIns(hot),
            rollups=SqlRollUps(engine),
            listings=SqlListings(engine),
            blocks=SqlBlocks(engine),
            replays=SqlReplays(engine),
            circuits=circuits,
            shelf=RedisShelf(hot),
            receipt_watch=RedisReceiptWatch(hot, shared_facts),
            checks=RedisCredentialChecks(hot),
        ),
    )


def cut_sms(text: str, segments: int) -> tuple[str, int]:
    """A text cut to so many segments, and how many it takes."""
    shortened = cut(text, segments)
    return shortened, measure(shortened).segments
