"""Recalled messages whose notifications may still stand on screens: clearing pushes that are to be sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dispatcher.domain.clock import Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearing:
    """One recalled message. ``cleared``: attempts done with, as ``place.track.path``."""

    app: str
    message_id: str
    recalled_at: Millis
    tries: int
    cleared: frozenset[str]


class Clearings(Protocol):
    """Written with the recall, in its transaction; gone once nothing is left to clear."""

    async def due(self, now: Millis, limit: int) -> list[Clearing]: ...

    async def again(self, clearing: Clearing, cleared: Sequence[str], due: Millis) -> None:
        """Looks at it once more; *cleared*: all that is done with by now."""

    async def done(self, clearing: Clearing) -> None:
        """Unless it was recalled again since."""
