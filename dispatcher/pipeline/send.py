"""Sending: claim, re-check, hand to the provider, settle what it answered."""

from asyncio import gather
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Cursor, End, Event, Phase
from dispatcher.domain.device import Device, Profile
from dispatcher.domain.ids import DeliveryRef, attempt_id
from dispatcher.domain.journal import Entry, Kind
from dispatcher.domain.message import Message
from dispatcher.domain.outcome import HandedOver, NotConnected, Outcome, Rejected, RetryLater, TokenDead, Unknown
from dispatcher.domain.paths import VENDOR_PATHS, Path
from dispatcher.domain.plan import position_of, rung_of
from dispatcher.pipeline.brakes import brake_key, ends_at, set_brakes
from dispatcher.pipeline.circuit import OUTCOME_NAMES, judge, stays
from dispatcher.pipeline.facts import NO_DEVICE, Known, Shared, connected, row
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.recheck import recheck
from dispatcher.pipeline.settling import Draft
from dispatcher.pipeline.superseded import is_superseded
from dispatcher.pipeline.turns import (
    Decision,
    after_handover,
    asks_history,
    ladder_of,
    next_turn,
    put_off,
    rest_of_rung,
    retry,
    wait,
)
from dispatcher.ports.circuits import Gate
from dispatcher.ports.homes import Claim, Contents, Queue, Recipient
from dispatcher.ports.presence import Line, Presence
from dispatcher.ports.provider import Attempt, Provider
from strategies.availability import own_path
from strategies.catalogue import INDEX
from strategies.facts import Row
from strategies.ladder import Ladder

_QUIET = INDEX["user.in_quiet_hours"]


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One claimed member with all that is known about it."""

    claim: Claim
    contents: Contents
    draft: Draft
    place: int
    track: int
    before: Cursor
    recipient: Recipient
    message: Message
    ladder: Ladder
    profile: Profile
    device: Device | None  #: None: gone, or bound to another user by now
    line: Presence | None
    known: Known
    shared: Shared
    now: Millis
    untried: bool = False  #: put off as it is: its lease goes back with the settlement
    _row: Row | None = None

    @property
    def row(self) -> Row:
        """The facts of the moment; made when a turn asks for them, which most attempts never do."""
        if self._row is None:
            device = self.device or NO_DEVICE
            self._row = row(
                self.message,
                self.profile,
                device,
                self.line,
                self.shared,
                self.now,
                learned=self.known.learned(self.profile, device),
                budget=self.ladder.sms.budget if self.ladder.sms is not None else None,
            )
        return self._row


async def gather_jobs(claims: Sequence[Claim], parts: Parts, now: Millis, *, phase: Phase | None = None) -> list[Job]:
    """Reads homes, users and lines for claimed members. *phase*: what the claim made of their cursors."""
    homes: list[tuple[Claim, Contents]] = []
    users: dict[str, set[str]] = defaultdict(set)
    for claim in claims:
        contents = await parts.homes.contents(claim.members.home, [place for place, _ in claim.members.members])
        if contents is None:
            continue
        homes.append((claim, contents))
        users[claim.app].update(recipient.user_id for recipient in contents.recipients.values())
    packed: dict[str, set[bytes]] = defaultdict(set)
    for claim, contents in homes:
        packed[claim.app].update(ladder for plan in contents.plans.values() for ladder in plan.ladders)
    known = {app: await _know(app, sorted(names), packed[app], parts, now) for app, names in users.items()}
    jobs = []
    for claim, contents in homes:
        draft = Draft(claim.members.home, claim.app, contents.lane, now)
        cursor = claim.members.cursor
        before = Cursor(cursor.step, cursor.attempt, phase) if phase is not None else cursor
        for place, track in claim.members.members:
            if place in contents.plans:
                jobs.append(_job(claim, contents, draft, place, track, before, *known[claim.app], now))
    return jobs


async def _know(
    app: str, users: Sequence[str], packed: Iterable[bytes], parts: Parts, now: Millis
) -> tuple[Known, Shared]:
    """What turns may look at; histories and budgets only where one of the ladders asks for them."""
    ladders = list(packed)
    shelf = await parts.book.shelf(app) if any(map(asks_history, ladders)) else None
    known = await parts.facts.know(app, users, now, shelf.learning if shelf is not None else None)
    budgets = [sms.budget for ladder in ladders if (sms := ladder_of(ladder).sms) is not None and sms.budget]
    return known, await parts.facts.shared(app, budgets, now, parts.rules.default_zone)


def _job(
    claim: Claim,
    contents: Contents,
    draft: Draft,
    place: int,
    track: int,
    before: Cursor,
    known: Known,
    shared: Shared,
    now: Millis,
) -> Job:
    recipient = contents.recipients[place]
    message = contents.messages[recipient.message]
    plan = contents.plans[place]
    own = plan.tracks[track]
    profile = known.profiles[recipient.user_id]
    device: Device | None = NO_DEVICE
    if own.device_id is not None:
        device = profile.device(own.device_id)
        if device is not None and device.epoch != own.epoch:
            device = None
    line = known.line(recipient.user_id, own.device_id)
    return Job(
        claim=claim,
        contents=contents,
        draft=draft,
        place=place,
        track=track,
        before=before,
        recipient=recipient,
        message=message,
        ladder=ladder_of(plan.ladders[own.ladder]),
        profile=profile,
        device=device,
        line=line,
        known=known,
        shared=shared,
        now=now,
    )


async def send(claims: Sequence[Claim], path: Path, parts: Parts, now: Millis) -> set[Queue]:
    """Sends what was claimed on *path*; answers the queues that have work now.

    Apps go side by side and settle each on its own: one whose provider stalls keeps no other waiting.
    """
    by_app: dict[str, list[Job]] = defaultdict(list)
    for job in await gather_jobs(claims, parts, now, phase=Phase.SENDING):
        by_app[job.claim.app].append(job)
    if len(by_app) == 1:
        ((app, jobs),) = by_app.items()
        return await _serve(app, path, jobs, parts, now)

    async def serve(app: str, jobs: Sequence[Job]) -> None:
        await parts.hints(sorted(await _serve(app, path, jobs, parts, now), key=str))

    results = await gather(*(serve(app, jobs) for app, jobs in by_app.items()), return_exceptions=True)
    for result in results:
        if result is not None:
            raise result
    return set()


async def _serve(app: str, path: Path, jobs: Sequence[Job], parts: Parts, now: Millis) -> set[Queue]:
    """One app's share of a claim, settled."""
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
        work = await _under_caps(app, path, work, parts, now)
    await _send_app(app, path, work, gate, parts)
    return await settle(jobs, parts, parts.clock())


