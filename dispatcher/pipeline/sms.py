"""The SMS step: one per message and user, reserved in the ledger before the request leaves.

Fails closed: without a reservation nothing is sent. Silence is trusted only while receipts can be heard (invariant 9).
"""

from collections.abc import Sequence

from msgspec.structs import replace

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.delivery import Cursor, End, Event, Phase, move
from dispatcher.domain.ids import DeliveryRef, attempt_id
from dispatcher.domain.outcome import HandedOver, Outcome, Rejected, RetryLater, Unknown
from dispatcher.domain.paths import Path
from dispatcher.domain.plan import rung_of
from dispatcher.pipeline.brakes import brake_key, ends_at, set_brakes
from dispatcher.pipeline.circuit import judge
from dispatcher.pipeline.conversation import text_for, waiting
from dispatcher.pipeline.follow import escalate, follow, note_attempts
from dispatcher.pipeline.jobs import Job, gather_jobs, settle
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.send import put_off_job, shut_out
from dispatcher.pipeline.turns import Decision, retry, wait
from dispatcher.ports.circuits import Gate
from dispatcher.ports.homes import Claim, Queue
from dispatcher.ports.provider import Attempt, LooksUp
from dispatcher.ports.sms_guard import Refusal, SmsCap, SmsRequest
from strategies.availability import unavailable
from strategies.document import SmsLimits
from strategies.limits import Rate

LOOK_UP_AFTER: Millis = 30 * SECOND
LOOK_UPS = 2
DEFAULT_SEGMENTS = 2


async def send_sms(claims: Sequence[Claim], parts: Parts, now: Millis) -> set[Queue]:
    """Sends claimed members by SMS, or looks them up, one at a time; answers the queues that have work now."""
    jobs = await gather_jobs(claims, parts, now, phase=Phase.SENDING)
    for job in jobs:
        if job.claim.members.cursor.phase is Phase.UNKNOWN:
            await look_up(job, parts, parts.clock())
        else:
            await _send_one(job, parts, parts.clock())
    return await settle(jobs, parts, parts.clock())


async def look_up(job: Job, parts: Parts, now: Millis) -> None:
    """An SMS whose answer was lost: looked up twice, 30 s apart, before any resend; its reservation is kept.

    That asks the carrier, so it is the sms queue's work: a stalled carrier must not hold up the sweep.
    """
    if now >= job.message.expires_at:
        job.draft.end(job.place, End.EXPIRED)
        return
    attempt = _attempt(job, parts, _phone(job, parts) or "", "")
    sharers = await parts.sms_guard.sharers(job.claim.app, attempt.attempt_id)
    attempt = replace(attempt, text=_composed(job, len(sharers), parts)[0])
    provider: object = await parts.providers.provider(job.claim.app, Path.SMS)
    found: Outcome | None = None
    if isinstance(provider, LooksUp):
        found = await provider.look_up(attempt)
    if found is not None:
        note_attempts(Path.SMS, [(job, found)], now, now)
        await _settle_outcome(job, attempt, found, parts, now, now)
        return
    before = job.before
    if before.attempt + 1 < LOOK_UPS:
        after, due = Phase.UNKNOWN, now + LOOK_UP_AFTER
    else:
        after, due = Phase.READY, now
    decision = Decision(
        after=Cursor(before.step, before.attempt + 1, after),
        queue=Queue(Path.SMS, job.contents.lane),
        due=min(due, job.message.expires_at),
        path=Path.SMS,
    )
    job.draft.move(job.place, job.track, before, decision)


def unknown(job: Job, now: Millis) -> Decision:
    """Where an SMS goes whose answer was lost: to its look-ups, and after the one resend into the step's wait."""
    if job.before.attempt >= LOOK_UPS:
        return wait(job.ladder, job.before, lane=job.contents.lane, expires_at=job.message.expires_at, now=now)
    return Decision(
        after=Cursor(job.before.step, 0, Phase.UNKNOWN),
        queue=Queue(Path.SMS, job.contents.lane),
        due=min(now + LOOK_UP_AFTER, job.message.expires_at),
        path=Path.SMS,
    )


