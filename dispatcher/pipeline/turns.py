"""What a track does next: the engine's turn, turned into a cursor and a wave. Pure."""

from collections.abc import Callable, Sequence
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from dispatcher.domain.clock import SECOND, Millis, round_up_due
from dispatcher.domain.delivery import TRANSITIONS, Cursor, Event, Proof, move
from dispatcher.domain.device import Profile
from dispatcher.domain.message import Lane
from dispatcher.domain.paths import Path
from dispatcher.domain.plan import position_of, rung_of, step_byte
from dispatcher.domain.receipt import EVENTS
from dispatcher.pipeline.quiet_hours import quiet_until
from dispatcher.ports.homes import Queue
from strategies.availability import own_path
from strategies.engine import next_step
from strategies.facts import Row
from strategies.ladder import Ladder, Reason, Skip, unpack_ladder

#: How long what waits for a shut path is left alone.
LOOK_AGAIN: Millis = 5 * SECOND


class Decision(Struct, frozen=True, kw_only=True, gc=False):
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


@lru_cache(maxsize=4096)
def asks_history(packed: bytes) -> bool:
    """Whether a step's `if` looks at what was learned; plans took it into their waits already."""
    conditions = (step.condition or "" for step in ladder_of(packed).steps)
    return any("ack_rate" in condition or "p95_s" in condition for condition in conditions)


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
        shut = next((skip for skip in turn.skipped if skip.reason is Reason.CIRCUIT_OPEN), None)
        if shut is not None and (before.phase, Event.HELD) in TRANSITIONS:
            return _wait_for(shut, ladder, before, turn.skipped, lane=lane, expires_at=expires_at, now=now, event=event)
        return Decision(
            after=Cursor(before.step, before.attempt, move(before.phase, Event.RAN_OUT)), skipped=turn.skipped
        )
    step = ladder.steps[turn.index]
    until = EVENTS[step.until]
    if not turn.paths:
        position = _position(step.paths, turn.held[0], row)
        cursor = Cursor(step_byte(turn.index, position), 0, move(before.phase, Event.HELD))
        held = _held(cursor, until, profile, lane=lane, default_zone=default_zone, expires_at=expires_at, now=now)
        return replace(held, skipped=turn.skipped, path=_as_path(turn.held[0]))
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


def _wait_for(
    shut: Skip,
    ladder: Ladder,
    before: Cursor,
    skipped: Sequence[Skip],
    *,
    lane: Lane,
    expires_at: Millis,
    now: Millis,
    event: Event,
) -> Decision:
    """Nothing is left but a path that is paused or whose circuit is open: it is asked again in a while. It costs time,
    not a message. What was noted when the wait began is not noted with every look."""
    again = event is Event.RELEASED
    return Decision(
        after=Cursor(step_byte(shut.step, 0), 0, move(before.phase, Event.HELD)),
        until=EVENTS[ladder.steps[shut.step].until],
        queue=Queue("sweep", lane),
        due=min(now + LOOK_AGAIN, expires_at),
        skipped=() if again else skipped,
        reason=None if again else shut.reason.value,
    )


def after_handover(
    ladder: Ladder,
    before: Cursor,
    row: Callable[[], Row],
    profile: Profile,
    *,
    lane: Lane,
    default_zone: str,
    expires_at: Millis,
    now: Millis,
) -> Decision:
    """The attempt left: on to the rung's next path at once, or wait for proof."""
    if position_of(before.step) + 1 < len(ladder.steps[rung_of(before.step)].paths):
        rest = rest_of_rung(
            ladder, before, row(), profile, lane=lane, default_zone=default_zone, expires_at=expires_at, now=now
        )
        if rest is not None:
            return rest
    return wait(ladder, before, lane=lane, expires_at=expires_at, now=now)