def build_attempt(job: Job, path: Path, parts: Parts) -> Attempt:
    """The attempt of a claimed member; its ids follow from where it stands, so a repeat has the same."""
    app, user_id = job.claim.app, job.recipient.user_id
    delivery_id = parts.ids.delivery_id(DeliveryRef(job.claim.members.home, job.place), app, user_id)
    step = job.ladder.steps[rung_of(job.before.step)]
    device = job.device or NO_DEVICE
    line = job.line
    return Attempt(
        attempt_id=attempt_id(delivery_id, job.track, job.before.step, job.before.attempt, path),
        delivery_id=delivery_id,
        user_id=user_id,
        message=job.message,
        expires_at=job.message.expires_at,
        device_id=device.device_id or None,
        platform=device.platform.value,
        token=device.token(path) if path in VENDOR_PATHS else None,
        locale=device.locale or job.profile.locale,
        silent=job.ladder.quiet == "silent" and job.row[_QUIET] is True,
        priority=step.priority or job.message.priority.value,
        session=line.session if line and line.line is not Line.LOST else None,
        node=line.node if line and line.line is not Line.LOST else None,
        epoch=device.epoch,
        seq=job.recipient.seq,
        prev_seq=job.recipient.prev_seq,
    )


async def _under_caps(
    app: str, path: Path, work: Sequence[tuple[Job, Attempt]], parts: Parts, now: Millis
) -> list[tuple[Job, Attempt]]:
    """Those whose device may get another push now; the others go on to their next step. Repeats cost nothing."""
    capped = [
        (index, job.ladder.push.per_device)
        for index, (job, _) in enumerate(work)
        if job.before.attempt == 0 and job.ladder.push is not None and job.ladder.push.per_device is not None
    ]
    wanted = [(work[index][1].device_id or "", cap.count, cap.window_ms) for index, cap in capped]
    allowed = await parts.push_caps.take(app, wanted, now) if wanted else []
    over = {index for (index, _), may in zip(capped, allowed, strict=True) if not may}
    for index in over:
        job = work[index][0]
        job.draft.skip(job.place, job.track, job.before.step, path, "cap_device")
        await fail(job, path, parts, now, "cap_device")
    return [pair for index, pair in enumerate(work) if index not in over]


