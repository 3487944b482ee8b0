"""The sweep: what is due without proof escalates, what lost its lease goes on, what outlived its ttl expires."""

from collections.abc import Sequence

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.delivery import Cursor, End, Event, Phase, move
from dispatcher.domain.journal import SORTS, Entry, Kind
from dispatcher.domain.paths import Path
from dispatcher.domain.plan import position_of, rung_of
from dispatcher.pipeline import sms
from dispatcher.pipeline.follow import circumstances, escalate
from dispatcher.pipeline.jobs import Job, gather_jobs, grace_left, settle
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.superseded import is_superseded
from dispatcher.pipeline.turns import Decision, next_turn, path_at, rest_of_rung, wait
from dispatcher.ports.homes import Claim, Members, Queue, Settlement, Wave

LEASE_MS: Millis = 10 * SECOND
BATCH = 1_000


async def sweep(claims: Sequence[Claim], parts: Parts, now: Millis) -> set[Queue]:
    """Works off claimed deadlines; answers the queues that have work now."""
    ready: set[Queue] = set()
    planned = []
    for claim in claims:
        parts.telemetry.taken_late("sweep", max(now - claim.due, 0) / SECOND)
        if claim.members.cursor.phase is Phase.PLAN:
            ready |= await _plan_again(claim, parts, now)
        else:
            planned.append(claim)
    jobs = await gather_jobs(planned, parts, now)
    for job in jobs:
        if now >= job.message.expires_at:
            job.draft.end(job.place, End.EXPIRED)
            _in_vain(job, parts, now)
        else:
            await _DUE[job.before.phase](job, parts, now)
    return ready | await settle(jobs, parts, parts.clock())


async def _plan_again(claim: Claim, parts: Parts, now: Millis) -> set[Queue]:
    """A planner lost its lease: time only."""
    queue = Queue("plan", claim.lane)
    members = claim.members
    wave = Wave(queue=queue, due=now, members=Members(members.home, members.cursor, members.members))
    await parts.homes.settle(Settlement(home=members.home, app=claim.app, lane=claim.lane, waves=[wave]), now)
    return {queue}


async def _timed_out(job: Job, parts: Parts, now: Millis) -> None:
    """No proof in time, or the step is known to have failed before its time was up."""
    step = job.ladder.steps[rung_of(job.before.step)]
    attempted = job.claim.attempted_at[job.claim.members.members.index((job.place, job.track))]
    early = step.wait_ms is not None and attempted is not None and now < attempted + step.wait_ms
    if not early:
        _in_vain(job, parts, now)
    if (grace := _reconnecting(job, now)) > 0:
        # not online yet is not offline: the device may still come back and drain its inbox
        queue = Queue("sweep", job.contents.lane)
        job.draft.wave(job.place, job.track, Decision(after=job.before, queue=queue, due=now + grace))
        return
    escalate(job, parts, now, Event.TIMED_OUT, "failed" if early else "timeout")


def _reconnecting(job: Job, now: Millis) -> Millis:
    """What is left of the grace of a device whose line was lost while a longconn step waited."""
    waits_on_line = path_at(job.ladder, job.before.step, job.row) is Path.LONGCONN
    return grace_left(job, now) if waits_on_line else 0


def _in_vain(job: Job, parts: Parts, now: Millis) -> None:
    """An attempt's wait is over: that too tells how its path fares."""
    attempted = job.claim.attempted_at[job.claim.members.members.index((job.place, job.track))]
    path = path_at(job.ladder, job.before.step, job.row) if job.before.phase is Phase.WAITING else None
    if path is not None and attempted is not None:
        parts.circuits.waited(job.claim.app, path, 1, now)


async def _lease_lost(job: Job, parts: Parts, now: Millis) -> None:
    """Whoever claimed it is gone. It may have left: the same ids go again, an SMS is looked up first."""
    path = path_at(job.ladder, job.before.step, job.row)
    job.draft.note(
        Entry(
            kind=Kind.OUTCOME,
            at=now,
            members=[(job.place, job.track)],
            path=path,
            step=job.before.step,
            attempt=job.before.attempt,
            shared={"outcome": "unknown", "reason": "lease_lost", SORTS: [job.sort]},
        )
    )
    if path is Path.SMS:
        decision = sms.unknown(job, now)
        job.draft.move(job.place, job.track, job.before, decision, path=path, tried=True, attempted_at=now)
        return
    if path is None:
        escalate(job, parts, now, Event.FAILED, "no_vendor_path")
        return
    lost = move(job.before.phase, Event.LEASE_LOST)
    if await is_superseded(job, path, parts):
        before = Cursor(job.before.step, job.before.attempt, lost)
        lane, expires_at = job.contents.lane, job.message.expires_at
        job.draft.skip(job.place, job.track, job.before.step, path, "superseded")
        stays = wait(job.ladder, before, lane=lane, expires_at=expires_at, now=now)
        job.draft.move(job.place, job.track, job.before, stays, path=path, tried=True, attempted_at=now)
        return
    phase = move(lost, Event.RETRY)
    decision = Decision(
        after=Cursor(job.before.step, job.before.attempt, phase),
        queue=Queue(path, job.contents.lane),
        due=now,
        path=path,
    )
    job.draft.move(job.place, job.track, job.before, decision)


async def _released(job: Job, parts: Parts, now: Millis) -> None:
    """What was held takes its step's turn again; of paths at once only what has not gone yet."""
    ladder, before, event = job.ladder, job.before, Event.RELEASED
    position = position_of(before.step)
    around = circumstances(job, parts, now)
    rest = None
    if position > 0:
        rest = rest_of_rung(ladder, before, job.row, job.profile, after=position - 1, event=event, **around)
    after_rung = rung_of(before.step) - (0 if position else 1)
    decision = rest or next_turn(ladder, before, after_rung, job.row, job.profile, event=event, **around)
    job.draft.move(job.place, job.track, job.before, decision)
    job.draft.escalated(job.place, job.track, job.before, decision, "released")


async def _unknown(job: Job, parts: Parts, now: Millis) -> None:
    """Looking it up asks the carrier, which is the sms queue's work."""
    queue = Queue(Path.SMS, job.contents.lane)
    job.draft.move(job.place, job.track, job.before, Decision(after=job.before, queue=queue, due=now, path=Path.SMS))


async def _nothing(job: Job, parts: Parts, now: Millis) -> None:
    """Parked or ready members stand in a later wave of their own."""


_DUE = {
    Phase.WAITING: _timed_out,
    Phase.SENDING: _lease_lost,
    Phase.HELD: _released,
    Phase.UNKNOWN: _unknown,
    Phase.PARKED: _nothing,
    Phase.READY: _nothing,
    Phase.DONE: _nothing,
}
