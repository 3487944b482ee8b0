"""Master secrets and when each of them was in use, so that one can follow another without an end to anything.

What is written down once and compared later (ids of deliveries, which other stores hold too) keeps the key of its own
time; what is read once (device tokens, sealed values) is written with the key in use now and read with any.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from dispatcher.domain.clock import Millis


@dataclass(frozen=True, slots=True)
class MasterKey:
    """One master secret. *until*: when the next one takes over; None with an earlier one: nobody wrote it down."""

    secret: bytes = field(repr=False)
    until: Millis | None = None


class Keyring:
    """Master secrets, newest first. Never prints them."""

    __slots__ = ("_untils", "secrets")

    def __init__(self, keys: Sequence[MasterKey]) -> None:
        if not keys:
            raise ValueError("a keyring needs at least one master secret")
        self.secrets = tuple(key.secret for key in keys)
        self._untils = tuple(key.until for key in keys)

    def __repr__(self) -> str:
        return f"Keyring(of {len(self.secrets)})"

    def in_use(self, now: Millis) -> int:
        """Which key writes now: an earlier one until its time is over, so that processes restarted one by one agree."""
        for index in range(len(self.secrets) - 1, 0, -1):
            until = self._untils[index]
            if until is not None and now < until:
                return index
        return 0

    def of_time(self, created: Millis) -> int:
        """Which key marks what was made then, for as long as it lives. Without a time the oldest key marks everything:
        then nothing made before changes its id, until that key is dropped."""
        for index in range(len(self.secrets) - 1, 0, -1):
            until = self._untils[index]
            if until is None or created < until:
                return index
        return 0

    def until(self, index: int) -> Millis | None:
        """When that key's time is over; None: never, or nobody wrote it down."""
        return self._untils[index]


def keyring_of(key: "bytes | Keyring") -> Keyring:
    """A single secret as a keyring."""
    return Keyring([MasterKey(key)]) if isinstance(key, bytes) else key
