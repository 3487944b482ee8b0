"""Later evidence: from the device itself, or from a carrier."""

from dataclasses import dataclass

from msgspec import Struct

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Proof
from dispatcher.domain.ids import DeliveryRef
from dispatcher.domain.paths import Path

EVENTS = {"delivered": Proof.DELIVERED, "displayed": Proof.DISPLAYED, "opened": Proof.OPENED}
EVENT_NAMES = {proof: name for name, proof in EVENTS.items()}


class Receipt(Struct, frozen=True, kw_only=True, gc=False):
    """One piece of evidence about one delivery.

    ``via``: the path whose attempt it proves; None: the latest attempt's (``inferred``, not learned from).
    ``device_id`` None: not known which device (a carrier's status, a backend that does not say).
    """

    delivery: DeliveryRef
    event: Proof
    at: Millis
    via: Path | None = None
    device_id: str | None = None
    track: int | None = None
    step: int | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A receipt that changed something. *attempted_at* None: the home knows when its path was tried last."""

    delivery: DeliveryRef
    track: int
    event: str
    at: Millis
    path: Path | None
    attempted_at: Millis | None = None
    confirmed: bool = False
