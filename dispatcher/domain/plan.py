"""What planning decided for one delivery, as it travels with it.

The ladder is flat: ``paths: [a, b]`` (at once) became two steps, the first with ``at_once`` set, so a cursor stays one
(step, attempt, phase). A delivery keeps the ladder it was planned with; ``condition`` carries the text of an ``if``.
"""

from msgspec import Struct

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Proof
from dispatcher.domain.paths import Path


class Step(Struct, frozen=True, array_like=True, kw_only=True):
    """One rung: a path, how long to wait for proof, and what counts as proof."""

    path: Path
    wait_ms: Millis | None  #: None: until ttl
    until: Proof = Proof.DELIVERED
    retries: int = 3
    at_once: bool = False  #: go on to the next step as soon as this one left
    priority: str | None = None
    condition: str | None = None  #: CEL text, asked when the step's turn comes
    rung: int = 0  #: which rung of the rule's ladder this came from


class TrackPlan(Struct, frozen=True, array_like=True, kw_only=True):
    """One device's ladder. ``device_id`` None: a user without any device."""

    device_id: str | None
    epoch: int
    platform: str
    ladder: int  #: index into DeliveryPlan.ladders
    silent: bool = False  #: quiet hours: show nothing, ring nothing


class Ladder(Struct, frozen=True, array_like=True, kw_only=True):
    """The answer of one rule."""

    strategy: str
    version: int
    rule: str
    steps: tuple[Step, ...]


class DeliveryPlan(Struct, frozen=True, array_like=True, kw_only=True):
    """All tracks of one delivery."""

    ladders: tuple[Ladder, ...]
    tracks: tuple[TrackPlan, ...]
    held_until: Millis | None = None  #: quiet hours: push and sms not before
    each: bool = False  #: proof wanted from every device that was tried
