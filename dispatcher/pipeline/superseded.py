"""Before an older push of unknown fate is sent again: has a newer one of its collapse key gone to that device?

Then the older one would take the newer one's place on the screen. The newer push wakes the app just as well, and the
app's pull proves both.
"""

from collections import defaultdict
from typing import TYPE_CHECKING

from dispatcher.domain.ids import parse_delivery_id
from dispatcher.domain.paths import VENDOR_PATHS, Path
from dispatcher.pipeline.parts import Parts

if TYPE_CHECKING:
    from dispatcher.pipeline.jobs import Job

LOOKED_AT = 100  #: of the user's newest messages


async def is_superseded(job: "Job", path: Path, parts: Parts) -> bool:
    """Whether a newer message of the same key left for the same device by a vendor path. Without a key never."""
    key, device_id = job.message.collapse_key, job.device.device_id if job.device is not None else ""
    if key is None or path not in VENDOR_PATHS or not device_id:
        return False
    app, user_id = job.claim.app, job.recipient.user_id
    places: dict[int, list[int]] = defaultdict(list)
    for entry in await parts.inboxes.newest(app, user_id, before=None, limit=LOOKED_AT):
        ref = parse_delivery_id(entry.delivery_id) if entry.seq > job.recipient.seq else None
        if ref is not None:
            places[ref.home].append(ref.place)
    for home, found in places.items():
        contents = await parts.homes.contents(home, found)
        if contents is None:
            continue
        alike = [
            place
            for place, recipient in contents.recipients.items()
            if recipient.user_id == user_id and contents.messages[recipient.message].collapse_key == key
        ]
        states = await parts.homes.states(home, alike) if alike else {}
        for place, state in states.items():
            plan = contents.plans.get(place)
            tracks = zip(plan.tracks, state.tracks, strict=False) if plan is not None else ()
            if any(own.device_id == device_id and track.tried and track.path in VENDOR_PATHS for own, track in tracks):
                return True
    return False
