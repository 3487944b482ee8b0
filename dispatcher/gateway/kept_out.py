"""Who is kept out of an app: its block lists of users and addresses, as they were a moment ago.

Failure policy: open. Where the lists cannot be read, the last ones known hold, and none where none are known: a ledger
that is away must not keep every phone off the line. Each failure is counted.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from dispatcher.domain.clock import MINUTE, SECOND, Millis
from dispatcher.gateway.counters import Count, Counters

logger = logging.getLogger("pushpath.gateway")

#: How old a list may be that a hello is judged by.
FRESH: Millis = SECOND
#: Lists read at most in one round; with more apps than that on a node a round takes several turns.
AT_ONCE = 50


class Rules(Protocol):
    """One app's lists."""

    def barred(self, address: str, user_id: str | None, now: Millis) -> object | None:
        """What keeps this device out, None for nothing."""


class Caller(Protocol):
    """A connection; its address is looked up only where there is a list to hold it against."""

    @property
    def address(self) -> str: ...


#: Reads an app's lists; None where there is no such app.
ReadRules = Callable[[str], Awaitable[Rules | None]]


class KeptOut:
    """The lists of all apps that knocked here. *read* None: nobody is kept out."""

    __slots__ = ("_changed", "_counters", "_known", "_read")

    def __init__(self, read: ReadRules | None, counters: Counters) -> None:
        self._read = read
        self._counters = counters
        self._known: dict[str, tuple[Millis, Rules | None]] = {}
        self._changed: set[str] = set()

    def bars(self, app: str, caller: Caller, user_id: str, now: Millis) -> bool:
        """Whether the lists as last read keep this device out."""
        known = self._known.get(app)
        if known is None or known[1] is None:
            return False
        return known[1].barred(caller.address, user_id, now) is not None

    async def learn(self, apps: Iterable[str], now: Millis) -> None:
        """Reads the lists of those *apps* that were not read lately."""
        if self._read is None:
            return
        stale = [app for app in apps if app not in self._known or now - self._known[app][0] >= FRESH]
        stale.sort(key=lambda app: self._known[app][0] if app in self._known else 0)
        for app in stale[:AT_ONCE]:
            before = self._known[app][1] if app in self._known else None
            try:
                rules = await self._read(app)
            except Exception:
                self._counters[Count.FAULTS] += 1
                logger.exception("an app's block lists could not be read; the last ones known hold")
                rules = before
            self._known[app] = (now, rules)
            if rules is not None and rules != before:
                self._changed.add(app)

    def take_changed(self) -> set[str]:
        """Apps whose lists changed, each told once: somebody who is here may stand on them now."""
        changed, self._changed = self._changed, set()
        return changed

    def forget(self, held: Iterable[str], now: Millis) -> None:
        """Lets go of apps that have had no device here for a while."""
        keep = set(held)
        for app in [app for app, (at, _) in self._known.items() if app not in keep and now - at >= MINUTE]:
            del self._known[app]
