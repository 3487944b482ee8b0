"""The books at once: counted when asked where that is quick, else as they were counted last.

Counting ten million rows takes seconds, so an answer waits :data:`PATIENCE_S` at most for a fresh count; the count goes
on behind it and serves the next one. Workers count now and then, so that there is always something to show: ``at`` says
of which moment it is, ``fresh`` whether it was counted for this answer.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from dispatcher.domain.clock import DAY, Millis
from dispatcher.pipeline.books import Ledger, balance
from dispatcher.pipeline.parts import Parts

PATIENCE_S = 0.1
_KEPT: Millis = DAY


class Shelf(Protocol):
    """Results kept for whoever cannot wait."""

    async def get(self, name: str) -> bytes | None:
        """What lies there."""

    async def put(self, name: str, value: bytes, lasts_ms: Millis) -> None:
        """For so long."""


class KeptBooks:
    """One process's door to the books."""

    def __init__(self, ledger: Ledger, parts: Parts, shelf: Shelf) -> None:
        self._ledger = ledger
        self._parts = parts
        self._shelf = shelf
        self._counting: dict[str, asyncio.Task[dict[str, Any]]] = {}

    async def books(self, app: str) -> Mapping[str, Any]:
        """The balance, counted now or lately."""
        counting = self._counting.get(app)
        late = counting is not None and not counting.done()  # begun for an earlier answer: not of this moment
        if counting is None or counting.done():
            counting = self._counting[app] = asyncio.get_running_loop().create_task(self.count(app))
        done, _ = await asyncio.wait({counting}, timeout=PATIENCE_S)
        if not done:
            known = await self._shelf.get(f"books:{app}")
            if known is not None:
                return {**msgspec.json.decode(known), "fresh": False}
        return {**await asyncio.shield(counting), "fresh": not late}

    async def count(self, app: str) -> dict[str, Any]:
        """Counts, and keeps the result for whoever cannot wait for one."""
        found = await balance(app, self._ledger, self._parts, self._parts.clock())
        await self._shelf.put(f"books:{app}", msgspec.json.encode(found), _KEPT)
        return found

    async def close(self) -> None:
        """Ends counts that nobody waits for any more."""
        for task in self._counting.values():
            task.cancel()
        if self._counting:
            await asyncio.wait(self._counting.values())
