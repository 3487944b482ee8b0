"""What is counted, in the three groups of the quality layer: providers, pipeline, business."""

from typing import Protocol

from dispatcher.domain.paths import Path


class Telemetry(Protocol):
    """Counting never fails and never waits."""

    # Providers: are they there?

    def attempted(self, path: Path, outcome: str, reason: str = "", count: int = 1) -> None:
        """Attempts by what was answered."""

    def provider_answered(self, path: Path, seconds: float) -> None:
        """Time of one call to a provider."""

    # Pipeline: does it keep up?

    def stage(self, stage: str, seconds: float, members: int) -> None:
        """One batch through one stage."""

    def queue_age(self, queue: str, lane: str, seconds: float) -> None:
        """Age of the oldest due member taken."""

    def taken_late(self, queue: str, seconds: float) -> None:
        """How long after its due time something was taken."""

    def gathered(self, what: str, size: int) -> None:
        """How many travelled together in one flush."""

    def late_send(self, path: Path, count: int = 1) -> None:
        """Requests written after proof or end was applied (invariant 4); must stay 0."""

    # Business: does it do its job?

    def accepted(self, klass: str, count: int = 1) -> None:
        """Deliveries accepted."""

    def settled(self, klass: str, end: str, count: int = 1) -> None:
        """Deliveries settled."""

    def confirmed(self, klass: str, path: Path | None, count: int = 1) -> None:
        """Deliveries confirmed, by the path of the attempt whose proof settled them."""

    def proof_took(self, path: Path, seconds: float) -> None:
        """From acceptance to proof."""

    def sms_segments(self, state: str, count: int) -> None:
        """Segments by state: sent, released ..."""

    def receipts(self, *, accepted: int = 0, unknown: int = 0, duplicate: int = 0) -> None:
        """What became of receipts."""
