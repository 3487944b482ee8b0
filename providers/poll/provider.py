"""The poll path."""

from collections.abc import Sequence

from dispatcher.domain.clock import Millis
from dispatcher.domain.outcome import HandedOver, Outcome
from dispatcher.ports.node_bus import BusFrame, NodeBus
from providers.base import Attempt, Limits
from providers.longconn.provider import frame_of


class PollProvider:
    """Hands over by doing nothing: admission put the message into the inbox.

    Failure policy: waking a parked poll is best effort; unwoken, it ends by itself and the next one finds the message.
    """

    def __init__(
        self,
        bus: NodeBus,
        limits: Limits = Limits(batch=500, payload_bytes=65_536, concurrent=500, deadline_ms=5_000),  # noqa: B008
    ) -> None:
        self.limits = limits
        self._bus = bus
        self.wakes_lost = 0

    async def send(self, attempts: Sequence[Attempt], now: Millis) -> list[Outcome]:
        """See :class:`~providers.base.Provider`."""
        frames: dict[str, list[BusFrame]] = {}
        for attempt in attempts:
            if attempt.node is not None and attempt.device_id is not None:
                frames.setdefault(attempt.node, []).append(frame_of(attempt, "recall" if attempt.clear else "wake"))
        if frames:
            try:
                await self._bus.send(frames)
            except Exception:  # noqa: BLE001 - any store behind the port, with errors of its own
                self.wakes_lost += sum(len(found) for found in frames.values())
        return [HandedOver("inbox")] * len(attempts)

    async def close(self) -> None:
        """Nothing of its own: the bus belongs to the process."""
