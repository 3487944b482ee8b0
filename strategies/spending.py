"""What SMS limits would have let through: the guard's caps in rolling windows, over a simulation's own SMS.

Each strategy starts with nothing spent: what went before the recorded window is not known. Deliveries come in the
order in which they were accepted, their SMS a little out of it, so no window that holds a new SMS may be over its cap.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right

import msgspec

from strategies.document import SmsLimits
from strategies.limits import UNIT_MS, Rate

MAX_KEYS = 200_000
"""Users, numbers or conversations remembered at once; beyond it the oldest half is forgotten, and may spend anew."""
_BUCKETS = 256
"""A budget's window is counted in so many parts, so that its memory does not grow with what it lets through."""

_LATE_MS = 6 * UNIT_MS["h"]
"""So much later than another one's an SMS may come to be asked for before it, by a longer ladder."""

JOINED = "coalesced"


class Whom(msgspec.Struct, frozen=True, gc=False):
    """Whom an SMS is for. number: anything that tells numbers apart; where it is empty, a user counts as one number.

    prefix: the number's first digits; without them its cap is not asked.
    """

    user_id: str
    number: str = ""
    prefix: str = ""


class KeyedCap:
    """At most so many SMS for one user, number or prefix in any window."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._taken: dict[str, array[int]] = {}

    def has_room(self, key: str, at_ms: int) -> bool:
        """Whether one more fits then."""
        taken, count, window = self._taken.get(key), self._rate.count, self._rate.window_ms
        if taken is None or len(taken) < count:
            return True
        place = bisect_right(taken, at_ms)
        for first in range(max(place - count, 0), min(place, len(taken) - count) + 1):
            # the window of count + 1 that the new one would make, starting at `first`
            starts = at_ms if first == place else taken[first]
            ends = at_ms if first + count == place else taken[first + count - 1]
            if ends - starts < window:
                return False
        return True

    def take(self, key: str, at_ms: int) -> None:
        """Counts one."""
        taken = self._taken.get(key)
        if taken is None:
            if len(self._taken) >= MAX_KEYS:
                self._forget(at_ms)
            self._taken[key] = array("q", (at_ms,))
            return
        taken.insert(bisect_right(taken, at_ms), at_ms)
        old = bisect_right(taken, taken[-1] - _kept_ms(self._rate))
        if old > len(taken) // 2:
            del taken[:old]

    def _forget(self, at_ms: int) -> None:
        """What no window reaches any more; where that is too little, the older half."""
        since = at_ms - _kept_ms(self._rate)
        if sum(taken[-1] > since for taken in self._taken.values()) > MAX_KEYS // 2:
            since = sorted(taken[-1] for taken in self._taken.values())[MAX_KEYS // 2]
        self._taken = {key: taken for key, taken in self._taken.items() if taken[-1] > since}


class Budget:
    """At most so many segments in any window, which is counted in whole parts of it: never more, a trifle less."""

    def __init__(self, rate: Rate) -> None:
        self._most = rate.count
        self._part_ms = max(rate.window_ms // _BUCKETS, 1)
        self._span = -(-rate.window_ms // self._part_ms)  #: a window touches so many parts and one more
        self._kept = _kept_ms(rate) // self._part_ms
        self._parts: dict[int, int] = {}
        self._total = 0  #: of all parts that are kept
        self._latest = self._forget_at = 0

    def has_room(self, segments: int, at_ms: int) -> bool:
        """Whether so many more fit then."""
        if self._total + segments <= self._most:
            return True
        part, parts = at_ms // self._part_ms, self._parts
        last = min(part + self._span, max(self._latest, part))
        inside = sum(parts.get(one, 0) for one in range(part - self._span, part + 1))
        for one in range(part, last + 1):
            if one > part:
                inside += parts.get(one, 0) - parts.get(one - self._span - 1, 0)
            if inside + segments > self._most:
                return False
        return True

    def take(self, segments: int, at_ms: int) -> None:
        """Counts them."""
        part = at_ms // self._part_ms
        self._parts[part] = self._parts.get(part, 0) + segments
        self._total += segments
        self._latest = max(self._latest, part)
        if self._latest >= self._forget_at:
            self._parts = {one: count for one, count in self._parts.items() if one >= self._latest - self._kept}
            self._total = sum(self._parts.values())
            self._forget_at = self._latest + self._span // 4 + 1


class Spending:
    """One strategy's SMS in simulated time: what another's SMS stands for, what a limit holds, what goes."""

    def __init__(self, limits: SmsLimits | None) -> None:
        limits = limits or SmsLimits()
        self._coalesce_ms = limits.coalesce_ms or 0
        self._conversations: dict[str, int] = {}
        keyed = {"per_user": limits.per_user, "per_number": limits.per_number, "per_prefix": limits.per_prefix}
        self._caps = {name: KeyedCap(rate) for name, rate in keyed.items() if rate is not None}
        self._budget = Budget(limits.budget) if limits.budget is not None else None

    @property
    def limits(self) -> tuple[str, ...]:
        """The names of the caps that stand."""
        return (*self._caps, *(("budget",) if self._budget is not None else ()))

    def asks_numbers(self) -> bool:
        """Whether numbers matter to a limit."""
        return not self._caps.keys().isdisjoint(("per_number", "per_prefix"))

    def refusal(self, whom: Whom, conversation: str, segments: int, at_ms: int) -> str | None:
        """Why an SMS does not go: `coalesced`, or the limit's name; None: it goes, and counts. As the guard decides."""
        if self._coalesce_ms and conversation:
            last = self._conversations.get(conversation)
            if last is not None and abs(at_ms - last) < self._coalesce_ms:
                return JOINED
        keys = {"per_user": whom.user_id, "per_number": whom.number or whom.user_id, "per_prefix": whom.prefix}
        for name, cap in self._caps.items():
            if keys[name] and not cap.has_room(keys[name], at_ms):
                return name
        if self._budget is not None and not self._budget.has_room(segments, at_ms):
            return "budget"
        self._take(keys, conversation, segments, at_ms)
        return None

    def _take(self, keys: dict[str, str], conversation: str, segments: int, at_ms: int) -> None:
        for name, cap in self._caps.items():
            if keys[name]:
                cap.take(keys[name], at_ms)
        if self._budget is not None:
            self._budget.take(segments, at_ms)
        if self._coalesce_ms and conversation:
            if len(self._conversations) >= MAX_KEYS:
                oldest = sorted(self._conversations.values())[MAX_KEYS // 2]
                self._conversations = {name: when for name, when in self._conversations.items() if when > oldest}
            self._conversations[conversation] = at_ms


def _kept_ms(rate: Rate) -> int:
    return rate.window_ms + max(rate.window_ms, _LATE_MS)
