"""What is asked of the ledger with every request, remembered for a moment: API keys, sessions, apps' own rules."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from dispatcher.domain.clock import SECOND, Clock, Millis

#: A revocation is in force everywhere within this time.
LIFE: Millis = SECOND
MOST = 4_096

T = TypeVar("T")


class Ring(Generic[T]):
    """Values by name, read at most once a second each, however many ask at once.

    *away*: what to answer where reading fails and nothing was known before; without it the failure is raised. With it,
    what was known goes on being answered while the store is away.
    """

    def __init__(
        self, read: Callable[[str], Awaitable[T]], clock: Clock, *, away: Callable[[], T] | None = None
    ) -> None:
        self._read = read
        self._clock = clock
        self._away = away
        self._known: OrderedDict[str, tuple[Millis, T]] = OrderedDict()
        self._asked: dict[str, asyncio.Future[T]] = {}

    def at_hand(self, name: str) -> T | None:
        """The value where it is fresh, without waiting."""
        known = self._known.get(name)
        return known[1] if known is not None and self._clock() < known[0] else None

    async def find(self, name: str) -> T:
        """The value behind *name*."""
        known = self._known.get(name)
        if known is not None and self._clock() < known[0]:
            return known[1]
        asked = self._asked.get(name)
        if asked is None:
            asked = asyncio.ensure_future(self._ask(name))
            self._asked[name] = asked
            asked.add_done_callback(lambda done: self._answered(name, done))
        return await asyncio.shield(asked)

    def forget(self, name: str) -> None:
        """Reads again next time."""
        self._known.pop(name, None)

    def _answered(self, name: str, done: "asyncio.Future[T]") -> None:
        self._asked.pop(name, None)
        if not done.cancelled():
            done.exception()  # whoever still waits gets it; nobody may be left

    async def _ask(self, name: str) -> T:
        asked_at = self._clock()
        try:
            value = await self._read(name)
        except Exception:
            if self._away is None:
                raise
            known = self._known.get(name)
            value = known[1] if known is not None else self._away()
        self._known[name] = (asked_at + LIFE, value)
        self._known.move_to_end(name)
        if len(self._known) > MOST:
            self._known.popitem(last=False)
        return value