async def _send_one(job: Job, parts: Parts, now: Millis) -> None:
    if now >= job.message.expires_at:
        job.draft.end(job.place, End.EXPIRED)
        return
    held = await parts.hold.held_until(now)
    if held and not (job.message.klass == "otp" and parts.rules.otp_exempt_from_hold):
        _hold(job, min(held, job.message.expires_at))
        return
    refused = unavailable("sms", job.row)
    phone = _phone(job, parts)
    if refused is not None or phone is None:
        escalate(job, parts, now, Event.FAILED, refused.value if refused else "no_phone")
        return
    since, braked = ends_at(await parts.throttle.brakes(brake_key(job.claim.app, Path.SMS), now), None, now)
    if braked:
        await put_off_job(job, Path.SMS, parts, since, braked, now)
        return
    gate = await parts.circuits.gate(job.claim.app, Path.SMS, now)
    if not gate.passes:
        await shut_out(job, Path.SMS, gate.reason, parts, now)
        return
    limits = job.ladder.sms or SmsLimits()
    coalesces = bool(limits.coalesce_ms and job.message.collapse_key)
    joiners = await waiting(job, parts, now) if coalesces else []
    text, segments = _composed(job, len(joiners), parts)
    attempt = _attempt(job, parts, phone, text)
    request = replace(_request(job, attempt, phone, segments, limits, parts), joiners=joiners)
    refusal = await parts.sms_guard.reserve(request, now)
    if refusal is not None:
        await _not_probed(job, gate, parts)
        await _refused(job, refusal, parts, now)
        return
    if coalesces:  # the guard has the last word on who joined, and had it already where this is a resend
        sharers = await parts.sms_guard.sharers(job.claim.app, attempt.attempt_id)
        attempt = replace(attempt, text=_composed(job, len(sharers), parts)[0])
    state = (await parts.homes.states(job.claim.members.home, [job.place])).get(job.place)
    if state is None or state.end is not End.OPEN:
        await _not_probed(job, gate, parts)
        await parts.sms_guard.release(job.claim.app, attempt.attempt_id, "proven")
        return
    provider = await parts.providers.provider(job.claim.app, Path.SMS)
    started = parts.clock()
    if provider is None:
        outcome: Outcome = Rejected("no_credentials", configuration=True)
    else:
        (outcome,) = await provider.send([attempt], started)
    finished = parts.clock()
    parts.telemetry.provider_answered(Path.SMS, (finished - started) / SECOND)
    await judge(job.claim.app, Path.SMS, [outcome], gate, parts, finished)
    note_attempts(Path.SMS, [(job, outcome)], started, finished)
    if isinstance(outcome, HandedOver):
        parts.telemetry.sms_segments("sent", segments)
    await _settle_outcome(job, attempt, outcome, parts, started, finished)


async def _not_probed(job: Job, gate: Gate, parts: Parts) -> None:
    """The one that was to find out whether the carrier lets us in again does not leave."""
    if gate.probe:
        await parts.circuits.probed_in_vain(job.claim.app, Path.SMS)


async def _refused(job: Job, refusal: Refusal, parts: Parts, now: Millis) -> None:
    """No SMS of its own. One that joined another's waits for that one's status; one that came later goes on without,
    and where the ladder ends here it stays open until its ttl."""
    before, lane, expires_at = job.before, job.contents.lane, job.message.expires_at
    if refusal is Refusal.JOINED:
        into = await parts.sms_guard.joined_into(job.claim.app, job.message.message_id, job.recipient.user_id)
        job.draft.skip(job.place, job.track, before.step, Path.SMS, "coalesced", joined=into)
        decision = wait(job.ladder, before, lane=lane, expires_at=expires_at, now=now)
        job.draft.move(job.place, job.track, before, decision, path=Path.SMS, tried=True, attempted_at=now)
        return
    job.draft.skip(job.place, job.track, before.step, Path.SMS, refusal.value)
    if refusal is Refusal.COALESCED and rung_of(before.step) + 1 >= len(job.ladder.steps):
        after = Cursor(before.step, before.attempt, move(before.phase, Event.HANDED_OVER))
        stays = Decision(after=after, queue=Queue("sweep", lane), due=expires_at)
        job.draft.move(job.place, job.track, before, stays)
        return
    escalate(job, parts, now, Event.FAILED, refusal.value)