def rest_of_rung(
    ladder: Ladder,
    before: Cursor,
    row: Row,
    profile: Profile,
    *,
    lane: Lane,
    default_zone: str,
    expires_at: Millis,
    now: Millis,
    after: int | None = None,
    event: Event = Event.FAILED,
) -> Decision | None:
    """The rung's next path (behind position *after*, left out: where the track stands) that can be taken now.

    None where there is none. A path that quiet hours hold puts the track off until they end; what went before it on
    the rung went.
    """
    rung = rung_of(before.step)
    step = ladder.steps[rung]
    turn = next_step(ladder, rung - 1, row)
    if turn.index != rung:
        return None
    until = EVENTS[step.until]
    first = (position_of(before.step) if after is None else after) + 1
    for position in range(first, len(step.paths)):
        own = own_path(step.paths[position], row)
        if own in turn.held:
            cursor = Cursor(step_byte(rung, position), 0, move(before.phase, Event.HELD))
            held = _held(cursor, until, profile, lane=lane, default_zone=default_zone, expires_at=expires_at, now=now)
            return replace(held, path=_as_path(own))
        if own in turn.paths and own == Path.SMS:
            cursor = Cursor(step_byte(rung, position), 0, move(before.phase, Event.ARRIVED_AT_SMS))
            return Decision(after=cursor, until=until, queue=Queue("sweep", lane), due=expires_at, path=Path.SMS)
        if own in turn.paths:
            cursor = Cursor(step_byte(rung, position), 0, move(before.phase, event))
            return Decision(after=cursor, until=until, queue=Queue(own, lane), due=now, path=Path(own))
    return None


def _held(
    cursor: Cursor,
    until: Proof,
    profile: Profile,
    *,
    lane: Lane,
    default_zone: str,
    expires_at: Millis,
    now: Millis,
) -> Decision:
    end = quiet_until(profile, default_zone, now)
    return Decision(
        after=cursor,
        until=until,
        queue=Queue("sweep", lane),
        due=min(end if end is not None else now, expires_at),
        reason="quiet_hours",
    )


def _as_path(own: str) -> Path | None:
    return None if own == "push" else Path(own)


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


def put_off(
    ladder: Ladder,
    before: Cursor,
    path: Path,
    until: Millis,
    *,
    since: Millis,
    lane: Lane,
    expires_at: Millis,
    now: Millis,
    spread: int = 0,
) -> Decision | None:
    """The same attempt, not before *until*; None where that is outside the step's wait or the ttl.

    *since*: when what puts it off began; a path that was closed for a whole wait is waited for no longer. *spread*:
    of a long brake's crowd, which part of it starts a moment later.
    """
    step = ladder.steps[rung_of(before.step)]
    room = expires_at - now if step.wait_ms is None else min(step.wait_ms, expires_at - now)
    if until - now >= room or (step.wait_ms is not None and now - since >= step.wait_ms):
        return None
    return Decision(
        after=Cursor(before.step, before.attempt, move(before.phase, Event.RETRY)),
        until=EVENTS[step.until],
        queue=Queue(path, lane),
        due=until + _jitter(until - now, spread),
        path=path,
    )


def retry(
    ladder: Ladder,
    before: Cursor,
    path: Path,
    after_ms: Millis | None,
    *,
    lane: Lane,
    expires_at: Millis,
    now: Millis,
    spread: int = 0,
) -> Decision | None:
    """Another attempt of the same step with backoff inside its wait; None where it does not fit. *spread*: jitter,
    never before *after_ms*."""
    step = ladder.steps[rung_of(before.step)]
    backoff = max(after_ms or 0, 500 << min(before.attempt, 8))
    backoff += _jitter(backoff, spread)
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


def _jitter(length: Millis, spread: int) -> Millis:
    """Up to a quarter of *length*, in eight parts of at most 250 ms, so that waves still merge."""
    return spread % 8 * min(length // 32, 250)


def _position(paths: Sequence[str], path: str, row: Row) -> int:
    for index, written in enumerate(paths):
        if own_path(written, row) == path:
            return index
    return 0
