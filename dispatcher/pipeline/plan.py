"""Planning: facts in one read, the strategy asked once a device, ladders written, first waves made."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Cursor, End, Event, Phase
from dispatcher.domain.device import Device, Profile
from dispatcher.domain.journal import Entry, Kind
from dispatcher.domain.message import Message
from dispatcher.domain.plan import DeliveryPlan, TrackPlan
from dispatcher.pipeline.facts import NO_DEVICE, Known, Shared, row
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.settling import Draft
from dispatcher.pipeline.strategy_book import Shelf
from dispatcher.pipeline.turns import Decision, next_turn
from dispatcher.ports.homes import Claim, Contents, Planned, Queue, Recipient
from strategies.catalogue import FINGERPRINT
from strategies.compile import Strategy
from strategies.engine import plan_batch
from strategies.explain import planned_detail
from strategies.facts import Row
from strategies.ladder import Plan, pack_ladder

_UNPLANNED = Cursor(0, 0, Phase.PLAN)


async def plan(claims: Sequence[Claim], parts: Parts, now: Millis) -> set[Queue]:
    """Plans the claimed members; answers the queues that have work now."""
    ready: set[Queue] = set()
    by_app: dict[str, list[tuple[Claim, Contents]]] = defaultdict(list)
    for claim in claims:
        contents = await parts.homes.contents(claim.members.home, [place for place, _ in claim.members.members])
        if contents is not None:
            by_app[claim.app].append((claim, contents))
    for app, work in by_app.items():
        users = {recipient.user_id for _, contents in work for recipient in contents.recipients.values()}
        shelf = await parts.book.shelf(app)
        known = await parts.facts.know(app, sorted(users), now, shelf.learning)
        shared = await parts.facts.shared(app, shelf.budgets, now, parts.rules.default_zone)
        for claim, contents in work:
            draft = Draft(claim.members.home, app, contents.lane, now)
            _plan_home(draft, claim, contents, known, shelf, shared, parts, now)
            settled = await parts.homes.settle(draft.build(), now)
            ready.update(settled.ready)
            if parts.traces is not None:
                parts.traces.worked(draft, contents, parts, parts.clock())
    return ready


def devices_for(recipient: Recipient, profile: Profile, limit: int) -> list[Device] | None:
    """The devices a delivery is for; None where it names only devices that nobody knows."""
    devices: Iterable[Device] = profile.devices
    if recipient.devices is not None:
        named = [device for device in profile.devices if device.device_id in recipient.devices]
        if not named:
            return None
        devices = named
    latest = sorted(devices, key=lambda device: -device.last_seen)[:limit]
    return latest or [NO_DEVICE]


def _plan_home(
    draft: Draft,
    claim: Claim,
    contents: Contents,
    known: Known,
    shelf: Shelf,
    shared: Shared,
    parts: Parts,
    now: Millis,
) -> None:
    cases: dict[Any, list[tuple[Recipient, Message, Device, Row]]] = defaultdict(list)
    for place, _ in claim.members.members:
        recipient = contents.recipients.get(place)
        if recipient is None:
            continue
        message = contents.messages[recipient.message]
        if now >= message.expires_at:
            draft.end(place, End.EXPIRED)
            continue
        profile = known.profiles.get(recipient.user_id)
        devices = devices_for(recipient, profile, parts.rules.max_devices) if profile and recipient.user_id else None
        if profile is None or devices is None:
            draft.end(place, End.SUPPRESSED)
            members = [(place, 255)]
            draft.note(Entry(kind=Kind.SETTLED, at=now, members=members, shared=_suppressed("unknown_device")))
            continue
        strategy = shelf.pick(message.klass, message.strategy, recipient.user_id)
        for device in devices:
            facts = facts_of(message, profile, device, known, strategy, shared, now)
            cases[strategy].append((recipient, message, device, facts))
    tracks: dict[int, list[tuple[Device, Row, Plan]]] = defaultdict(list)
    for strategy, rows in cases.items():
        for case, plan_ in zip(rows, plan_batch([case[3] for case in rows], strategy), strict=True):
            tracks[case[0].place].append((case[2], case[3], plan_))
    journal = _PlannedEntry(now)
    for place, devices_planned in tracks.items():
        recipient = contents.recipients[place]
        expires_at = contents.messages[recipient.message].expires_at
        profile = known.profiles[recipient.user_id]
        decisions = [
            next_turn(
                plan_.ladder,
                _UNPLANNED,
                -1,
                facts,
                profile,
                lane=contents.lane,
                default_zone=shared.default_zone,
                expires_at=expires_at,
                now=now,
                event=Event.PLANNED,
            )
            for _, facts, plan_ in devices_planned
        ]
        draft.plan(_planned(place, devices_planned, decisions))
        for track, decision in enumerate(decisions):
            draft.wave(place, track, decision)
            device, facts, plan_ = devices_planned[track]
            journal.add(place, track, device, facts, plan_)
    if journal.members:
        draft.note(journal.entry())


def facts_of(
    message: Message, profile: Profile, device: Device, known: Known, strategy: Strategy, shared: Shared, now: Millis
) -> Row:
    """Everything *strategy* may look at for one device."""
    line = known.line(profile.user_id, device.device_id)
    sms = strategy.document.sms
    return row(
        message,
        profile,
        device,
        line,
        shared,
        now,
        learned=known.learned(profile, device),
        budget=sms.budget if sms is not None else None,
    )


def _planned(place: int, tracks: Sequence[tuple[Device, Row, Plan]], decisions: Sequence[Decision]) -> Planned:
    ladders: dict[bytes, int] = {}
    track_plans = []
    for device, _, plan_ in tracks:
        packed = pack_ladder(plan_.ladder)
        track_plans.append(
            TrackPlan(
                device_id=device.device_id or None,
                epoch=device.epoch,
                platform=device.platform.value,
                ladder=ladders.setdefault(packed, len(ladders)),
            )
        )
    return Planned(
        place=place,
        plan=DeliveryPlan(
            ladders=tuple(ladders), tracks=tuple(track_plans), each=any(plan_.reach == "each" for *_, plan_ in tracks)
        ),
        starts=[decision.after for decision in decisions],
        untils=[decision.until for decision in decisions],
    )


class _PlannedEntry:
    """One journal entry for a home's planning; an explanation is stored once a distinct decision."""

    def __init__(self, now: Millis) -> None:
        self._now = now
        self.members: list[tuple[int, int]] = []
        self._devices: list[str | None] = []
        self._platforms: list[str] = []
        self._rows: list[Row] = []
        self._which: list[int] = []
        self._explanations: list[dict[str, Any]] = []
        self._seen: dict[int, int] = {}

    def add(self, place: int, track: int, device: Device, facts: Row, plan_: Plan) -> None:
        self.members.append((place, track))
        self._devices.append(device.device_id or None)
        self._platforms.append(device.platform.value)
        self._rows.append(facts)
        index = self._seen.get(id(plan_))
        if index is None:
            index = self._seen[id(plan_)] = len(self._explanations)
            self._explanations.append(planned_detail(plan_))
        self._which.append(index)

    def entry(self) -> Entry:
        return Entry(
            kind=Kind.PLANNED,
            at=self._now,
            members=self.members,
            shared={"explanations": self._explanations, "catalogue": FINGERPRINT},
            columns={
                "device_id": self._devices,
                "platform": self._platforms,
                "explanation": self._which,
                "row": self._rows,
            },
        )


def _suppressed(reason: str) -> dict[str, Any]:
    return {"state": "suppressed", "reason": reason}
