"""Held steps asked again: a user's zone or quiet hours changed, so what waits for their end is due now."""

from collections import defaultdict

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Cursor, End, Phase
from dispatcher.domain.ids import parse_delivery_id
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.homes import Members

#: So many of the user's newest messages are looked at; the others are asked when their old end comes.
LOOKED_AT = 200


async def ask_again(app: str, user_id: str, parts: Parts, now: Millis) -> int:
    """Makes the user's held members due; the sweep decides by the new hours. How many there were."""
    places: dict[int, list[int]] = defaultdict(list)
    for entry in await parts.inboxes.newest(app, user_id, before=None, limit=LOOKED_AT):
        ref = parse_delivery_id(entry.delivery_id)
        if ref is not None:
            places[ref.home].append(ref.place)
    asked = 0
    for home, own in places.items():
        held: dict[Cursor, list[tuple[int, int]]] = defaultdict(list)
        for place, state in (await parts.homes.states(home, own)).items():
            for track, one in enumerate(state.tracks):
                if state.end is End.OPEN and one.cursor.phase is Phase.HELD:
                    held[one.cursor].append((place, track))
        if not held:
            continue
        contents = await parts.homes.contents(home, own)
        if contents is not None:
            for cursor, members in held.items():
                await parts.homes.hasten(contents.app, contents.lane, Members(home, cursor, tuple(members)), now)
                asked += len(members)
    return asked
