"""The running audit: every open member stands in a wave with a deadline (invariant 2). What does not is put back.

A member between two scripts may look lost for a moment, so only what two looks a little apart both miss, with the same
cursor, is repaired.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.delivery import Cursor, End, Phase
from dispatcher.domain.ids import home_created, shard_of
from dispatcher.pipeline.admit import admit_home
from dispatcher.pipeline.jobs import Job, gather_jobs
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.turns import path_at
from dispatcher.ports.homes import NO_TRACK, Claim, Members, Queue, Settlement, Wave
from dispatcher.ports.messages import StoredHome

SETTLING: Millis = 30 * SECOND  #: younger homes are left alone
APART_S = 1.0
PAGE = 200
_UNPLANNED = Cursor(0, 0, Phase.PLAN)
_log = logging.getLogger(__name__)

Lost = Mapping[int, frozenset[tuple[int, int, Cursor]]]


async def audit(parts: Parts, shards: int, now: Millis, *, apart_s: float = APART_S) -> int:
    """Repairs partial loss; answers how many members and homes that were."""
    repaired = after = 0
    while homes := await parts.messages.open_homes(after, PAGE):
        after = homes[-1].home
        await _close(homes, parts, now)
        settled = [home for home in homes if home_created(home.home) < now - SETTLING]
        first, gone = await _missing(settled, parts, shards)
        if not first and not gone:
            continue
        await asyncio.sleep(apart_s)
        second, still_gone = await _missing(settled, parts, shards)
        for stored in settled:
            if stored.home in gone & still_gone:
                repaired += await _admit_again(stored, parts)
                continue
            lost = first.get(stored.home, frozenset()) & second.get(stored.home, frozenset())
            if lost:
                _log.warning("members stood in no wave", extra={"home": f"{stored.home:016x}", "members": len(lost)})
                await _put_back(stored, sorted(lost, key=lambda one: one[:2]), parts, parts.clock())
                repaired += len(lost)
    return repaired


def _places(stored: StoredHome) -> list[int]:
    """Places that the ledger holds for open."""
    return [
        message.place + offset
        for message in stored.messages
        for offset in range(len(message.user_ids))
        if message.place + offset not in stored.settled
    ]


async def _close(homes: Sequence[StoredHome], parts: Parts, now: Millis) -> None:
    """Homes of which all is archived, but whose archiver died before it could say so."""
    done = [home.home for home in homes if home.messages and not _places(home)]
    if done:
        await parts.deliveries.close_homes(done, now)


async def _admit_again(stored: StoredHome, parts: Parts) -> int:
    """Read anew: it may be gone because it was archived just now, and must not be sent a second time."""
    fresh = await parts.messages.open_homes(stored.home - 1, 1)
    if not fresh or fresh[0].home != stored.home or not _places(fresh[0]):
        return 0
    _log.warning("a home was missing and is admitted again", extra={"home": f"{stored.home:016x}"})
    await admit_home(fresh[0], parts, parts.clock())
    return 1


async def _missing(homes: Sequence[StoredHome], parts: Parts, shards: int) -> tuple[Lost, frozenset[int]]:
    standing: dict[int, frozenset[tuple[int, int, Cursor]]] = {}
    for shard in sorted({shard_of(home.home) for home in homes}):
        standing.update(await parts.homes.standing(shard))
    lost: dict[int, frozenset[tuple[int, int, Cursor]]] = {}
    gone = set()
    for home in homes:
        places = _places(home)
        if not places:
            continue
        states = await parts.homes.states(home.home, places)
        if not states:
            gone.add(home.home)
            continue
        wanted = set()
        for place, state in states.items():
            if state.end is not End.OPEN:
                continue
            if not state.planned:
                wanted.add((place, NO_TRACK, _UNPLANNED))
            wanted.update(
                (place, index, track.cursor)
                for index, track in enumerate(state.tracks)
                if track.cursor.phase is not Phase.DONE and track.proof < track.until
            )
        missing = wanted - standing.get(home.home, frozenset())
        if missing:
            lost[home.home] = frozenset(missing)
    return lost, frozenset(gone)


async def _put_back(stored: StoredHome, lost: Sequence[tuple[int, int, Cursor]], parts: Parts, now: Millis) -> None:
    by_cursor: dict[Cursor, list[tuple[int, int]]] = defaultdict(list)
    for place, track, cursor in lost:
        by_cursor[cursor].append((place, track))
    waves: list[Wave] = []
    for cursor, members in by_cursor.items():
        group = Members(stored.home, cursor, tuple(members))
        if cursor.phase is Phase.PLAN:
            waves.append(Wave(queue=Queue("plan", stored.lane), due=now, members=group))
        elif cursor.phase is Phase.READY:
            waves += await _ready_waves(stored, group, parts, now)
        else:
            waves.append(Wave(queue=Queue("sweep", stored.lane), due=now, members=group))
    await parts.homes.settle(Settlement(home=stored.home, app=stored.app, lane=stored.lane, waves=waves), now)


async def _ready_waves(stored: StoredHome, group: Members, parts: Parts, now: Millis) -> list[Wave]:
    queue = Queue("sweep", stored.lane)
    claim = Claim(app=stored.app, queue=queue, members=group, due=now, lane=stored.lane)
    jobs: list[Job] = await gather_jobs([claim], parts, now)
    by_path: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for job in jobs:
        path = path_at(job.ladder, job.before.step, job.row)
        by_path[path.value if path is not None else "sweep"].append((job.place, job.track))
    return [
        Wave(queue=Queue(name, stored.lane), due=now, members=Members(stored.home, group.cursor, tuple(members)))
        for name, members in by_path.items()
    ]
