"""Claimed members with all that is known about them, and the writing of what became of them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Cursor, Phase
from dispatcher.domain.device import Device, Profile, PushToken
from dispatcher.domain.ids import DeliveryRef, attempt_id
from dispatcher.domain.message import Message
from dispatcher.domain.paths import VENDOR_PATHS, Path
from dispatcher.domain.plan import rung_of
from dispatcher.pipeline.facts import NO_DEVICE, Known, Shared, connected, row
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.settling import Draft
from dispatcher.pipeline.turns import (
    asks_history,
    ladder_of,
)
from dispatcher.ports.homes import Claim, Contents, Queue, Recipient
from dispatcher.ports.presence import Line, Presence
from dispatcher.ports.provider import Attempt
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
    def platform(self) -> str:
        """Of the device as it was planned for."""
        return self.contents.plans[self.place].tracks[self.track].platform

    @property
    def sort(self) -> "tuple[str, str, str, int]":
        """What figures tell its attempts apart by: class, platform, strategy and version."""
        return self.message.klass, self.platform, self.ladder.strategy, self.ladder.version

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

    @property
    def silent(self) -> bool:
        """Whether quiet hours keep it from being seen and heard."""
        return self.ladder.quiet == "silent" and self.row[_QUIET] is True

    def token(self, path: Path) -> PushToken | None:
        """The device's for *path*; a call that may be heard takes the one that rings."""
        return (self.device or NO_DEVICE).token(path, call=self.message.klass == "call" and not self.silent)


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
        token=job.token(path) if path in VENDOR_PATHS else None,
        locale=device.locale or job.profile.locale,
        silent=job.silent,
        priority=step.priority or job.message.priority.value,
        session=line.session if line and line.line is not Line.LOST else None,
        node=line.node if line and line.line is not Line.LOST else None,
        epoch=device.epoch,
        seq=job.recipient.seq,
        prev_seq=job.recipient.prev_seq,
    )


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
        if parts.traces is not None:
            parts.traces.worked(job.draft, job.contents, parts, parts.clock())
    untried: dict[int, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.untried:
            untried[id(job.claim)].append(job)
    for found in untried.values():
        await parts.homes.unlease(found[0].claim, [(job.place, job.track) for job in found], now)
    return ready


def grace_left(job: Job, now: Millis) -> Millis:
    """How long a reconnecting device may still come back before its longconn step is over; 0 for call and otp."""
    line = job.line
    if line is None or connected(line) or job.message.klass in {"call", "otp"}:
        return 0
    return max(line.since + job.ladder.grace_ms - now, 0) if line.line is Line.LOST else 0
