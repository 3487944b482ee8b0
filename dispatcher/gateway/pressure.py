"""What protects a node from too many at once: admission by rate and address, and the limit of open files.

Each limit's consequence is a clear refusal with a time to come back, before any state is made.
"""

from collections.abc import Callable

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.gateway.settings import GatewaySettings


class Pressure:
    """Counts over whole seconds. *dice* gives 0 to 1, to spread the times to come back."""

    __slots__ = ("_addresses", "_count", "_dice", "_per_address", "_per_second", "_second", "connections", "limit")

    def __init__(self, settings: GatewaySettings, dice: Callable[[], float]) -> None:
        self.limit = settings.connection_limit()
        self.connections = 0
        self._per_second = settings.connects_per_second
        self._per_address = settings.connects_per_address
        self._dice = dice
        self._second = 0
        self._count = 0
        self._addresses: dict[str, int] = {}

    @property
    def full(self) -> bool:
        """Whether further connections get a refusal."""
        return self.connections > self.limit

    @property
    def overfull(self) -> bool:
        """Whether there is not even room to refuse politely."""
        return self.connections > self.limit + 32

    def admit(self, address: str, now: Millis) -> int | None:
        """None where a new line is admitted now, else the status to refuse it with: 429 (address) or 503 (node)."""
        second = now // SECOND
        if second != self._second:
            self._second = second
            self._count = 0
            self._addresses.clear()
        if self.full or self._count >= self._per_second:
            return 503
        of_address = self._addresses.get(address, 0)
        if of_address >= self._per_address:
            return 429
        self._count += 1
        self._addresses[address] = of_address + 1
        return None

    def come_back_s(self, most: int = 15) -> int:
        """A time to come back, 1 to *most* seconds."""
        return 1 + int(self._dice() * (most - 0.001))
