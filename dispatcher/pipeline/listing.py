"""One page of deliveries: what is in flight and what is archived, merged by address.

An address (home, place) never changes and rises with time, so a page's end is the next one's start whatever arrives,
settles or moves from the hot store to the ledger meanwhile: nothing is shown twice, nothing is left out.
"""

from dispatcher.domain.clock import DAY, Millis
from dispatcher.domain.delivery import DeliveryState, End, Phase, Proof
from dispatcher.domain.ids import DeliveryRef, make_home
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.turns import ladder_of
from dispatcher.ports.homes import Contents
from dispatcher.ports.messages import StoredHome, StoredMessage
from dispatcher.ports.operations import ListedDelivery, Listings, Wanted

#: Open homes looked into for one page; beyond it the page ends early and says where to go on.
HOMES_A_PAGE = 40
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
    settled = await listings.settled(
        Wanted(
            app=wanted.app,
            user_id=wanted.user_id,
            device_id=wanted.device_id,
            klass=wanted.klass,
            ends=ends,
            since=wanted.since,
            until=wanted.until,
        ),
        before,
        limit + 1,
    )
    seen = {row.ref for row in settled}
    merged = sorted([*settled, *(row for row in rows if row.ref not in seen)], key=_address, reverse=True)
    if reached is not None:  # what lies deeper than the open ones were looked at belongs to the next page
        merged = [row for row in merged if _address(row) >= (reached.home, reached.place)]
    page = merged[:limit]
    if len(merged) > limit:
        return page, page[-1].ref
    return page, reached


def _address(row: ListedDelivery) -> tuple[int, int]:
    return row.ref.home, row.ref.place


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
    since = make_home(max((wanted.since or 0) - DAY, _EPOCH), 0, 0)
    homes = await listings.open_homes(wanted.app, before.home, since, HOMES_A_PAGE + 1)
    rows: list[ListedDelivery] = []
    for position, home in enumerate(homes):
        if position == HOMES_A_PAGE or len(rows) > limit:
            return rows, DeliveryRef(homes[position - 1], 0)
        stored = await parts.messages.open_homes(home - 1, 1, unadmitted=True)
        if stored and stored[0].home == home:
            rows += await _of_home(stored[0], parts, wanted, states, before, now)
    return rows, None


_EPOCH: Millis = 1_704_067_200_000  #: before it no home was made


async def _of_home(
    home: StoredHome, parts: Parts, wanted: Wanted, states: frozenset[str] | None, before: DeliveryRef, now: Millis
) -> list[ListedDelivery]:
    places = _places(home, wanted, before)
    if not places:
        return []
    known = await parts.homes.states(home.home, list(places))
    contents = await parts.homes.contents(home.home, list(places)) if known else None
    rows = []
    for place, (message, user_id) in places.items():
        state = known.get(place)
        word = "open"
        if message.recalled:
            word = "recalled"
        elif state is None:
            word = "scheduled" if not message.admitted and message.due > now else "open"
        elif state.end is not End.OPEN:
            word = state.end.name.lower()
        elif state.tracks and all(track.cursor.phase is Phase.HELD for track in state.tracks):
            word = "held"
        if states is not None and word not in states:
            continue
        row = _row(DeliveryRef(home.home, place), message, user_id, word, state, contents)
        if wanted.device_id is None or wanted.device_id in row.devices:
            rows.append(row)
    return rows


def _places(home: StoredHome, wanted: Wanted, before: DeliveryRef) -> dict[int, tuple[StoredMessage, str]]:
    """Places of *home* that may be wanted."""
    found: dict[int, tuple[StoredMessage, str]] = {}
    for message in home.messages:
        accepted = message.message.accepted_at
        if wanted.klass not in {None, message.message.klass}:
            continue
        if accepted < (wanted.since or 0) or (wanted.until is not None and accepted >= wanted.until):
            continue
        for offset, user_id in enumerate(message.user_ids):
            place = message.place + offset
            below = (home.home, place) < (before.home, before.place)
            if below and place not in home.settled and wanted.user_id in {None, user_id}:
                found[place] = (message, user_id)
    return found


def _row(
    ref: DeliveryRef,
    message: StoredMessage,
    user_id: str,
    word: str,
    state: DeliveryState | None,
    contents: Contents | None,
) -> ListedDelivery:
    plan = contents.plans.get(ref.place) if contents is not None else None
    ladder = ladder_of(plan.ladders[plan.tracks[0].ladder]) if plan and plan.tracks else None
    return ListedDelivery(
        ref=ref,
        user_id=user_id,
        message_id=message.message.message_id,
        klass=message.message.klass,
        state=word,
        proof=state.proof if state is not None else Proof.NONE,
        confirmed_by=state.confirmed_by if state is not None else None,
        confirmed_at=state.confirmed_at if state is not None else None,
        accepted_at=message.message.accepted_at,
        strategy=ladder.strategy if ladder else None,
        version=ladder.version if ladder else None,
        rule=ladder.rule if ladder else None,
        platform=plan.tracks[0].platform if plan and plan.tracks else None,
        devices=[track.device_id for track in plan.tracks if track.device_id] if plan else (),
    )
