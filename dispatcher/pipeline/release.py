"""When scheduled deliveries of a crowded minute go out: spread over it, so that providers and phones are not flooded.

They are in their inboxes from their ``not_before`` on; what is spread is the planning, and so pushes and texts.
"""

from dispatcher.domain.clock import MINUTE, SECOND, Millis
from dispatcher.domain.message import Lane
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.messages import StoredHome

#: So many deliveries of one minute go at once; only more than that is spread.
AT_ONCE = 2_000
#: At least so many a second: few thousands take seconds, not the whole minute.
A_SECOND = 1_000
#: No delivery waits longer than this part of what is left of its ttl.
SHARE_OF_TTL = 4

_Crowd = tuple[str, Lane, int]


class Release:
    """Gives out moments during one look at what is due. The urgent lane never waits."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._sizes: dict[_Crowd, int] = {}
        self._gone: dict[_Crowd, int] = {}

    async def moment(self, stored: StoredHome, now: Millis) -> Millis:
        """When *stored*, which is due, is planned: *now*, or within the minute after it."""
        scheduled = any(one.message.not_before is not None for one in stored.messages)
        if stored.lane is Lane.URGENT or not scheduled:
            return now
        minute = stored.due // MINUTE
        crowd = (stored.app, stored.lane, minute)
        if crowd not in self._sizes:
            began = minute * MINUTE
            self._sizes[crowd] = await self._parts.messages.sharing(stored.app, stored.lane, began, began + MINUTE)
        before = self._gone.get(crowd, 0)
        self._gone[crowd] = before + stored.size
        left = min((one.message.expires_at for one in stored.messages), default=now) - now
        return now + max(0, min(offset(before, self._sizes[crowd]), left // SHARE_OF_TTL))


def offset(before: int, size: int) -> Millis:
    """How long a delivery waits that has *before* others of its crowd of *size* in front of it; under a minute."""
    if size <= AT_ONCE:
        return 0
    return min(before * SECOND // A_SECOND, before * MINUTE // size)
