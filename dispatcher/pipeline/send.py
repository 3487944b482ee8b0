"""Sending: claim, re-check, hand to the provider, settle what it answered."""

from asyncio import gather
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Cursor, End, Phase
from dispatcher.domain.paths import VENDOR_PATHS, Path
from dispatcher.pipeline.brakes import brake_key, ends_at
from dispatcher.pipeline.circuit import stays
from dispatcher.pipeline.flight import Later, hand_over
from dispatcher.pipeline.follow import fail, leave_to_newer
from dispatcher.pipeline.jobs import Job, build_attempt, gather_jobs, settle
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.push_limits import under_caps
from dispatcher.pipeline.recheck import recheck
from dispatcher.pipeline.superseded import is_superseded
from dispatcher.pipeline.turns import (
    Decision,
    put_off,
)
from dispatcher.ports.circuits import Gate
from dispatcher.ports.homes import Claim, Queue
from dispatcher.ports.provider import Attempt


async def send(
    claims: Sequence[Claim], path: Path, parts: Parts, now: Millis, later: Later | None = None
) -> set[Queue]:
    """Sends what was claimed on *path*; answers the queues that have work now.

    Apps go side by side and settle each on its own: one whose provider stalls keeps no other waiting. By *later* goes
    on what the provider has not answered yet; without it everything is waited for.
    """
    by_app: dict[str, list[Job]] = defaultdict(list)
    for job in await gather_jobs(claims, parts, now, phase=Phase.SENDING):
        by_app[job.claim.app].append(job)
    if len(by_app) == 1:
        ((app, jobs),) = by_app.items()
        return await _serve(app, path, jobs, parts, now, later)

    async def serve(app: str, jobs: Sequence[Job]) -> None:
        await parts.hints(sorted(await _serve(app, path, jobs, parts, now, later), key=str))

    results = await gather(*(serve(app, jobs) for app, jobs in by_app.items()), return_exceptions=True)
    for result in results:
        if result is not None:
            raise result
    return set()


async def _serve(
    app: str, path: Path, jobs: Sequence[Job], parts: Parts, now: Millis, later: Later | None
) -> set[Queue]:
    """One app's share of a claim, settled as far as it is answered."""
    work: list[tuple[Job, Attempt]] = []
    for job in jobs:
        refused = _refusal(job, path, now)
        if refused is not None:
            await refused(job, path, parts, now)
        elif job.before.attempt and await is_superseded(job, path, parts):
            leave_to_newer(job, path, now)
        else:
            work.append((job, build_attempt(job, path, parts)))
    gate = await parts.circuits.gate(app, path, now) if work else Gate()
    work = await _past(gate, path, work, parts, now)
    if path in VENDOR_PATHS and work:
        work = await _unbraked(app, path, work, parts)
        work = await under_caps(app, path, work, parts, now)
    sent = await _send_app(app, path, work, gate, parts, later)
    if gate.probe and not sent:
        await parts.circuits.probed_in_vain(app, path)
    return await settle(jobs, parts, parts.clock())


async def _past(
    gate: Gate, path: Path, work: list[tuple[Job, Attempt]], parts: Parts, now: Millis
) -> list[tuple[Job, Attempt]]:
    """Those that circuit and switch let through: all, none, or one to find out (one that was not tried yet tells most:
    what failed before may fail again for reasons of its own)."""
    if gate.passes and not gate.probe:
        return work
    probe = min(work, key=lambda pair: pair[0].before.attempt, default=None) if gate.passes else None
    for pair in work:
        if pair is not probe:
            await shut_out(pair[0], path, gate.reason or "circuit_open", parts, now)
    return [] if probe is None else [probe]


async def shut_out(job: Job, path: Path, reason: str, parts: Parts, now: Millis) -> None:
    """On to what can be taken, or, where nothing else can, the same again a little later."""
    decision = stays(job, path, parts, now)
    if decision is None:
        await fail(job, path, parts, now, reason)
        return
    job.draft.move(job.place, job.track, job.before, decision)
    job.untried = True


async def _send_app(
    app: str, path: Path, work: Sequence[tuple[Job, Attempt]], gate: Gate, parts: Parts, later: Later | None
) -> bool:
    """Whether anything was handed to the provider."""
    if not work:
        return False
    provider = await parts.providers.provider(app, path)
    batch = provider.limits.batch if provider is not None else len(work)
    sent = False
    for at in range(0, len(work), batch):
        chunk = await _still_due(work[at : at + batch], path, parts)
        if chunk:
            await hand_over(provider, path, chunk, gate, parts, later)
            sent = True
    return sent


async def _still_due(chunk: Sequence[tuple[Job, Attempt]], path: Path, parts: Parts) -> list[tuple[Job, Attempt]]:
    kept = []
    attempts = {id(job): (job.profile, attempt) for job, attempt in chunk}
    for job in await recheck([job for job, _ in chunk], parts):
        now = parts.clock()
        refused = _refusal(job, path, now)
        if refused is not None:
            await refused(job, path, parts, now)
        else:
            seen, attempt = attempts[id(job)]
            kept.append((job, attempt if seen is job.profile else build_attempt(job, path, parts)))
    return kept


async def _unbraked(
    app: str, path: Path, work: Sequence[tuple[Job, Attempt]], parts: Parts
) -> list[tuple[Job, Attempt]]:
    """Those that nothing brakes now. The others go later, as the same attempt, or on where that does not fit."""
    now = parts.clock()
    brakes = await parts.throttle.brakes(brake_key(app, path), now)
    if not brakes.until and not brakes.members:
        return list(work)
    kept = []
    for job, attempt in work:
        since, until = ends_at(brakes, attempt.device_id, now)
        if until:
            await put_off_job(job, path, parts, since, until, now)
        else:
            kept.append((job, attempt))
    return kept


async def put_off_job(job: Job, path: Path, parts: Parts, since: Millis, until: Millis, now: Millis) -> None:
    """The provider asked to wait until then (its Retry-After): no attempt is counted."""
    lane, expires_at = job.contents.lane, job.message.expires_at
    decision = put_off(
        job.ladder,
        job.before,
        path,
        until,
        since=since,
        lane=lane,
        expires_at=expires_at,
        now=now,
        spread=job.place,
    )
    if decision is None:
        await fail(job, path, parts, now, "braked")
        return
    job.draft.move(job.place, job.track, job.before, decision)
    job.untried = True


def _refusal(job: Job, path: Path, now: Millis) -> "Callable[[Job, Path, Parts, Millis], Awaitable[None]] | None":
    """Why a claimed member must not be sent after all, as what to do about it; None where it may go."""
    if now >= job.message.expires_at:
        return _expire
    if job.device is None:
        return _moved
    if path in VENDOR_PATHS and job.token(path) is None:
        return _no_token
    return None


async def _expire(job: Job, path: Path, parts: Parts, now: Millis) -> None:
    job.draft.end(job.place, End.EXPIRED)


async def _moved(job: Job, path: Path, parts: Parts, now: Millis) -> None:
    """The device is another user's by now (invariant 10): this track is over."""
    done = Decision(after=Cursor(job.before.step, job.before.attempt, Phase.DONE), reason="device_moved")
    job.draft.move(job.place, job.track, job.before, done)
    job.draft.escalated(job.place, job.track, job.before, done, "device_moved")


async def _no_token(job: Job, path: Path, parts: Parts, now: Millis) -> None:
    await fail(job, path, parts, now, "no_token")
