"""What is the same for all devices of an app: how its paths fare now.

Failure policy: fails open. What is not known stops no attempt; the attempt will tell.
"""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from dispatcher.domain.clock import Millis
from dispatcher.domain.paths import Path


class PathHealth(Struct, frozen=True, array_like=True, kw_only=True):
    """One path as its circuit sees it. *p95_s*: seconds from hand-over to proof, all devices; None: not known."""

    healthy: bool = True
    success_rate: float | None = None
    p95_s: float | None = None


class SharedFacts(Protocol):
    """Written by the providers' circuits, read with every batch."""

    async def paths(self, app: str, now: Millis) -> Mapping[Path, PathHealth]:
        """Paths something is known of; a fraction of a second old at most."""

    async def tell(self, app: str, path: Path, health: PathHealth, *, lasts_ms: Millis) -> None:
        """What a circuit saw. It counts for *lasts_ms*, so that a circuit that died says nothing for long."""
