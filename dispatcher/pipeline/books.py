"""The books: accepted = settled + open, per class, from two stores that do not know of each other (invariant 7)."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, Protocol

from dispatcher.domain.clock import Millis, rfc3339
from dispatcher.domain.delivery import DeliveryState, End
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.messages import StoredHome

PAGE = 200


class Ledger(Protocol):
    """The ledger's half of the books."""

    async def accepted_and_archived(self, at: Millis) -> dict[tuple[str, str], tuple[int, int]]:
        """(accepted, archived) by (app, class), of messages accepted up to *at*."""


async def balance(app: str, ledger: Ledger, parts: Parts, now: Millis) -> dict[str, Any]:
    """``{at, balanced, classes: {class: {accepted, settled, open, missing}}}`` at one cut in time.

    ``missing``: accepted, but neither archived nor in flight; always 0 where nothing was lost. The ledger is asked
    before and after the hot store: what moved from one to the other meanwhile is not missing.
    """
    before = await ledger.accepted_and_archived(now)
    open_: Counter[str] = Counter()
    settled: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    after = 0
    while homes := await parts.messages.open_homes(after, PAGE, unadmitted=True):
        own = {home.home: home for home in homes if home.app == app}
        glances = await parts.homes.glances({number: _places(home) for number, home in own.items()}, plans=False)
        for number, home in own.items():
            states = glances[number].states if number in glances else {}
            _count(home, states, now, open_, settled, waiting)
        after = homes[-1].home
    totals = await ledger.accepted_and_archived(now)
    classes: dict[str, dict[str, int]] = defaultdict(dict)
    for (owner, klass), (accepted, archived) in totals.items():
        if owner != app:
            continue
        pending = open_[klass] + waiting[klass]
        accepted_then, archived_then = before.get((owner, klass), (0, 0))
        here = settled[klass] + pending
        least, most = accepted_then - archived - here, accepted - archived_then - here
        missing = 0 if least <= 0 <= most else min(least, most, key=abs)
        classes[klass] = {
            "accepted": accepted,
            "settled": accepted - pending - missing,
            "open": pending,
            "missing": missing,
        }
    return {
        "at": rfc3339(now),
        "balanced": all(row["missing"] == 0 for row in classes.values()),
        "classes": classes,
    }


def _places(home: StoredHome) -> list[int]:
    return [message.place + offset for message in home.messages for offset in range(len(message.user_ids))]


def _count(
    home: StoredHome,
    states: Mapping[int, DeliveryState],
    now: Millis,
    open_: Counter[str],
    settled: Counter[str],
    waiting: Counter[str],
) -> None:
    for message in home.messages:
        if message.message.accepted_at > now:
            continue
        for offset in range(len(message.user_ids)):
            place = message.place + offset
            if place in home.settled:
                continue
            state = states.get(place)
            if state is None:
                if not message.admitted:  # a recalled one has nothing left to do, though it is archived at its time
                    (settled if message.recalled else waiting)[message.message.klass] += 1
            elif state.end is End.OPEN:
                open_[message.message.klass] += 1
            elif not state.archived:
                settled[message.message.klass] += 1
