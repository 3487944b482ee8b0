"""What is counted, in the three groups of the quality layer: providers, pipeline, business."""

from typing import Protocol


class Telemetry(Protocol):
    """Counting never fails and never waits."""

    def attempted(self, path: str, count: int, seconds: float) -> None:
        """Provider group: *count* attempts that shared one call of *seconds*."""

    def outcome(self, path: str, kind: str, reason: str) -> None:
        """Provider group: one answer."""

    def stage(self, stage: str, seconds: float, count: int) -> None:
        """Pipeline group: time a stage took for *count* deliveries."""

    def queue_age(self, queue: str, seconds: float) -> None:
        """Pipeline group: how long the claimed members had been due."""

    def sweep_lateness(self, seconds: float) -> None:
        """Pipeline group: how late the sweep found a deadline."""

    def late_send(self, path: str, count: int) -> None:
        """Pipeline group: requests written after proof or end was applied (invariant 4); must stay 0."""

    def gathered(self, what: str, count: int) -> None:
        """Pipeline group: how many travelled together."""

    def accepted(self, klass: str, count: int) -> None:
        """Business group: deliveries accepted."""

    def settled(self, klass: str, end: str, count: int) -> None:
        """Business group: deliveries settled."""

    def confirmed(self, klass: str, path: str, seconds: float) -> None:
        """Business group: one confirmation and its time to proof since acceptance."""

    def sms_segments(self, klass: str, count: int) -> None:
        """Business group: segments handed to a carrier."""
