"""Rate permits and shared brakes. Fails open: sending beats silence; counted."""

from typing import Protocol

from dispatcher.domain.clock import Millis


class Throttle(Protocol):
    """State shared by all workers and APIs."""

    async def permit(self, key: str, *, limit: int, window_ms: Millis, now: Millis, cost: int = 1) -> Millis:
        """0 where allowed, else milliseconds until it may be asked again."""

    async def brake(self, key: str, until: Millis) -> None:
        """Nobody uses *key* before *until* (a provider's Retry-After)."""

    async def braked_until(self, key: str, now: Millis) -> Millis:
        """0 where free, else when the brake ends."""