async def _past(
    gate: Gate, path: Path, work: list[tuple[Job, Attempt]], parts: Parts, now: Millis
) -> list[tuple[Job, Attempt]]:
    """Those that circuit and switch let through: all, none, or one to find out."""
    passing = work if gate.passes and not gate.probe else work[:1] if gate.passes else []
    for job, _ in work[len(passing) :]:
        await shut_out(job, path, gate.reason or "circuit_open", parts, now)
    return passing


async def shut_out(job: Job, path: Path, reason: str, parts: Parts, now: Millis) -> None:
    """On to what can be taken, or, where nothing else can, the same again a little later."""
    decision = stays(job, path, parts, now)
    if decision is None:
        await fail(job, path, parts, now, reason)
        return
    job.draft.move(job.place, job.track, job.before, decision)
    job.untried = True


async def _send_app(app: str, path: Path, work: Sequence[tuple[Job, Attempt]], gate: Gate, parts: Parts) -> None:
    if not work:
        return
    provider = await parts.providers.provider(app, path)
    batch = provider.limits.batch if provider is not None else len(work)
    for at in range(0, len(work), batch):
        chunk = await _still_due(work[at : at + batch], path, parts)
        if chunk:
            await _send_chunk(provider, path, chunk, gate, parts)


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


async def _send_chunk(
    provider: Provider | None, path: Path, work: Sequence[tuple[Job, Attempt]], gate: Gate, parts: Parts
) -> None:
    started = parts.clock()
    if provider is None:
        outcomes: list[Outcome] = [Rejected("no_credentials", configuration=True)] * len(work)
    else:
        begun = perf_counter()
        outcomes = await provider.send([attempt for _, attempt in work], started)
        parts.telemetry.provider_answered(path, perf_counter() - begun)
    now = parts.clock()
    await judge(work[0][0].claim.app, path, outcomes, gate, parts, now)
    note_attempts(path, [(job, outcome) for (job, _), outcome in zip(work, outcomes, strict=True)], started, now)
    answered = zip(work, outcomes, strict=True)
    await set_brakes(
        work[0][0].claim.app, path, [(attempt.device_id, outcome) for (_, attempt), outcome in answered], parts, now
    )
    for (job, attempt), outcome in zip(work, outcomes, strict=True):
        await follow(job, path, attempt, outcome, parts, started, now)


