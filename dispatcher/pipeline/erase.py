"""Erasing what is in flight: deliveries end, their content goes, lines close."""

from collections import defaultdict
from collections.abc import Sequence

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import End
from dispatcher.domain.ids import NOBODY, DeliveryRef, parse_delivery_id
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.node_bus import BusFrame

#: More than a hot inbox ever holds of one user.
ALL = 10_000


async def in_flight_of(app: str, user_id: str, parts: Parts) -> list[DeliveryRef]:
    """Deliveries of a user that the hot store knows; those that are not in the inbox any more have ended."""
    entries = await parts.inboxes.newest(app, user_id, before=None, limit=ALL)
    refs = [parse_delivery_id(entry.delivery_id) for entry in entries]
    return [ref for ref in refs if ref is not None]


async def end_in_flight(refs: Sequence[DeliveryRef], user_id: str, parts: Parts, now: Millis) -> int:
    """Ends what is open, forgets whose it was, and empties messages that were for nobody else; how many ended."""
    ended = 0
    by_home: dict[int, set[int]] = defaultdict(set)
    for ref in refs:
        by_home[ref.home].add(ref.place)
    for home, places in by_home.items():
        states = await parts.homes.states(home, sorted(places))
        open_ = [DeliveryRef(home, place) for place, state in states.items() if state.end is End.OPEN]
        ended += sum(await parts.homes.end(open_, End.RECALLED, now))
        contents = await parts.homes.contents(home, None) if states else None
        if contents is None:
            continue
        own = {place: row for place, row in contents.recipients.items() if place in places and row.user_id == user_id}
        others = {row.message for row in contents.recipients.values() if row.user_id not in {user_id, NOBODY}}
        emptied = {row.message for row in own.values()} - others
        await parts.homes.forget(home, sorted(own), sorted(emptied))
    return ended


async def close_lines(app: str, user_id: str, parts: Parts, now: Millis, *, device_id: str | None = None) -> None:
    """Ends sessions and parked polls of a user's devices, or of one: they do not come back with the same token."""
    lines = (await parts.presences.of_users(app, [user_id], now)).get(user_id, ())
    frames: dict[str, list[BusFrame]] = defaultdict(list)
    for line in lines:
        if device_id is None or line.device_id == device_id:
            frame = BusFrame(kind="moved", app=app, user_id=user_id, device_id=line.device_id, session=line.session)
            frames[line.node].append(frame)
    if frames:
        await parts.bus.send(frames)
