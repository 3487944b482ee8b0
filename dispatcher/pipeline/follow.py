"""What follows from a provider's answer: a move of the cursor, at once where the step failed for good."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TypedDict

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Event
from dispatcher.domain.device import VOIP
from dispatcher.domain.journal import SORTS, Entry, Kind
from dispatcher.domain.message import Lane
from dispatcher.domain.outcome import HandedOver, NotConnected, Outcome, RetryLater, TokenDead, Unknown
from dispatcher.domain.paths import Path
from dispatcher.domain.plan import position_of, rung_of
from dispatcher.pipeline.circuit import OUTCOME_NAMES
from dispatcher.pipeline.facts import NO_DEVICE
from dispatcher.pipeline.jobs import Job, grace_left
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.turns import (
    Decision,
    after_handover,
    next_turn,
    rest_of_rung,
    retry,
    wait,
)
from dispatcher.ports.provider import Attempt
from strategies.availability import own_path


def note_attempts(path: Path, results: Sequence[tuple[Job, Outcome]], started: Millis, now: Millis) -> None:
    """One journal entry a home for what was attempted and one for what was answered."""
    by_draft: dict[int, list[tuple[Job, Outcome]]] = defaultdict(list)
    for job, outcome in results:
        by_draft[id(job.draft)].append((job, outcome))
    for rows in by_draft.values():
        first = rows[0][0]
        members = [(job.place, job.track) for job, _ in rows]
        step, attempt = first.before.step, first.before.attempt
        sorts: dict[tuple[str, str, str, int], int] = {}
        which = [sorts.setdefault(job.sort, len(sorts)) for job, _ in rows]
        first.draft.note(Entry(kind=Kind.ATTEMPTED, at=started, members=members, path=path, step=step, attempt=attempt))
        first.draft.note(
            Entry(
                kind=Kind.OUTCOME,
                at=now,
                members=members,
                path=path,
                step=step,
                attempt=attempt,
                shared={SORTS: list(sorts)},
                columns={
                    "outcome": [OUTCOME_NAMES[type(outcome)] for _, outcome in rows],
                    "reason": [getattr(outcome, "reason", None) for _, outcome in rows],
                    **({SORTS: which} if len(sorts) > 1 else {}),
                },
            )
        )


async def follow(
    job: Job, path: Path, attempt: Attempt, outcome: Outcome, parts: Parts, started: Millis, now: Millis
) -> None:
    """Turns one outcome into a move. Permanent failures escalate at once."""
    parts.telemetry.attempted(path, OUTCOME_NAMES[type(outcome)], getattr(outcome, "reason", "") or "")
    lane, expires_at = job.contents.lane, job.message.expires_at
    reason = "failed"
    match outcome:
        case HandedOver():
            decision = after_handover(
                job.ladder,
                job.before,
                lambda: job.row,
                job.profile,
                lane=lane,
                default_zone=parts.rules.default_zone,
                expires_at=expires_at,
                now=now,
            )
            job.draft.move(job.place, job.track, job.before, decision, path=path, tried=True, attempted_at=started)
            return
        case RetryLater() | Unknown():
            after_ms = outcome.after_ms if isinstance(outcome, RetryLater) else None
            again = retry(
                job.ladder,
                job.before,
                path,
                after_ms,
                lane=lane,
                expires_at=expires_at,
                now=now,
                spread=job.place,
            )
            if again is not None:
                job.draft.move(job.place, job.track, job.before, again, path=path, tried=True, attempted_at=started)
                return
        case TokenDead(since=since, reason=why):
            reason = "token_dead"
            await _kill_token(job, path, attempt, why, since if since is not None else started, parts)
            again = _with_other_token(job, path, attempt, parts, now)
            if again is not None:
                job.draft.move(job.place, job.track, job.before, again, path=path, tried=True, attempted_at=started)
                return
        case NotConnected():
            reason = "not_connected"
            if _is_last(job) and (grace := grace_left(job, now)) > 0:
                decision = wait(job.ladder, job.before, lane=lane, expires_at=expires_at, now=now, at_least=grace)
                job.draft.move(job.place, job.track, job.before, decision)
                return
    await fail(job, path, parts, now, reason, started=None if isinstance(outcome, NotConnected) else started)


def _with_other_token(job: Job, path: Path, attempt: Attempt, parts: Parts, now: Millis) -> Decision | None:
    """The token that rings is dead: the phone may still have its usual one, and the step tries that."""
    if attempt.token is None or attempt.token.kind != VOIP or (job.device or NO_DEVICE).token(path) is None:
        return None
    lane, expires_at = job.contents.lane, job.message.expires_at
    return retry(job.ladder, job.before, path, None, lane=lane, expires_at=expires_at, now=now, spread=job.place)


async def fail(job: Job, path: Path, parts: Parts, now: Millis, reason: str, *, started: Millis | None = None) -> None:
    """This path failed for good: on to the next one of the same rung; else, where an earlier one of it went, the wait
    for that one's proof; else to the next rung. *started*: when the attempt was made, where one was."""
    position = position_of(job.before.step)
    if not _is_last(job):
        rest = rest_of_rung(job.ladder, job.before, job.row, job.profile, **circumstances(job, parts, now))
        if rest is not None:
            # without its path: what failed is not what the rung's wait may be waiting for
            job.draft.move(job.place, job.track, job.before, rest, tried=started is not None, attempted_at=started)
            job.draft.escalated(job.place, job.track, job.before, rest, reason)
            return
    if position > 0 and await _went_before(job, parts):
        decision = wait(job.ladder, job.before, lane=job.contents.lane, expires_at=job.message.expires_at, now=now)
        job.draft.move(job.place, job.track, job.before, decision)
        if reason != "cap_device":
            job.draft.skip(job.place, job.track, job.before.step, path, reason)
        return
    tried = started is not None
    escalate(job, parts, now, Event.FAILED, reason, path=path if tried else None, started=started)


