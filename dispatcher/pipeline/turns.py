"""What a track does next: the engine's turn, turned into a cursor and a wave. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from dispatcher.domain.clock import Millis, from_datetime, round_up_due, to_datetime
from dispatcher.domain.delivery import Cursor, Event, Phase, Proof, move
from dispatcher.domain.device import Profile
from dispatcher.domain.message import Lane
from dispatcher.domain.paths import Path
from dispatcher.domain.plan import position_of, rung_of, step_byte
from dispatcher.domain.receipt import EVENTS
from dispatcher.pipeline.facts import in_quiet_hours, zone_of
from dispatcher.ports.homes import Queue
from strategies.availability import own_path
from strategies.engine import next_step
from strategies.facts import Row
from strategies.ladder import Ladder, Skip, unpack_ladder


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Where a track goes: the cursor to write, and the queue and moment at which it is looked at again."""

    after: Cursor
    until: Proof = Proof.DELIVERED
    queue: Queue | None = None  #: None: done, nothing is due any more
    due: Millis = 0
    path: Path | None = None
    skipped: Sequence[Skip] = ()
    reason: str | None = None


@lru_cache(maxsize=4096)
def ladder_of(packed: bytes) -> Ladder:
    """A packed ladder, read once."""
    return unpack_ladder(packed)


def path_at(ladder: Ladder, step: int, row: Row) -> Path | None:
    """The path that a cursor's step stands for; None where ``push`` has nothing to stand for."""
    own = own_path(ladder.steps[rung_of(step)].paths[position_of(step)], row)
    return None if own == "push" else Path(own)


def next_turn(
    ladder: Ladder,
    before: Cursor,
    after_rung: int,
    row: Row,
    profile: Profile,
    *,
    lane: Lane,
    default_zone: str,
    expires_at: Millis,
    now: Millis,
    event: Event,
) -> Decision:
    """The first rung behind *after_rung* that can be taken now. *event*: why the track moves at all."""
    turn = next_step(ladder, after_rung, row)
    if turn.index is None:
        return Decision(
            after=Cursor(before.step, before.attempt, move(before.phase, Event.RAN_OUT)), skipped=turn.skipped
        )
    step = ladder.steps[turn.index]
    until = EVENTS[step.until]
    if not turn.paths:
        held = quiet_hours_end(profile, default_zone, now)
        cursor = Cursor(step_byte(turn.index, 0), 0, move(before.phase, Event.HELD))
        return Decision(
            after=cursor,
            until=until,
            queue=Queue("sweep", lane),
            due=min(held, expires_at),
            skipped=turn.skipped,
            reason="quiet_hours",
        )
    position = _position(step.paths, turn.paths[0], row)
    if turn.paths[0] == Path.SMS:
        after = Cursor(step_byte(turn.index, position), 0, move(before.phase, Event.ARRIVED_AT_SMS))
        parked = Queue("sweep", lane)  # only its ttl is due by itself; the last track to arrive makes the SMS due
        return Decision(after=after, until=until, queue=parked, due=expires_at, skipped=turn.skipped, path=Path.SMS)
    path = Path(turn.paths[0])
    return Decision(
        after=Cursor(step_byte(turn.index, position), 0, move(before.phase, event)),
        until=until,
        queue=Queue(path, lane),
        due=now,
        path=path,
        skipped=turn.skipped,
    )


def after_handover(
    ladder: Ladder, before: Cursor, row: Callable[[], Row], *, lane: Lane, expires_at: Millis, now: Millis
) -> Decision:
    """The attempt left: on to the rung's next path at once, or wait for proof."""
    rung, position = rung_of(before.step), position_of(before.step)
    step = ladder.steps[rung]
    until = EVENTS[step.until]
    if position + 1 < len(step.paths):
        own = own_path(step.paths[position + 1], row())
        if own != "push":
            after = Cursor(step_byte(rung, position + 1), 0, move(before.phase, Event.FAILED))
            return Decision(after=after, until=until, queue=Queue(own, lane), due=now, path=Path(own))
    return wait(ladder, before, lane=lane, expires_at=expires_at, now=now)


def wait(
    ladder: Ladder, before: Cursor, *, lane: Lane, expires_at: Millis, now: Millis, at_least: Millis = 0
) -> Decision:
    """Waiting for proof until the step's wait passed, at most until ttl."""
    step = ladder.steps[rung_of(before.step)]
    due = expires_at if step.wait_ms is None else round_up_due(now + max(step.wait_ms, at_least), now)
    return Decision(
        after=Cursor(before.step, before.attempt, move(before.phase, Event.HANDED_OVER)),
        until=EVENTS[step.until],
        queue=Queue("sweep", lane),
        due=min(due, expires_at),
    )


def retry(
    ladder: Ladder, before: Cursor, path: Path, after_ms: Millis | None, *, lane: Lane, expires_at: Millis, now: Millis
) -> Decision | None:
    """Another attempt of the same step with backoff inside its wait; None where it does not fit."""
    step = ladder.steps[rung_of(before.step)]
    backoff = max(after_ms or 0, 500 << min(before.attempt, 8))
    room = expires_at - now if step.wait_ms is None else min(step.wait_ms, expires_at - now)
    if before.attempt >= step.retries or backoff >= room:
        return None
    return Decision(
        after=Cursor(before.step, before.attempt + 1, move(before.phase, Event.RETRY)),
        until=EVENTS[step.until],
        queue=Queue(path, lane),
        due=now + backoff,
        path=path,
    )


def quiet_hours_end(profile: Profile, default_zone: str, now: Millis) -> Millis:
    """The first moment after *now* that is outside the user's quiet hours, right across DST changes.

    Looked for on the clock face, minute by minute of real time, so a skipped or repeated hour cannot mislead it.
    """
    zone = zone_of(profile, default_zone)
    moment = to_datetime(now - now % 60_000).astimezone(zone)
    ends = _clock_face(profile.quiet_to)
    if ends is None or not in_quiet_hours(profile, moment):
        return now
    candidate = moment.replace(hour=ends[0], minute=ends[1], fold=0)
    for days in (0, 1, 2):
        local = candidate + timedelta(days=days)
        at = from_datetime(local)
        if at > now:
            real = to_datetime(at).astimezone(zone)
            if not in_quiet_hours(profile, real):
                return at
            return _first_outside(profile, real)
    return now


def _first_outside(profile: Profile, local: datetime) -> Millis:
    zone = local.tzinfo
    at = from_datetime(local)
    for minute in range(1, 24 * 60):
        moment = at + minute * 60_000
        if not in_quiet_hours(profile, to_datetime(moment).astimezone(zone)):
            return moment
    return at


def _clock_face(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    hour, _, minute = text.partition(":")
    return int(hour), int(minute)


def _position(paths: Sequence[str], path: str, row: Row) -> int:
    for index, written in enumerate(paths):
        if own_path(written, row) == path:
            return index
    return 0


def skip_rows(skips: Sequence[Skip]) -> list[Mapping[str, object]]:
    """Skips as an explanation shows them."""
    return [{"step": skip.step, "path": skip.path, "reason": skip.reason.value} for skip in skips]


def is_over(cursor: Cursor) -> bool:
    return cursor.phase is Phase.DONE
