"""Whether a path's receipts come as they usually do: a provider can say yes to everything and deliver nothing.

What is counted are attempts whose wait is over: proven (with the time it took) or in vain. A path is compared with its
own longer past only; how good that is does not matter. A provider that mostly gives no answer at all (stalled, away) is
unwell whatever was usual. Everything here is a value and a pure function.
"""

from collections.abc import Iterable, Mapping
from math import sqrt

from msgspec import Struct

from dispatcher.domain.clock import HOUR, MINUTE, Millis
from dispatcher.domain.histogram import quantile_s

USUAL_HALF_LIFE: Millis = 6 * HOUR
RECENT_HALF_LIFE: Millis = MINUTE
#: So many (decayed) attempts before there is a usual, and before lately can be judged against it.
ENOUGH_USUAL, ENOUGH_RECENT = 100.0, 20.0
#: A path that is hardly ever proven tells nothing by silence.
LEAST_RATE = 0.1
#: Below this share of the usual receipts, and by more than three standard deviations, they are thin.
THIN = 0.5
#: Above so many times the usual time (95th percentile), and by a second, they are slow.
SLOW, SLOW_BY_S = 3.0, 1.0
#: Well again: so many probes with this share of the usual receipts, and at most so many times the usual time.
PROBES, WELL_SHARE, WELL_TIMES = 5.0, 0.75, 2.0
#: Probes that say no are forgotten after so many, so that later ones are heard.
PROBES_HEARD = 20.0
#: Where too few probes go by, all traffic is tried again after so long.
SECOND_CHANCE: Millis = HOUR

#: Above this share of requests without an answer a provider is as good as away.
UNANSWERED = 0.5

THIN_RECEIPTS, SLOW_RECEIPTS, NO_ANSWERS = "receipts_thin", "receipts_slow", "no_answers"


class Tally(Struct, frozen=True):
    """Attempts that ended within one slot of time. *proven*: by bucket of ``dispatcher.domain.histogram``."""

    vain: int = 0
    proven: Mapping[int, int] = {}
    answered: int = 0  #: requests the provider answered, whatever it said
    unanswered: int = 0


class Counts(Struct, frozen=True, array_like=True):
    """Tallies summed up, each the lighter the older it is."""

    at: Millis = 0
    vain: float = 0.0
    proven: Mapping[int, float] = {}
    answered: float = 0.0
    unanswered: float = 0.0

    @property
    def silence(self) -> float:
        """The share of requests without an answer; 0 without any request."""
        return self.unanswered / (self.answered + self.unanswered) if self.unanswered else 0.0

    @property
    def receipts(self) -> float:
        """Proven attempts."""
        return sum(self.proven.values())

    @property
    def attempts(self) -> float:
        """Attempts whose wait is over."""
        return self.vain + self.receipts

    @property
    def rate(self) -> float:
        """Receipts over attempts; 0 without any."""
        return self.receipts / self.attempts if self.attempts else 0.0

    @property
    def p95_s(self) -> float | None:
        """Seconds within which 95 % of the receipts came."""
        return quantile_s({bucket: round(count * 1_000) for bucket, count in self.proven.items()}, 0.95)


class Watch(Struct, frozen=True, array_like=True, kw_only=True):
    """One path of one app. *slot*: the last one that was taken in; *reason* and *since*: of what is wrong."""

    slot: int = 0
    usual: Counts = Counts()
    recent: Counts = Counts()
    reason: str | None = None
    since: Millis = 0


def taken(counts: Counts, tally: Tally, now: Millis, half_life: Millis | None) -> Counts:
    """With one more tally; *half_life* None: nothing is forgotten."""
    keep = 1.0 if half_life is None or not counts.at else 0.5 ** (max(now - counts.at, 0) / half_life)
    proven = {bucket: count * keep for bucket, count in counts.proven.items() if count * keep > 1e-3}
    for bucket, count in tally.proven.items():
        proven[bucket] = proven.get(bucket, 0.0) + count
    return Counts(
        now,
        counts.vain * keep + tally.vain,
        proven,
        counts.answered * keep + tally.answered,
        counts.unanswered * keep + tally.unanswered,
    )


def watched(watch: Watch, slots: Iterable[tuple[int, Tally]], width: Millis) -> Watch:
    """After the tallies of later slots, each *width* long, in order of time."""
    for slot, tally in slots:
        if slot > watch.slot:
            watch = _after(watch, slot, tally, (slot + 1) * width)
    return watch


def _after(watch: Watch, slot: int, tally: Tally, now: Millis) -> Watch:
    if watch.reason is not None:
        return _probing(watch, slot, tally, now)
    recent = taken(watch.recent, tally, now, RECENT_HALF_LIFE)
    reason = fault(recent, watch.usual)
    if reason is not None:
        return Watch(slot=slot, usual=watch.usual, recent=Counts(now), reason=reason, since=now)
    return Watch(slot=slot, usual=taken(watch.usual, tally, now, USUAL_HALF_LIFE), recent=recent)


def _probing(watch: Watch, slot: int, tally: Tally, now: Millis) -> Watch:
    recent = taken(watch.recent, tally, now, None)
    usual = taken(watch.usual, tally, now, USUAL_HALF_LIFE)  # slowly, what lasts becomes the usual
    if is_well(recent, watch) or (recent.attempts < PROBES and now - watch.since >= SECOND_CHANCE):
        return Watch(slot=slot, usual=usual)
    if max(recent.attempts, recent.answered + recent.unanswered) >= PROBES_HEARD:
        recent = Counts(now)
    return Watch(slot=slot, usual=usual, recent=recent, reason=watch.reason, since=watch.since)


def fault(recent: Counts, usual: Counts) -> str | None:
    """What is wrong with the receipts lately; None where nothing is, or too little is known."""
    if recent.unanswered >= ENOUGH_RECENT and recent.silence > UNANSWERED:
        return NO_ANSWERS
    if usual.attempts < ENOUGH_USUAL or usual.rate < LEAST_RATE:
        return None
    attempts, rate = recent.attempts, usual.rate
    expected = attempts * rate
    chance = 3 * sqrt(attempts * rate * (1 - rate))
    if attempts >= ENOUGH_RECENT and recent.receipts < THIN * expected and expected - recent.receipts > chance:
        return THIN_RECEIPTS
    before, lately = usual.p95_s, recent.p95_s
    if recent.receipts < ENOUGH_RECENT or before is None or lately is None:
        return None
    return SLOW_RECEIPTS if lately > max(before * SLOW, before + SLOW_BY_S) else None


def is_well(probes: Counts, watch: Watch) -> bool:
    """Whether enough probes were answered, and came back as they usually do."""
    if watch.reason == NO_ANSWERS:
        return probes.answered >= PROBES and probes.silence < UNANSWERED / 2
    usual = watch.usual
    if probes.attempts < PROBES or probes.rate < WELL_SHARE * usual.rate:
        return False
    before, lately = usual.p95_s, probes.p95_s
    return before is None or lately is None or lately <= max(before * WELL_TIMES, before + SLOW_BY_S)
