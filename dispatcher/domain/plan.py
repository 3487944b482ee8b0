"""What planning decided for one delivery, as it travels with it.

A ladder is the strategy engine's own value, packed: a delivery keeps the version it was planned with. A cursor's
``step`` byte names a rung of it and, on a rung with several paths at once, which of them: ``rung * 8 + position``.
"""

from msgspec import Struct
from msgspec.structs import replace

AT_ONCE = 8  #: paths a rung can try at once


class TrackPlan(Struct, frozen=True, array_like=True, kw_only=True):
    """One device's ladder. ``device_id`` None: a user without any device."""

    device_id: str | None
    epoch: int
    platform: str
    ladder: int  #: index into DeliveryPlan.ladders


class DeliveryPlan(Struct, frozen=True, array_like=True, kw_only=True):
    """All tracks of one delivery. ``ladders``: packed, equal ones once."""

    ladders: tuple[bytes, ...]
    tracks: tuple[TrackPlan, ...]
    each: bool = False  #: proof wanted from every device that was tried

    def without_devices(self) -> "DeliveryPlan":
        """The same for nobody's devices: what remains of it when its recipient is erased."""
        return replace(self, tracks=tuple(replace(track, device_id=None) for track in self.tracks))


def step_byte(rung: int, position: int) -> int:
    """The cursor's step for a rung and the position of the path on it."""
    return rung * AT_ONCE + position


def rung_of(step: int) -> int:
    return step // AT_ONCE


def position_of(step: int) -> int:
    return step % AT_ONCE
