"""What every provider is: a small folder behind a two-member protocol.

Building a request and reading a reply are pure functions over bytes; the transport is handed in. A provider never
sleeps, never retries, never looks at state: it answers one :class:`~dispatcher.domain.outcome.Outcome` per attempt.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from msgspec import Struct

from dispatcher.domain.clock import Millis
from dispatcher.domain.device import PushToken
from dispatcher.domain.message import Message
from dispatcher.domain.outcome import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a provider takes at once."""

    batch: int  #: attempts a call
    payload_bytes: int
    concurrent: int  #: requests in flight per process
    deadline_ms: Millis  #: of one request; a claim's lease is twice this


class Attempt(Struct, frozen=True, kw_only=True, gc=False):
    """One try of one step, with all a provider needs and nothing else."""

    attempt_id: str
    delivery_id: str
    user_id: str
    message: Message
    expires_at: Millis
    device_id: str | None = None
    platform: str | None = None  #: the device's; None: not known, and fcm sends what every platform needs
    token: PushToken | None = None  #: apns, fcm
    phone: str | None = None  #: sms, E.164
    text: str | None = None  #: sms: what it says, already cut to its segments
    locale: str | None = None
    silent: bool = False
    priority: str | None = None  #: the step's, else the message's
    clear: bool = False  #: take the notification off the screen (recall)
    session: str | None = None  #: longconn: which line
    node: str | None = None
    epoch: int = 0
    seq: int = 0
    prev_seq: int = 0

    @property
    def shows_alert(self) -> bool:
        """Whether the user sees it: it has a notification, and neither quiet hours nor a recall hide it."""
        return self.message.notification is not None and not self.silent and not self.clear

    def __repr__(self) -> str:
        return f"Attempt({self.attempt_id})"


class Provider(Protocol):
    """One path's door to the world, for one app's credentials."""

    limits: Limits

    async def send(self, attempts: Sequence[Attempt], now: Millis) -> list[Outcome]:
        """Same length and order as *attempts*. Raises only on programming errors."""

    async def close(self) -> None:
        """Ends connections; in-flight requests were answered or count as unknown."""


@runtime_checkable
class LooksUp(Protocol):
    """A provider that can tell what became of a request whose answer was lost."""

    async def look_up(self, attempt: Attempt) -> Outcome | None:
        """HandedOver where the carrier has it, None where it knows nothing of it."""


#: Outcomes by the place of their attempt in the call.
Part = Sequence[tuple[int, Outcome]]


@runtime_checkable
class AnswersInParts(Protocol):
    """A provider whose many requests are answered one by one: a silent one need not hold up the others."""

    def send_in_parts(
        self, attempts: Sequence[Attempt], now: Millis, patience_s: float | None
    ) -> AsyncGenerator[Part, None]:
        """As :meth:`Provider.send`, but tells outcomes as they come: all of them as soon as the last is known, before
        that every *patience_s* those known so far, be it none. Together one for each attempt.

        None: all at once. Whoever closes it before its end gives up what has no answer: those may have been sent.
        """
