"""Limits beside the SMS guard's own: what is left of a budget, and how many pushes a device may get."""

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.ports.messages import LedgerUnavailable
from dispatcher.ports.sms_guard import SmsGuard

#: How old ``budget.sms_left`` may be. The guard that reserves looks at the ledger itself.
SPENT_LIFE: Millis = SECOND


class BudgetReader:
    """Segments spent by app and window, asked of the ledger once a second at most."""

    def __init__(self, guard: SmsGuard) -> None:
        self._guard = guard
        self._known: dict[tuple[str, Millis], tuple[Millis, int | None]] = {}

    async def spent(self, app: str, window_ms: Millis, now: Millis) -> int | None:
        """Reserved and sent in the rolling window; None while the ledger is away."""
        known = self._known.get((app, window_ms))
        if known is not None and now < known[0]:
            return known[1]
        try:
            count: int | None = await self._guard.spent(app, window_ms=window_ms, now=now)
        except LedgerUnavailable:
            count = None
        self._known[app, window_ms] = (now + SPENT_LIFE, count)
        return count
