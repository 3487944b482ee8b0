"""What a provider answered at once. Expected results are values; exceptions are for surprises."""

from dataclasses import dataclass

from dispatcher.domain.clock import Millis


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The provider took it. Never proof of delivery. *reference*: the provider's own id, if it gave one."""

    reference: str | None = None


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Worth another try of the same step. *after_ms*: the provider's own wish (Retry-After)."""

    reason: str
    after_ms: int | None = None
    brake: bool = False  #: the wish binds every worker on this path, not this attempt alone
    device: bool = False  #: the wish binds all that goes to this device, nobody else


@dataclass(frozen=True, slots=True)
class TokenDead:
    """The provider's verdict on this token in this environment. *since*: dead since then, if it said so."""

    reason: str
    since: Millis | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Failed for good; the token lives. *configuration*: our credentials are at fault, the circuit opens.

    *suppress*: the number itself is at fault (opted out, no mobile); no SMS goes there again until lifted.
    """

    reason: str
    configuration: bool = False
    suppress: bool = False


@dataclass(frozen=True, slots=True)
class NotConnected:
    """The device holds no line."""

    reason: str = "not_connected"


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may or may not have been taken. Resent only with the same ids; an SMS is looked up first."""

    reason: str


Outcome = HandedOver | RetryLater | TokenDead | Rejected | NotConnected | Unknown