def note_attempts(path: Path, results: Sequence[tuple[Job, Outcome]], started: Millis, now: Millis) -> None:
    """One journal entry a home for what was attempted and one for what was answered."""
    by_draft: dict[int, list[tuple[Job, Outcome]]] = defaultdict(list)
    for job, outcome in results:
        by_draft[id(job.draft)].append((job, outcome))
    for rows in by_draft.values():
        first = rows[0][0]
        members = [(job.place, job.track) for job, _ in rows]
        step, attempt = first.before.step, first.before.attempt
        first.draft.note(Entry(kind=Kind.ATTEMPTED, at=started, members=members, path=path, step=step, attempt=attempt))
        first.draft.note(
            Entry(
                kind=Kind.OUTCOME,
                at=now,
                members=members,
                path=path,
                step=step,
                attempt=attempt,
                columns={
                    "outcome": [OUTCOME_NAMES[type(outcome)] for _, outcome in rows],
                    "reason": [getattr(outcome, "reason", None) for _, outcome in rows],
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
        case NotConnected():
            reason = "not_connected"
            if _is_last(job) and (grace := grace_left(job, now)) > 0:
                decision = wait(job.ladder, job.before, lane=lane, expires_at=expires_at, now=now, at_least=grace)
                job.draft.move(job.place, job.track, job.before, decision)
                return
    await fail(job, path, parts, now, reason, started=None if isinstance(outcome, NotConnected) else started)


async def fail(job: Job, path: Path, parts: Parts, now: Millis, reason: str, *, started: Millis | None = None) -> None:
    """This path failed for good: on to the next one of the same rung; else, where an earlier one of it went, the wait
    for that one's proof; else to the next rung. *started*: when the attempt was made, where one was."""
    position = position_of(job.before.step)
    if not _is_last(job):
        rest = rest_of_rung(
            job.ladder,
            job.before,
            job.row,
            job.profile,
            lane=job.contents.lane,
            default_zone=parts.rules.default_zone,
            expires_at=job.message.expires_at,
            now=now,
        )
        if rest is not None:
            # without its path: what failed is not what the rung's wait may be waiting for
            job.draft.move(job.place, job.track, job.before, rest, tried=started is not None, attempted_at=started)
            job.draft.escalated([(job.place, job.track, job.before, rest, reason)])
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
    decision = next_turn(
        job.ladder,
        job.before,
        rung_of(job.before.step),
        job.row,
        job.profile,
        lane=job.contents.lane,
        default_zone=parts.rules.default_zone,
        expires_at=job.message.expires_at,
        now=now,
        event=event,
    )
    job.draft.move(job.place, job.track, job.before, decision, path=path, tried=path is not None, attempted_at=started)
    job.draft.escalated([(job.place, job.track, job.before, decision, reason)])
    return decision


async def settle(jobs: Sequence[Job], parts: Parts, now: Millis) -> set[Queue]:
    """Writes all drafts of *jobs*; answers the queues that have work now."""
    ready: set[Queue] = set()
    drafts = {id(job.draft): job for job in jobs}
    for job in drafts.values():
        if job.draft.empty:
            continue
        settled = await parts.homes.settle(job.draft.build(), now)
        ready.update(settled.ready)
        if settled.late:
            parts.telemetry.late_send(Path(job.claim.queue.name), settled.late)
    untried: dict[int, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.untried:
            untried[id(job.claim)].append(job)
    for found in untried.values():
        await parts.homes.unlease(found[0].claim, [(job.place, job.track) for job in found], now)
    return ready


def _refusal(job: Job, path: Path, now: Millis) -> "Callable[[Job, Path, Parts, Millis], Awaitable[None]] | None":
    """Why a claimed member must not be sent after all, as what to do about it; None where it may go."""
    if now >= job.message.expires_at:
        return _expire
    if job.device is None:
        return _moved
    if path in VENDOR_PATHS and job.device.token(path) is None:
        return _no_token
    return None


async def _expire(job: Job, path: Path, parts: Parts, now: Millis) -> None:
    job.draft.end(job.place, End.EXPIRED)


async def _moved(job: Job, path: Path, parts: Parts, now: Millis) -> None:
    """The device is another user's by now (invariant 10): this track is over."""
    done = Decision(after=Cursor(job.before.step, job.before.attempt, Phase.DONE), reason="device_moved")
    job.draft.move(job.place, job.track, job.before, done)
    job.draft.escalated([(job.place, job.track, job.before, done, "device_moved")])


async def _no_token(job: Job, path: Path, parts: Parts, now: Millis) -> None:
    await fail(job, path, parts, now, "no_token")


def grace_left(job: Job, now: Millis) -> Millis:
    """How long a reconnecting device may still come back before its longconn step is over; 0 for call and otp."""
    line = job.line
    if line is None or connected(line) or job.message.klass in {"call", "otp"}:
        return 0
    return max(line.since + job.ladder.grace_ms - now, 0) if line.line is Line.LOST else 0


async def _kill_token(job: Job, path: Path, attempt: Attempt, reason: str, since: Millis, parts: Parts) -> None:
    token = attempt.token
    if token is None or attempt.device_id is None:
        return
    profile = await parts.directory.kill_token(
        job.claim.app, attempt.device_id, path, token.value, token.environment, since=since, reason=reason
    )
    if profile is not None:
        await parts.profiles.put([profile])
