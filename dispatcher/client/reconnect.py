"""When to come back after a line ended: pure, so that every case can be read in a table."""

from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.protocol.close_codes import Advice, advice_for
from dispatcher.protocol.frames import Bye

FIRST_S = 1.0
MOST_S = 120.0
#: A line that lived this long was a good one: the next failure counts as the first.
HELD_S = 30.0
#: After so many failures in a row the phone polls for a while: a gateway that restarts is back soon, a network that
#: cuts every line stays so.
POLL_AFTER = 3
POLL_FIRST_S = 10.0
POLL_MOST_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """What to do now. ``stop``: for good."""

    after_s: float
    new_token: bool = False
    poll_s: float = 0.0  #: poll for so long meanwhile, at least `after_s`; the line does not hold. 0: do not poll
    stop: bool = False


def doubled(first_s: float, times: int, most_s: float) -> float:
    """*first_s* doubled so many *times*, at most *most_s*; a phone may fail for weeks, so the power is bounded."""
    return min(most_s, first_s * 2.0 ** min(times, 32))


class Reconnect:
    """Counts failures. *dice* gives 0 to 1."""

    __slots__ = ("_dice", "failures")

    def __init__(self, dice: Callable[[], float]) -> None:
        self._dice = dice
        self.failures = 0

    def after(self, code: int, bye: Bye | None, *, held_s: float) -> Next:
        """After a line that was welcomed *held_s* seconds ago (0: never) ended with *code*."""
        advice = advice_for(code)
        if advice is Advice.STOP:
            return Next(after_s=0.0, stop=True)
        if held_s >= HELD_S or (bye is not None and advice is Advice.RECONNECT and held_s > 0):
            self.failures = 0
        wish = bye.retry_after_s if bye is not None else None
        if wish is not None:
            self.failures += advice is Advice.RETRY_LATER
            return self._next(wish + self._dice(), advice)
        self.failures += 1
        longest = doubled(FIRST_S, self.failures - 1, MOST_S)
        if advice is Advice.RETRY_LATER:
            longest = min(MOST_S, longest * 4)
        if advice is Advice.NEW_TOKEN and self.failures == 1:
            longest = 0.0
        return self._next(longest * (0.25 + 0.75 * self._dice()), advice)

    def refused(self, retry_after_s: float | None) -> Next:
        """After a connection that did not even begin."""
        self.failures += 1
        longest = doubled(FIRST_S, self.failures - 1, MOST_S)
        pause = longest * (0.25 + 0.75 * self._dice())
        return self._next(max(pause, retry_after_s or 0.0), Advice.RECONNECT)

    def _next(self, after_s: float, advice: Advice) -> Next:
        again = self.failures - POLL_AFTER
        # a quarter more or less: a fleet that lost its gateway together must not come back together
        spread = 0.75 + 0.5 * self._dice()
        poll_s = max(after_s, doubled(POLL_FIRST_S, again, POLL_MOST_S) * spread) if again >= 0 else 0.0
        return Next(after_s=after_s, new_token=advice is Advice.NEW_TOKEN, poll_s=poll_s)