def leave_to_newer(job: Job, path: Path, now: Millis) -> None:
    """No resend: a newer push of its collapse key stands for it, and its proof is waited for as if it had left."""
    lane, expires_at = job.contents.lane, job.message.expires_at
    job.draft.skip(job.place, job.track, job.before.step, path, "superseded")
    job.draft.move(
        job.place, job.track, job.before, wait(job.ladder, job.before, lane=lane, expires_at=expires_at, now=now)
    )


def _is_last(job: Job) -> bool:
    """Whether the rung has no further path."""
    return position_of(job.before.step) + 1 >= len(job.ladder.steps[rung_of(job.before.step)].paths)


async def _went_before(job: Job, parts: Parts) -> bool:
    """Whether an earlier path of the same rung left for its provider."""
    state = (await parts.homes.states(job.claim.members.home, [job.place])).get(job.place)
    if state is None or job.track >= len(state.tracks):
        return False
    paths = job.ladder.steps[rung_of(job.before.step)].paths[: position_of(job.before.step)]
    return state.tracks[job.track].path in {own_path(path, job.row) for path in paths}


class Circumstances(TypedDict):
    """What a turn is taken under, whatever the ladder says."""

    lane: Lane
    default_zone: str
    expires_at: Millis
    now: Millis


def circumstances(job: Job, parts: Parts, now: Millis) -> Circumstances:
    """Those of one job's next turn."""
    return Circumstances(
        lane=job.contents.lane,
        default_zone=parts.rules.default_zone,
        expires_at=job.message.expires_at,
        now=now,
    )


def escalate(
    job: Job,
    parts: Parts,
    now: Millis,
    event: Event,
    reason: str,
    *,
    path: Path | None = None,
    started: Millis | None = None,
) -> Decision:
    """On to the next usable step; *path* and *started* where an attempt was made."""
    rung = rung_of(job.before.step)
    around = circumstances(job, parts, now)
    decision = next_turn(job.ladder, job.before, rung, job.row, job.profile, event=event, **around)
    job.draft.move(job.place, job.track, job.before, decision, path=path, tried=path is not None, attempted_at=started)
    job.draft.escalated(job.place, job.track, job.before, decision, reason)
    return decision


async def _kill_token(job: Job, path: Path, attempt: Attempt, reason: str, since: Millis, parts: Parts) -> None:
    token = attempt.token
    if token is None or attempt.device_id is None:
        return
    profile = await parts.directory.kill_token(
        job.claim.app, attempt.device_id, path, token.value, token.environment, since=since, reason=reason
    )
    if profile is not None:
        await parts.profiles.put([profile])
