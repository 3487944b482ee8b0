"""Invariant 9: no evidence is not non-delivery. While receipts cannot be heard, SMS steps wait."""

import logging

from dispatcher.domain.clock import Millis
from dispatcher.hot.store import HotStore

_log = logging.getLogger(__name__)


class RedisHold:
    """One moment, shared by all processes: until then silence proves nothing."""

    def __init__(self, store: HotStore) -> None:
        self._store = store
        self._key = store.key("hold:sms")

    async def held_until(self, now: Millis) -> Millis:
        """0, or until when no SMS step may conclude anything from silence."""
        until = int(await self._store.client.get(self._key) or 0)
        return until if until > now else 0

    async def hold(self, until: Millis, reason: str) -> None:
        """Holds until then; a longer hold stands."""
        if int(await self._store.client.get(self._key) or 0) < until:
            _log.warning("SMS steps hold", extra={"reason": reason, "until": until})
            await self._store.client.set(self._key, until, pxat=until + 1)
