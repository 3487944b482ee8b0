"""Figures in the shape of ``GET /v1/stats``: which tier answers, and counts put into rows."""

from collections import Counter
from collections.abc import Sequence

from dispatcher.api.schemas.looking import Funnel, StatsRow, proof_time
from dispatcher.domain.clock import DAY, Millis, rfc3339
from dispatcher.domain.delivery import End
from dispatcher.errors import Problem
from dispatcher.ports.operations import OUTCOMES, SMS_STATES, By, Figure, Measure, Reached, Tier

STEPS = {"1m": Tier.MINUTES, "1h": Tier.HOURS, "1d": Tier.DAYS}
#: How many buckets an answer may have, and how many are added up without being asked for.
MOST_BUCKETS = 200
#: How far back each tier reaches.
REACH = {Tier.MINUTES: 3 * DAY, Tier.HOURS: 100 * DAY, Tier.DAYS: 800 * DAY}
_Key = tuple[Millis, str, str, str, str, int]


def tier_for(since: Millis, until: Millis, step: str | None, by: Sequence[By], now: Millis) -> Tier:
    """The step that was asked for, else the finest that keeps the answer small. Problem 422 where it cannot be."""
    span = until - since
    if step is not None:
        tier = STEPS[step]
        if since < now - REACH[tier] - tier.step:
            raise Problem.invalid("step", f"so far back there are no buckets of {step}")
        if By.TIME in by and span // tier.step > MOST_BUCKETS:
            raise Problem.invalid("step", f"more than {MOST_BUCKETS} buckets: take a wider step or a shorter time")
        return tier
    for tier in (Tier.MINUTES, Tier.HOURS):
        if span // tier.step <= MOST_BUCKETS and since >= now - REACH[tier]:
            return tier
    return Tier.DAYS


def whole_buckets(since: Millis, until: Millis, tier: Tier) -> tuple[Millis, Millis]:
    """The whole buckets that hold [since, until)."""
    return since - since % tier.step, -(-until // tier.step) * tier.step


def read_by(text: str) -> list[By]:
    """``class,path`` as values; Problem 422 for what nothing can be told apart by."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [name for name in names if name not in set(By)]
    if unknown:
        raise Problem.invalid("by", f"unknown {unknown[0]!r}; write some of {', '.join(By)}")
    return [By(name) for name in dict.fromkeys(names)]


def rows_of(figures: Sequence[Figure], by: Sequence[By]) -> list[StatsRow]:
    """One row a group, in the order of time, then of names. *figures* are told apart by path besides *by*."""
    told = set(by)
    groups: dict[_Key, list[Figure]] = {}
    for figure in figures:
        if figure.measure is not Measure.ACCEPTED or _knows_acceptance(told):
            path = figure.path if By.PATH in told else None
            key = (figure.at, figure.klass, path or "", figure.platform, figure.strategy, figure.version)
            groups.setdefault(key, []).append(figure)
    return [row_of(groups[key], told) for key in sorted(groups)]


def _knows_acceptance(told: set[By]) -> bool:
    """An acceptance has a class and a time; path, platform and strategy are found later."""
    return told <= {By.CLASS, By.TIME}


def row_of(figures: Sequence[Figure], told: set[By]) -> StatsRow:
    """The figures of one group as a row."""
    ends: Counter[str] = Counter()
    reached: Counter[Reached] = Counter()
    proofs: Counter[int] = Counter()
    confirmed: Counter[str] = Counter()
    segments: Counter[str] = Counter()
    outcomes: dict[str, Counter[str]] = {}
    accepted = 0
    for figure in figures:
        path = figure.path.value if figure.path is not None else "none"
        match figure.measure:
            case Measure.ACCEPTED:
                accepted += figure.count
            case Measure.ENDED:
                ends[End(figure.name).name.lower()] += figure.count
                reached[figure.reached] += figure.count
            case Measure.PROOF:
                proofs[figure.name] += figure.count
                confirmed[path] += figure.count
            case Measure.SMS_SEGMENTS:
                segments[_word(SMS_STATES, figure.name)] += figure.count
            case Measure.OUTCOME:
                outcomes.setdefault(path, Counter())[_word(OUTCOMES, figure.name)] += figure.count
    known = _knows_acceptance(told)
    first = figures[0] if figures else None
    settled = ends.total()
    return StatsRow(
        class_=(first.klass or None) if first and By.CLASS in told else None,
        path=(first.path.value if first.path else "none") if first and By.PATH in told else None,
        platform=first.platform if first and By.PLATFORM in told else None,
        strategy=first.strategy if first and By.STRATEGY in told else None,
        version=first.version if first and By.STRATEGY in told else None,
        at=rfc3339(first.at) if first and By.TIME in told else None,
        accepted=accepted if known else None,
        settled=settled,
        open=accepted - settled if known else None,
        funnel=_funnel(accepted if known else None, reached),
        ends=dict(ends),
        confirmed=dict(confirmed),
        time_to_proof=proof_time(proofs),
        sms_segments=dict(segments),
        outcomes={path: dict(found) for path, found in outcomes.items()},
    )


def _funnel(accepted: int | None, reached: Counter[Reached]) -> Funnel:
    def at_least(stage: Reached) -> int:
        return sum(count for one, count in reached.items() if one >= stage)

    return Funnel(
        accepted=accepted,
        attempted=at_least(Reached.ATTEMPTED),
        delivered=at_least(Reached.DELIVERED),
        opened=at_least(Reached.OPENED),
    )


def _word(words: Sequence[str], number: int) -> str:
    return words[number - 1] if 0 < number <= len(words) else "other"
