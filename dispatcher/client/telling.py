"""What a device client tells its subscribers, and when: one place for the order of events."""

from dispatcher.client.subscriptions import (
    Heartbeat,
    LineState,
    LoginState,
    MessageState,
    MessageWord,
    Subscriptions,
    Via,
)
from dispatcher.protocol.frames import Ack, Msg, Ping


class Teller:
    """Remembers as much as telling needs: who is logged in, which acks and which heartbeat are under way."""

    def __init__(self, user_id: str, device_id: str) -> None:
        self.subscriptions = Subscriptions()
        self._user_id, self._device_id = user_id, device_id
        self._logged_in = False
        self._unacknowledged: dict[str, str] = {}
        self._pinged: tuple[int, int] | None = None  #: when (ms), and the interval asked for (s)

    def line(self, before: str, state: str) -> None:
        self.subscriptions.tell(LineState(before=before, state=state))

    def logged_in(self) -> None:
        """The server took the device token; told once until it ends."""
        if not self._logged_in:
            self._logged_in = True
            self.subscriptions.tell(LoginState(state="logged_in", user_id=self._user_id, device_id=self._device_id))

    def expired(self) -> None:
        self._logged_in = False
        self.subscriptions.tell(LoginState(state="expired", user_id=self._user_id, device_id=self._device_id))

    def moved(self) -> None:
        self._logged_in = False
        self.subscriptions.tell(LoginState(state="moved", user_id=self._user_id, device_id=self._device_id))

    def message(self, message: Msg, state: MessageWord, via: Via) -> None:
        if state == "stored" and via == "longconn":
            self._unacknowledged[message.delivery_id] = message.message_id
        self._message(message.message_id, state, via, message.delivery_id)

    def recalled(self, message_id: str) -> None:
        self._message(message_id, "recalled", "longconn", None)

    def _message(self, message_id: str, state: MessageWord, via: Via, delivery_id: str | None) -> None:
        self.subscriptions.tell(MessageState(message_id=message_id, state=state, via=via, delivery_id=delivery_id))

    def sent(self, frame: object, beat_s: int, now: int) -> None:
        """A frame left on the line."""
        if isinstance(frame, Ack):
            for delivery_id in frame.ids:
                message_id = self._unacknowledged.pop(delivery_id, None)
                if message_id is not None:
                    self._message(message_id, "acknowledged", "longconn", delivery_id)
        elif isinstance(frame, Ping):
            self._pinged = (now, beat_s)

    def pong(self, now: int) -> None:
        """The heartbeat was answered."""
        if self._pinged is not None:
            (at, interval), self._pinged = self._pinged, None
            self.subscriptions.tell(Heartbeat(alive=True, interval_s=interval, round_trip_ms=now - at))

    def left(self) -> None:
        """The line is given up, perhaps because a heartbeat stayed without answer."""
        if self._pinged is not None:
            (_, interval), self._pinged = self._pinged, None
            self.subscriptions.tell(Heartbeat(alive=False, interval_s=interval))

    def ended(self) -> None:
        """The line is gone: what was under way on it comes again."""
        self._pinged = None
        self._unacknowledged.clear()
