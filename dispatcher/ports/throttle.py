"""Rate permits and shared brakes. Fails open: sending beats silence; counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from dispatcher.domain.clock import Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Brakes:
    """What must wait under one key. *since*: when the brake began that has been set again and again until now."""

    since: Millis = 0
    until: Millis = 0  #: 0: free
    members: Mapping[str, Millis] = field(default_factory=dict)  #: single members (devices) and when theirs end


class Throttle(Protocol):
    """State shared by all workers and APIs."""

    async def permit(self, key: str, *, limit: int, window_ms: Millis, now: Millis, cost: int = 1) -> Millis:
        """0 where allowed, else milliseconds until it may be asked again."""

    async def brake(self, key: str, until: Millis, now: Millis) -> None:
        """Nobody uses *key* before *until* (a provider's Retry-After). A brake is never shortened by another."""

    async def brake_members(self, key: str, members: Mapping[str, Millis], now: Millis) -> None:
        """Nobody uses *key* for these members before their moments; for others it stays free."""

    async def brakes(self, key: str, now: Millis) -> Brakes:
        """What is braked under *key*; one round trip."""

    async def braked_until(self, key: str, now: Millis) -> Millis:
        """0 where *key* as a whole is free, else when its brake ends."""
