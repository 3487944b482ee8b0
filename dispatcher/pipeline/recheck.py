"""Just before the write: what was claimed a while ago is looked at again (invariants 4 and 10)."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import DeliveryState, End
from dispatcher.domain.device import Profile
from dispatcher.pipeline.parts import Parts

if TYPE_CHECKING:
    from dispatcher.pipeline.jobs import Job

STALE: Millis = 250  #: a claim younger than this is trusted


async def recheck(jobs: "Sequence[Job]", parts: Parts) -> "list[Job]":
    """Those of *jobs* that still are to be sent, with their user's devices as they are bound now.

    Proven, ended and re-claimed ones are left out: nothing is due to them any more.
    """
    if parts.clock() - min(job.now for job in jobs) <= STALE:
        return list(jobs)
    places: dict[int, list[int]] = defaultdict(list)
    users: dict[str, set[str]] = defaultdict(set)
    for job in jobs:
        places[job.claim.members.home].append(job.place)
        users[job.claim.app].add(job.recipient.user_id)
    states = {home: await parts.homes.states(home, found) for home, found in places.items()}
    profiles = {app: await parts.profiles.get(app, sorted(names)) for app, names in users.items()}
    kept = []
    for job in jobs:
        if _is_due(job, states[job.claim.members.home].get(job.place)):
            _rebind(job, profiles[job.claim.app][job.recipient.user_id])
            kept.append(job)
    return kept


def _is_due(job: "Job", state: DeliveryState | None) -> bool:
    if state is None or state.end is not End.OPEN or job.track >= len(state.tracks):
        return False
    track = state.tracks[job.track]
    return track.cursor == job.before and not track.is_proven


def _rebind(job: "Job", profile: Profile) -> None:
    job.profile = profile
    if job.device is not None and job.device.device_id:
        device = profile.device(job.device.device_id)
        job.device = device if device is not None and device.epoch == job.device.epoch else None