async def _settle_outcome(
    job: Job, attempt: Attempt, outcome: Outcome, parts: Parts, started: Millis, now: Millis
) -> None:
    app = job.claim.app
    match outcome:
        case HandedOver(reference=reference):
            await parts.sms_guard.sent(app, attempt.attempt_id, reference, now)
        case Unknown():
            parts.telemetry.attempted(Path.SMS, "unknown", outcome.reason)
            decision = unknown(job, now)
            job.draft.move(job.place, job.track, job.before, decision, path=Path.SMS, tried=True, attempted_at=started)
            return
        case RetryLater(reason=reason, after_ms=after_ms):
            await set_brakes(app, Path.SMS, [(None, outcome)], parts, now)
            lane, expires_at = job.contents.lane, job.message.expires_at
            if retry(job.ladder, job.before, Path.SMS, after_ms, lane=lane, expires_at=expires_at, now=now) is None:
                await parts.sms_guard.release(app, attempt.attempt_id, reason)  # it never left and never will
        case Rejected(reason=reason, suppress=suppress):
            await parts.sms_guard.release(app, attempt.attempt_id, reason)
            if suppress and attempt.phone:
                await parts.sms_guard.suppress_number(app, parts.seal.number_hash(attempt.phone), reason, now)
    await follow(job, Path.SMS, attempt, outcome, parts, started, now)


def _composed(job: Job, others: int, parts: Parts) -> tuple[str, int]:
    """The text as it leaves (standing for *others* too), and its segments; a look-up asks for the very same words."""
    limits = job.ladder.sms or SmsLimits()
    written = text_for(job.message, others, job.profile.locale)
    return parts.cut_sms(written, limits.max_segments or DEFAULT_SEGMENTS)


def _hold(job: Job, until: Millis) -> None:
    before = job.before
    decision = Decision(
        after=Cursor(before.step, before.attempt, Phase.HELD),
        queue=Queue("sweep", job.contents.lane),
        due=until,
        path=Path.SMS,
        reason="receipts_unhealthy",
    )
    job.draft.move(job.place, job.track, before, decision)


def _phone(job: Job, parts: Parts) -> str | None:
    sealed = job.profile.phone
    return parts.seal.open(sealed).decode() if sealed is not None else None


def _attempt(job: Job, parts: Parts, phone: str, text: str) -> Attempt:
    """An SMS keeps one attempt id through retries and look-ups: guard and callbacks know it by that."""
    ref = DeliveryRef(job.claim.members.home, job.place)
    delivery_id = parts.ids.delivery_id(ref, job.claim.app, job.recipient.user_id)
    return Attempt(
        attempt_id=attempt_id(delivery_id, job.track, job.before.step, 0, Path.SMS),
        delivery_id=delivery_id,
        user_id=job.recipient.user_id,
        message=job.message,
        expires_at=job.message.expires_at,
        phone=phone,
        text=text,
        locale=job.profile.locale,
        priority=job.ladder.steps[rung_of(job.before.step)].priority,
    )


def _request(job: Job, attempt: Attempt, phone: str, segments: int, limits: SmsLimits, parts: Parts) -> SmsRequest:
    key = job.message.collapse_key
    return SmsRequest(
        app=job.claim.app,
        message_id=job.message.message_id,
        user_id=job.recipient.user_id,
        attempt_id=attempt.attempt_id,
        number_hash=parts.seal.number_hash(phone),
        prefix=phone[:7],
        segments=segments,
        per_user=_cap(limits.per_user),
        per_number=_cap(limits.per_number),
        per_prefix=_cap(limits.per_prefix),
        budget=_cap(limits.budget),
        coalesce_key=key if limits.coalesce_ms else None,
        coalesce_ms=limits.coalesce_ms or 0,
        klass=job.message.klass,
        platform=job.platform,
        strategy=job.ladder.strategy,
        version=job.ladder.version,
    )


def _cap(rate: Rate | None) -> SmsCap | None:
    return None if rate is None else SmsCap(count=rate.count, window_ms=rate.window_ms)
