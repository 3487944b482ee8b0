"""One page of deliveries: what is in flight and what is archived, merged by address.

An address (home, place) never changes and rises with time, so a page's end is the next one's start whatever arrives,
settles or moves from the hot store to the ledger meanwhile: nothing is shown twice, nothing is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import DeliveryState, End, Phase, Proof
from dispatcher.domain.ids import DeliveryRef
from dispatcher.domain.plan import DeliveryPlan
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.turns import ladder_of
from dispatcher.ports.operations import ListedDelivery, Listings, OpenMessage, Wanted

#: Open homes looked into for one page; beyond it the page ends early and says where to go on.
HOMES_A_PAGE = 40
#: Where one user is asked for, few of a home's messages are read.
HOMES_OF_USER = 400
_FIRST = DeliveryRef(2**63 - 1, 0xFFFF)
_WORDS = {end.name.lower(): end for end in End if end is not End.OPEN}


async def listed(
    listings: Listings,
    parts: Parts,
    wanted: Wanted,
    states: frozenset[str] | None,
    before: DeliveryRef | None,
    limit: int,
    now: Millis,
) -> tuple[list[ListedDelivery], DeliveryRef | None]:
    """Rows below *before*, newest first, and from where to go on; None where there is no more."""
    rows, reached = await _open(listings, parts, wanted, states, before or _FIRST, limit, now)
    ends = None if states is None else frozenset(_WORDS[state] for state in states if state in _WORDS)
    settled, deep = await listings.settled(replace(wanted, ends=ends), before, limit + 1)
    reached = max((one for one in (reached, deep) if one is not None), key=_position, default=None)
    seen = {row.ref for row in settled}
    merged = sorted([*settled, *(row for row in rows if row.ref not in seen)], key=_address, reverse=True)
    if reached is not None:  # what lies deeper than both were looked at belongs to the next page
        merged = [row for row in merged if _address(row) >= _position(reached)]
    page = merged[:limit]
    if len(merged) > limit:
        return page, page[-1].ref
    return page, reached


def _address(row: ListedDelivery) -> tuple[int, int]:
    return _position(row.ref)


def _position(ref: DeliveryRef) -> tuple[int, int]:
    return ref.home, ref.place


async def _open(
    listings: Listings,
    parts: Parts,
    wanted: Wanted,
    states: frozenset[str] | None,
    before: DeliveryRef,
    limit: int,
    now: Millis,
) -> tuple[list[ListedDelivery], DeliveryRef | None]:
    """Deliveries that are not archived, and how deep was looked where that was not all."""
    homes = HOMES_A_PAGE if wanted.user_id is None else HOMES_OF_USER
    messages, oldest = await listings.open_messages(wanted, before, homes)
    rows: list[ListedDelivery] = []
    for group in _in_turns(messages, limit):
        places: dict[int, list[int]] = {}
        for message in group:
            places.setdefault(message.home, []).extend(message.places)
        glances = await parts.homes.glances(places, plans=True)
        for message in group:
            glance = glances.get(message.home)
            for place in message.places:
                state = glance.states.get(place) if glance is not None else None
                word = _word(message, state, now)
                if states is None or word in states:
                    row = _row(message, place, word, state, glance.plans.get(place) if glance is not None else None)
                    if wanted.device_id is None or wanted.device_id in row.devices:
                        rows.append(row)
        if len(rows) > limit:
            return rows, DeliveryRef(group[-1].home, 0)
    return rows, DeliveryRef(oldest, 0) if oldest is not None else None


def _in_turns(messages: Sequence[OpenMessage], limit: int) -> Iterator[list[OpenMessage]]:
    """Whole homes, newest first: as many as may fill the page, then ever more."""
    group: list[OpenMessage] = []
    candidates, enough = 0, limit + 1
    for _, own in groupby(messages, key=lambda message: message.home):
        group += own
        candidates = sum(len(message.places) for message in group)
        if candidates >= enough:
            yield group
            group, enough = [], enough * 4
    if group:
        yield group


def _word(message: OpenMessage, state: DeliveryState | None, now: Millis) -> str:
    if message.recalled:
        return "recalled"
    if state is None:
        return "scheduled" if not message.admitted and message.due > now else "open"
    if state.end is not End.OPEN:
        return state.end.name.lower()
    return "held" if state.tracks and all(track.cursor.phase is Phase.HELD for track in state.tracks) else "open"


def _row(
    message: OpenMessage, place: int, word: str, state: DeliveryState | None, plan: DeliveryPlan | None
) -> ListedDelivery:
    ladder = ladder_of(plan.ladders[plan.tracks[0].ladder]) if plan and plan.tracks else None
    return ListedDelivery(
        ref=DeliveryRef(message.home, place),
        user_id=message.places[place],
        message_id=message.message_id,
        klass=message.klass,
        state=word,
        proof=state.proof if state is not None else Proof.NONE,
        confirmed_by=state.confirmed_by if state is not None else None,
        confirmed_at=state.confirmed_at if state is not None else None,
        accepted_at=message.accepted_at,
        strategy=ladder.strategy if ladder else None,
        version=ladder.version if ladder else None,
        rule=ladder.rule if ladder else None,
        platform=plan.tracks[0].platform if plan and plan.tracks else None,
        devices=[track.device_id for track in plan.tracks if track.device_id] if plan else (),
    )
