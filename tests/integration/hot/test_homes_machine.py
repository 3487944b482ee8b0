"""The Lua state held against the domain's tables in memory, by any sequence of claims, settlements, receipts and ends.

The model says what must be; the scripts run on a real server. After every step all states agree, and every member that
is open stands in some wave (invariant 2).
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

import redis
from hypothesis import Phase as Stage
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from dispatcher.domain.delivery import Cursor, End, Event, IllegalTransition, Phase, Proof, TrackState, move, sms_due
from dispatcher.domain.ids import DeliveryRef, device_hash, make_home
from dispatcher.domain.message import Lane, Message, Priority
from dispatcher.domain.paths import Path
from dispatcher.domain.plan import DeliveryPlan, TrackPlan
from dispatcher.domain.receipt import Receipt
from dispatcher.embedded.servers import Servers
from dispatcher.hot.homes import RedisHomes
from dispatcher.hot.store import HotStore
from dispatcher.ports.homes import (
    NO_TRACK,
    Admission,
    Claim,
    Members,
    Move,
    Planned,
    Queue,
    Recipient,
    Settlement,
    Wave,
)

NOW = 1_800_000_000_000
LEASE = 10_000
LANE = Lane.INTERACTIVE
SWEEP, PLAN, SMS = Queue("sweep", LANE), Queue("plan", LANE), Queue(Path.SMS, LANE)
PATHS = (Path.LONGCONN, Path.APNS, Path.SMS)
PLACES = st.integers(0, 2)
Result = TypeVar("Result")
QUICK = settings(
    max_examples=60, stateful_step_count=25, deadline=None, phases=[Stage.reuse, Stage.generate, Stage.shrink]
)
_prefixes = count()


@dataclass
class Delivery:
    """What one delivery must look like."""

    end: End = End.OPEN
    proof: Proof = Proof.NONE
    by: Path | None = None
    each: bool = False
    planned: bool = False
    archived: bool = False
    tracks: list[TrackState] = field(default_factory=list)
    proven_by: dict[int, Path] = field(default_factory=dict)

    def finish(self, end: End) -> None:
        self.end = max(self.end, end)

    def confirm(self, path: Path) -> None:
        if self.by is None:
            self.by = path
            self.finish(End.CONFIRMED)

    def receive(self, event: Proof, track: int | None, via: Path | None) -> None:
        own = self.tracks[track] if track is not None else None
        until = own.until if own is not None and via is not Path.SMS else Proof.DELIVERED
        path = via or (own.path if own is not None else None) or Path.POLL
        if event > (own.proof if own is not None else self.proof):
            if own is not None and track is not None:
                self.tracks[track] = replace(own, proof=event)
                self.proven_by.setdefault(track, path)
            self.proof = max(self.proof, event)
        rest = [one for one in self.tracks if not one.stands_still] if self.each else []
        if event >= until and not rest and self.end is not End.SUPPRESSED:
            self.confirm(path)

    def look(self) -> int | None:
        """After a settlement touched it: confirmed, exhausted, or the track whose SMS is due now."""
        if self.end is not End.OPEN or not all(track.stands_still for track in self.tracks):
            return None
        proven = [index for index, track in enumerate(self.tracks) if track.is_proven]
        if proven:
            self.confirm(self.proven_by[proven[0]])
            return None
        due = sms_due(tuple(self.tracks))
        if due is None:
            self.finish(End.EXHAUSTED)
        else:
            track = self.tracks[due]
            self.tracks[due] = replace(track, cursor=Cursor(track.cursor.step, track.cursor.attempt, Phase.READY))
        return due


class Homes(RuleBasedStateMachine):
    """One home of three deliveries, in the hands of workers, phones and operators."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.hot = HotStore(self.url, shards=1, prefix=f"m{next(_prefixes)}:", connections=2)
        self.homes = RedisHomes(self.hot)
        self.now = NOW
        self.home = make_home(NOW, 1, 0)
        self.model = {place: Delivery() for place in range(3)}
        self.claims: list[tuple[Claim, int, int]] = []  # claim, place, track: in some worker's hands
        self.dropped = False

    def teardown(self) -> None:
        self.run(self.hot.close())
        self.runner.close()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    @initialize()
    def admitted(self) -> None:
        message = Message(
            app="im",
            message_id="cm",
            klass="chat",
            priority=Priority.NORMAL,
            body=b"",
            accepted_at=NOW,
            expires_at=NOW + 3_600_000,
        )
        recipients = [Recipient(place=at, message=0, user_id=f"u{at}", seq=1, prev_seq=0) for at in self.model]
        admission = Admission(
            home=self.home, app="im", lane=LANE, messages={0: message}, recipients=recipients, due=NOW, size=3
        )
        self.run(self.homes.admit(admission, NOW))
        self.run(self.homes.admit(admission, NOW))  # repeating it changes nothing

    @rule(ms=st.sampled_from([1, 250, 3_000, LEASE, 60_000]))
    def time_goes_on(self, ms: int) -> None:
        self.now += ms

    @rule(queue=st.sampled_from([PLAN, SWEEP, *(Queue(path, LANE) for path in PATHS)]), limit=st.integers(1, 5))
    def a_worker_claims(self, queue: Queue, limit: int) -> None:
        claims = self.run(self.homes.claim(queue, self.now, limit=limit, lease_ms=LEASE))
        members = [(claim, *member) for claim in claims for member in claim.members.members]
        assert len(members) <= limit
        assert len({member[1:] for member in members}) == len(members) or queue == SWEEP
        for claim, place, track in members:
            delivery, cursor = self.model[place], claim.members.cursor
            assert delivery.end is End.OPEN
            assert claim.due <= self.now
            if cursor.phase is Phase.PLAN:
                assert not delivery.planned
                assert track == NO_TRACK
            else:
                own = delivery.tracks[track]
                assert own.cursor == cursor
                assert own.proof < own.until
                if queue not in {PLAN, SWEEP}:
                    moved = Cursor(cursor.step, cursor.attempt, move(cursor.phase, Event.CLAIMED))
                    delivery.tracks[track] = replace(own, cursor=moved)
        self.claims += members

    def settle(self, settlement: Settlement, touched: Sequence[int]) -> None:
        before = {place: delivery.end for place, delivery in self.model.items()}
        settled = self.run(self.homes.settle(settlement, self.now))
        due = [(place, self.model[place].look()) for place in touched]
        assert sorted(settled.sms_due) == sorted((place, track) for place, track in due if track is not None)
        ended = {at: one.end for at, one in self.model.items() if before[at] is End.OPEN and one.end is not End.OPEN}
        assert dict(settled.ended) == ended

    def settlement(self, **parts: Any) -> Settlement:
        return Settlement(home=self.home, app="im", lane=LANE, journal=[b"entry"], **parts)

    @precondition(lambda self: any(claim.members.cursor.phase is Phase.PLAN for claim, *_ in self.claims))
    @rule(
        data=st.data(),
        starts=st.lists(st.sampled_from([Phase.READY, Phase.PARKED, Phase.HELD, Phase.DONE]), min_size=1, max_size=3),
        until=st.sampled_from([Proof.DELIVERED, Proof.DISPLAYED]),
        each=st.booleans(),
    )
    def a_planner_settles(self, data: st.DataObject, starts: list[Phase], until: Proof, each: bool) -> None:
        _, place, _ = data.draw(
            st.sampled_from([one for one in self.claims if one[0].members.cursor.phase is Phase.PLAN])
        )
        delivery = self.model[place]
        cursors = [Cursor(0, 0, phase) for phase in starts]
        tracks = tuple(
            TrackPlan(device_id=f"{place}-{at}", epoch=1, platform="ios", ladder=0) for at in range(len(starts))
        )
        planned = Planned(
            place=place,
            plan=DeliveryPlan(ladders=(b"x",), tracks=tracks, each=each),
            starts=cursors,
            untils=[until] * len(starts),
        )
        waves = [self.wave(place, at, cursor) for at, cursor in enumerate(cursors) if cursor.phase is not Phase.DONE]
        fresh = delivery.end is End.OPEN and not delivery.planned
        if fresh:
            delivery.planned, delivery.each = True, each
            delivery.tracks = [
                TrackState(
                    proof=Proof.NONE,
                    cursor=cursor,
                    until=until,
                    tried=False,
                    path=None,
                    device_hash=device_hash(f"{place}-{at}"),
                    attempted_at=None,
                )
                for at, cursor in enumerate(cursors)
            ]
        self.settle(self.settlement(planned=[planned], waves=waves), [place] if fresh else [])

    def wave(self, place: int, track: int, cursor: Cursor) -> Wave:
        queue = Queue(PATHS[cursor.step % 2], LANE) if cursor.phase is Phase.READY else SWEEP
        delay = 0 if cursor.phase is Phase.READY and not cursor.attempt else 2_000
        return Wave(queue=queue, due=self.now + delay, members=Members(self.home, cursor, ((place, track),)))

    @precondition(lambda self: any(claim.members.cursor.phase is not Phase.PLAN for claim, *_ in self.claims))
    @rule(
        data=st.data(),
        event=st.sampled_from([one for one in Event if one not in {Event.CLAIMED, Event.SMS_DUE}]),
        until=st.sampled_from([Proof.DELIVERED, Proof.DISPLAYED]),
    )
    def a_worker_settles_however_late(self, data: st.DataObject, event: Event, until: Proof) -> None:
        """From the cursor it claimed at, which may have moved on: then nothing may change."""
        claim, place, track = data.draw(
            st.sampled_from([one for one in self.claims if one[0].members.cursor.phase is not Phase.PLAN])
        )
        held = claim.members.cursor
        sends = claim.queue not in {PLAN, SWEEP}
        before = Cursor(held.step, held.attempt, Phase.SENDING if sends else held.phase)
        try:
            phase = move(before.phase, event)
        except IllegalTransition:
            return
        onward = event in {Event.FAILED, Event.TIMED_OUT, Event.ARRIVED_AT_SMS}
        step = min(before.step + 1, 200) if onward else before.step
        attempt = 0 if onward else min(before.attempt + (event is Event.RETRY), 200)
        after = Cursor(step, attempt, phase)
        path = PATHS[before.step % 2] if sends else None
        change = Move(
            place=place,
            track=track,
            before=before,
            after=after,
            until=until,
            path=path,
            tried=path is not None,
            attempted_at=self.now if path else None,
        )
        waves = [self.wave(place, track, after)] if phase is not Phase.DONE else []
        delivery = self.model[place]
        own = delivery.tracks[track]
        matches = own.cursor == before
        if matches:
            own = replace(own, cursor=after, until=until, path=path or own.path, tried=own.tried or path is not None)
            delivery.tracks[track] = replace(own, attempted_at=self.now) if path else own
        ended = delivery.end
        if matches and own.is_proven and delivery.end is End.OPEN and not delivery.each:
            delivery.confirm(delivery.proven_by[track])
        settled = self.run(self.homes.settle(self.settlement(moves=[change], waves=waves), self.now))
        assert (settled.moved, settled.lost) == ((1, 0) if matches else (0, 1))
        due = delivery.look() if matches else None
        assert list(settled.sms_due) == ([(place, due)] if due is not None else [])
        assert dict(settled.ended) == ({place: delivery.end} if ended is End.OPEN and delivery.end else {})

    @precondition(lambda self: not self.dropped)
    @rule(
        places=st.lists(PLACES, min_size=1, max_size=4),
        event=st.sampled_from([Proof.DELIVERED, Proof.DISPLAYED, Proof.OPENED]),
        device=st.sampled_from([None, 0, 1, 2, 9]),
        via=st.sampled_from([None, Path.LONGCONN, Path.POLL, Path.SMS]),
    )
    def receipts_arrive(self, places: list[int], event: Proof, device: int | None, via: Path | None) -> None:
        receipts = []
        for place in places:
            name = None if device is None else f"{place}-{device}"
            receipts.append(
                Receipt(delivery=DeliveryRef(self.home, place), event=event, at=self.now, via=via, device_id=name)
            )
        applied = self.run(self.homes.apply(receipts, self.now))
        for place, result in zip(places, applied, strict=True):
            delivery = self.model[place]
            before, held = delivery.end, delivery.proof
            known = device if device is not None and device < len(delivery.tracks) else None
            delivery.receive(event, known, via)
            assert result.known
            assert result.confirmed is (before < End.CONFIRMED <= delivery.end)
            assert result.late is (before in {End.EXPIRED, End.EXHAUSTED} and delivery.end is End.CONFIRMED)
            assert result.archived is delivery.archived
            if event > held:
                assert result.new

    @precondition(lambda self: not self.dropped)
    @rule(place=PLACES, end=st.sampled_from([End.RECALLED, End.SUPPRESSED]))
    def it_is_ended_from_outside(self, place: int, end: End) -> None:
        was_open = self.model[place].end is End.OPEN
        assert self.run(self.homes.end([DeliveryRef(self.home, place)], end, self.now)) == [was_open]
        self.model[place].finish(end)

    @rule(place=PLACES)
    def its_time_is_up(self, place: int) -> None:
        delivery = self.model[place]
        lost = self.dropped or delivery.end is not End.OPEN
        settled = self.run(self.homes.settle(self.settlement(ends={place: End.EXPIRED}), self.now))
        if lost:
            assert not settled.ended
            return
        proven = [index for index, track in enumerate(delivery.tracks) if track.is_proven]
        if proven:
            delivery.confirm(delivery.proven_by[proven[0]])
        else:
            delivery.finish(End.EXPIRED)
        assert dict(settled.ended) == {place: delivery.end}

    @precondition(lambda self: not self.dropped)
    @rule(late=st.booleans(), twice=st.booleans())
    def the_archive_comes_by(self, late: bool, twice: bool) -> None:
        taken = self.run(self.homes.take_settled(0, 100))
        refs = taken.refs
        waiting = {at for at, one in self.model.items() if one.end is not End.OPEN and not one.archived}
        assert {ref.place for ref in refs} == waiting
        if not taken.entries:
            return
        seen = {ref: (self.model[ref.place].end, self.model[ref.place].proof) for ref in refs}
        if late:  # proof comes between the archiver's read and its mark
            receipt = Receipt(delivery=refs[0], event=Proof.OPENED, at=self.now, via=Path.POLL)
            self.run(self.homes.apply([receipt], self.now))
            self.model[refs[0].place].receive(Proof.OPENED, None, Path.POLL)
        gone = self.run(self.homes.archived(0, taken, seen))
        for ref, stood in seen.items():
            delivery = self.model[ref.place]
            delivery.archived = delivery.archived or stood == (delivery.end, delivery.proof)
        self.dropped = all(one.archived for one in self.model.values())
        assert gone == ([self.home] if self.dropped else [])
        if twice:  # the answer was lost and the call is made again
            assert self.run(self.homes.archived(0, taken, seen)) == []

    @invariant()
    def states_agree(self) -> None:
        states = self.run(self.homes.states(self.home, [0, 1, 2]))
        if self.dropped:
            assert states == {}
            return
        for place, delivery in self.model.items():
            state = states[place]
            assert (state.end, state.proof, state.confirmed_by) == (delivery.end, delivery.proof, delivery.by)
            assert (state.planned, state.archived) == (delivery.planned, delivery.archived)
            assert list(state.tracks) == delivery.tracks

    @invariant()
    def every_open_member_stands_in_a_wave(self) -> None:
        standing = self.run(self.homes.standing(0)).get(self.home, frozenset())
        for place, delivery in self.model.items():
            if delivery.end is not End.OPEN:
                continue
            if not delivery.planned:
                assert (place, NO_TRACK, Cursor(0, 0, Phase.PLAN)) in standing
            for index, track in enumerate(delivery.tracks):
                if track.cursor.phase is not Phase.DONE and not track.is_proven:
                    assert (place, index, track.cursor) in standing

    @invariant()
    def nothing_open_stands_still_for_good(self) -> None:
        """An open delivery has somebody who will look at it again."""
        for delivery in self.model.values():
            if delivery.end is End.OPEN and delivery.planned:
                assert any(not one.is_proven and one.cursor.phase is not Phase.DONE for one in delivery.tracks)


def test_the_scripts_do_what_the_domain_says(servers: Servers) -> None:
    Homes.url = servers.hot_store.url(2)
    with redis.Redis.from_url(Homes.url) as client:
        client.flushdb()
    run_state_machine_as_test(Homes, settings=QUICK)
