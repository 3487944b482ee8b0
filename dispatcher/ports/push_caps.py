"""How many pushes one device may get. Fails open: a push too many beats silence."""

from collections.abc import Sequence
from typing import Protocol

from dispatcher.domain.clock import Millis


class PushCaps(Protocol):
    """Counted across all workers."""

    async def take(self, app: str, wanted: Sequence[tuple[str, int, Millis]], now: Millis) -> list[bool]:
        """One push each for (a device's meter, at most so many, in so many ms); False where it had enough."""
