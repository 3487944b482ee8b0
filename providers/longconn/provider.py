"""The longconn path."""

from collections.abc import Sequence

from dispatcher.domain.clock import Millis
from dispatcher.domain.outcome import HandedOver, NotConnected, Outcome, Unknown
from dispatcher.ports.node_bus import BusFrame, NodeBus
from providers.base import Attempt, Limits


def frame_of(attempt: Attempt, kind: str) -> BusFrame:
    """What the gateway node needs for *attempt*; a recall carries no body."""
    message = attempt.message
    return BusFrame(
        kind=kind,
        app=message.app,
        user_id=attempt.user_id,
        device_id=attempt.device_id or "",
        session=attempt.session or "",
        epoch=attempt.epoch,
        seq=attempt.seq,
        prev_seq=attempt.prev_seq,
        delivery_id=attempt.delivery_id,
        attempt_id=attempt.attempt_id,
        message_id=message.message_id,
        body=message.body if kind == "msg" else b"",
    )


class LongconnProvider:
    """Puts frames on the bus of the node that holds each device. Handed over means no more than that.

    Failure policy: a bus that fails leaves its attempts unknown; a frame that went out twice shows once, by message id.
    """

    def __init__(
        self,
        bus: NodeBus,
        limits: Limits = Limits(batch=500, payload_bytes=65_536, concurrent=500, deadline_ms=5_000),  # noqa: B008
    ) -> None:
        self.limits = limits
        self._bus = bus

    async def send(self, attempts: Sequence[Attempt], now: Millis) -> list[Outcome]:
        """See :class:`~providers.base.Provider`."""
        outcomes: list[Outcome] = []
        frames: dict[str, list[BusFrame]] = {}
        for attempt in attempts:
            if attempt.node is None or attempt.device_id is None:
                outcomes.append(NotConnected())
                continue
            frames.setdefault(attempt.node, []).append(frame_of(attempt, "recall" if attempt.clear else "msg"))
            outcomes.append(HandedOver(attempt.session))
        if frames:
            try:
                await self._bus.send(frames)
            except Exception:  # noqa: BLE001 - any store behind the port, with errors of its own
                return [Unknown("bus") if isinstance(outcome, HandedOver) else outcome for outcome in outcomes]
        return outcomes

    async def close(self) -> None:
        """Nothing of its own: the bus belongs to the process."""
