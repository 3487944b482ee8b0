"""Published strategies, compiled once and shared; a new version is picked up within half a second of its publish."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from dispatcher.domain.clock import Clock, Millis
from dispatcher.ports.directory import StrategyStore, StrategyVersion
from dispatcher.ports.learning import LearningSettings
from dispatcher.ports.messages import LedgerUnavailable
from strategies.compile import Strategy, compile_strategy
from strategies.default import default_strategy
from strategies.document import parse_document
from strategies.limits import Rate
from strategies.problems import StrategyInvalid
from strategies.rollout import gets_new
from strategies.validate import DEFAULT_STRATEGY

RECHECK_MS = 500
_log = logging.getLogger(__name__)


class StrategyBook:
    """Which strategy plans a delivery: the message's own, else the one that owns its class, else ``default``.

    While the ledger is away, deliveries are planned with what was last read.
    """

    def __init__(self, store: StrategyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._revision = -1
        self._checked_at: Millis = 0
        self._apps: dict[str, Shelf] = {}
        self._stale: dict[str, Shelf] = {}
        self._compiled: dict[str, dict[tuple[str, int], Strategy | None]] = {}
        self._shipped = default_strategy()

    async def shelf(self, app: str) -> "Shelf":
        """The app's live strategies and its word on learning. Raises LedgerUnavailable before the first read only."""
        now = self._clock()
        if now - self._checked_at >= RECHECK_MS:
            await self._recheck()
            self._checked_at = now
        shelf = self._apps.get(app)
        if shelf is None:
            shelf = self._apps[app] = await self._read(app)
        return shelf

    async def _recheck(self) -> None:
        try:
            revision = await self._store.revision()
        except LedgerUnavailable:
            _log.warning("the ledger is away; planning goes on with the strategies last read")
            return
        if revision != self._revision:
            self._stale, self._apps = self._apps, {}
            self._revision = revision

    async def _read(self, app: str) -> "Shelf":
        try:
            live = self._compile(app, await self._store.published(app))
            return Shelf(app, live, self._shipped, await self._store.learning(app))
        except LedgerUnavailable:
            if app not in self._stale:
                raise
            return self._stale[app]

    def _compile(self, app: str, versions: Sequence[StrategyVersion]) -> list[tuple[StrategyVersion, Strategy]]:
        known = self._compiled.get(app, {})
        kept: dict[tuple[str, int], Strategy | None] = {}
        for version in versions:
            key = (version.name, version.version or 0)
            kept[key] = known[key] if key in known else _compiled(version)
        self._compiled[app] = kept
        found = ((version, kept[version.name, version.version or 0]) for version in versions)
        return [(version, strategy) for version, strategy in found if strategy is not None]


class Shelf:
    """One app's live strategies, by name and by class; partial versions beside the one they are tried against."""

    def __init__(
        self,
        app: str,
        live: Iterable[tuple[StrategyVersion, Strategy]],
        shipped: Strategy,
        learning: LearningSettings,
    ) -> None:
        self.learning = learning
        self._app = app
        self._whole: dict[str, Strategy] = {DEFAULT_STRATEGY: shipped}
        self._partial: dict[str, tuple[int, Strategy]] = {}
        for version, strategy in live:
            if version.percent >= 100:
                self._whole[version.name] = strategy
            else:
                self._partial[version.name] = (version.percent, strategy)
        every = (*self._whole.values(), *(strategy for _, strategy in self._partial.values()))
        owners: dict[str, list[str]] = defaultdict(list)
        for strategy in every:
            if strategy.name != DEFAULT_STRATEGY:
                for klass in strategy.classes or ():
                    owners[klass].append(strategy.name)
        self._owners: Mapping[str, Sequence[str]] = owners
        caps = {strategy.document.sms.budget for strategy in every if strategy.document.sms is not None}
        #: of all live versions, for ``budget.sms_left``
        self.budgets: tuple[Rate, ...] = tuple(cap for cap in caps if cap is not None)

    def pick(self, klass: str, name: str | None, user_id: str) -> Strategy:
        """The strategy for one user; a name nobody published (any more) falls back to the class's."""
        if name is not None and (chosen := self._version(name, user_id)) is not None:
            return chosen
        for owner in self._owners.get(klass, ()):
            chosen = self._version(owner, user_id)
            if chosen is not None and klass in (chosen.classes or ()):
                return chosen
        return self._version(DEFAULT_STRATEGY, user_id) or self._whole[DEFAULT_STRATEGY]

    def whole(self, name: str) -> Strategy | None:
        """The version that all get who are in no trial of another."""
        return self._whole.get(name)

    def owner(self, klass: str) -> str:
        """The name that plans a class for everyone."""
        names = self._owners.get(klass, ())
        return next((name for name in names if klass in (self._classes(name) or ())), DEFAULT_STRATEGY)

    def _classes(self, name: str) -> tuple[str, ...] | None:
        whole = self._whole.get(name)
        return whole.classes if whole is not None else None

    def _version(self, name: str, user_id: str) -> Strategy | None:
        partial = self._partial.get(name)
        if partial is not None and gets_new(self._app, name, user_id, partial[0]):
            return partial[1]
        return self._whole.get(name)


def _compiled(version: StrategyVersion) -> Strategy | None:
    """None for a document that this release no longer takes: its classes fall to ``default`` rather than to nobody."""
    try:
        return compile_strategy(parse_document(version.document), version.name, version.version or 0)
    except StrategyInvalid as invalid:
        _log.error(
            "a published strategy cannot be compiled",
            extra={"strategy": version.name, "version": version.version, "faults": str(invalid)},
        )
        return None
