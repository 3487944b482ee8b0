"""Published strategies, compiled once and shared; a new version is picked up within half a second of its publish."""

from collections.abc import Mapping
from hashlib import blake2b

from dispatcher.domain.clock import Clock, Millis
from dispatcher.ports.directory import StrategyStore, StrategyVersion
from strategies.compile import Strategy, compile_strategy
from strategies.default import default_strategy
from strategies.document import parse_document

RECHECK_MS = 500


class StrategyBook:
    """Which strategy plans a delivery: the message's own, else the one that owns its class, else ``default``."""

    def __init__(self, store: StrategyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._revision = -1
        self._checked_at: Millis = 0
        self._apps: dict[str, _Shelf] = {}
        self._compiled: dict[tuple[str, str, int], Strategy] = {}
        self._shipped = default_strategy()

    async def shelf(self, app: str) -> "_Shelf":
        """The app's live strategies."""
        now = self._clock()
        if now - self._checked_at >= RECHECK_MS:
            revision = await self._store.revision()
            if revision != self._revision:
                self._apps.clear()
                self._revision = revision
            self._checked_at = now
        shelf = self._apps.get(app)
        if shelf is None:
            shelf = _Shelf(self._compile(app, await self._store.published(app)), self._shipped)
            self._apps[app] = shelf
        return shelf

    def _compile(self, app: str, versions: list[StrategyVersion]) -> list[tuple[StrategyVersion, Strategy]]:
        found = []
        for version in versions:
            key = (app, version.name, version.version or 0)
            if key not in self._compiled:
                document = parse_document(version.document)
                self._compiled[key] = compile_strategy(document, version.name, version.version or 0)
            found.append((version, self._compiled[key]))
        return found


class _Shelf:
    """One app's live strategies, by name and by class; partial versions beside the one they are tried against."""

    def __init__(self, live: list[tuple[StrategyVersion, Strategy]], shipped: Strategy) -> None:
        self._whole: dict[str, Strategy] = {"default": shipped}
        self._partial: dict[str, tuple[int, Strategy]] = {}
        for version, strategy in live:
            if version.percent >= 100:
                self._whole[version.name] = strategy
            else:
                self._partial[version.name] = (version.percent, strategy)
        self._owners: Mapping[str, str] = {
            klass: name for name, strategy in self._whole.items() for klass in strategy.classes or ()
        }

    def pick(self, klass: str, name: str | None, user_id: str) -> Strategy:
        """The strategy for one user; a name nobody published (any more) falls back to the class's."""
        chosen = name if name is not None and name in self._whole else self._owners.get(klass, "default")
        partial = self._partial.get(chosen)
        if partial is not None and share_of(chosen, user_id) < partial[0]:
            return partial[1]
        return self._whole[chosen]

    def knows(self, name: str) -> bool:
        return name in self._whole


def share_of(strategy: str, user_id: str) -> int:
    """0 to 99, stable by user: below a version's percent the user gets it."""
    digest = blake2b(f"{strategy}\0{user_id}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % 100
