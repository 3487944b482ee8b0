"""What is learned from receipts: kept hot under a bound, archived in the ledger, read with a batch's other facts.

Failure policy: learning fails open. Without it the engine takes the longest wait that a rule allows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dispatcher.domain.clock import Millis
from dispatcher.domain.paths import Path
from strategies.learn import Learned, Pin, Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningSettings:
    """An app's word on learning. *pins* by :func:`strategies.learn.device_key` or ``segment_key``."""

    enabled: bool = True
    pins: Mapping[str, Pin] = field(default_factory=dict)


#: Of one user's devices: device id (empty: none) -> path -> rates.
UserRates = Mapping[str, Mapping[Path, Rates]]
#: Of an app's segments, by :func:`strategies.learn.segment_key`.
SegmentRates = Mapping[str, Rates]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a device's attempts on one path came to: how many ended, and the times (s) of those that were proven.

    *segment*: the device's, by ``segment_key``; None where it is no longer known.
    """

    user_id: str
    device_id: str
    path: Path
    segment: str | None
    attempts: int = 0
    proven_s: tuple[float, ...] = ()


class Learning(Protocol):
    """Histories of devices and segments. One teacher at a time (the archiver, under its lease)."""

    async def of_users(self, app: str, user_ids: Sequence[str]) -> Mapping[str, UserRates]:
        """Rates by user, one round trip; users without any are absent. What the hot store lacks comes from the
        ledger."""

    async def segments(self, app: str, now: Millis) -> SegmentRates:
        """All segments of an app; a few seconds old at most."""

    async def device(self, app: str, user_id: str, device_id: str) -> Mapping[Path, Learned]:
        """One device's whole histories, sketches included."""

    async def teach(self, app: str, lessons: Sequence[Lesson], now: Millis) -> None:
        """Takes lessons into the histories of their devices and segments."""

    async def archive(self, now: Millis) -> int:
        """Writes what was taught since the last call to the ledger; how many users and segments."""

    async def forget_user(self, app: str, user_id: str) -> None:
        """Erases a user's histories everywhere."""
