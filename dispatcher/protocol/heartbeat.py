"""How often a phone has to speak so that no NAT on the way forgets its line: WeChat's practice.

4.5 minutes in the foreground. In the background the interval grows by a minute a step while it works; after the first
failure it stays 10 s below the last good value; after five failures in a row it starts over. What was learned is kept
per network, because it is the network's property.
"""

from msgspec import Struct

BASE_S = 270
STEP_S = 60
BELOW_S = 10
MOST_S = 1_500
FAILURES = 5


class Learned(Struct):
    """What is known of one network. ``good_s``: the longest interval that worked."""

    good_s: int = 0
    trying_s: int = BASE_S
    settled: bool = False
    failures: int = 0  #: in a row


class Heartbeat:
    """Intervals by network. ``learned`` may be stored and handed in again."""

    __slots__ = ("learned",)

    def __init__(self, learned: dict[str, Learned] | None = None) -> None:
        self.learned = learned if learned is not None else {}

    def interval_s(self, network: str, *, foreground: bool) -> int:
        """How long the line may stay silent now."""
        known = self.learned.get(network)
        if foreground or known is None:
            return BASE_S
        return max(BASE_S, known.good_s - BELOW_S) if known.settled else known.trying_s

    def succeeded(self, network: str, interval_s: int) -> None:
        """The line lived through *interval_s* of silence."""
        known = self.learned.setdefault(network, Learned())
        known.failures = 0
        known.good_s = max(known.good_s, interval_s)
        if not known.settled and interval_s >= known.trying_s:
            known.trying_s = min(interval_s + STEP_S, MOST_S)
            known.settled = interval_s >= MOST_S

    def failed(self, network: str, interval_s: int) -> None:
        """The line was dead after *interval_s* of silence."""
        known = self.learned.setdefault(network, Learned())
        known.failures += 1
        if known.failures >= FAILURES:
            self.learned[network] = Learned()
        elif not known.settled and interval_s > BASE_S:
            known.settled = True
