"""The port :class:`~dispatcher.ports.carrier_health.CarrierHealth`: a hash ``carriers:<app>``, a field a carrier.

Two workers that see the same carrier fail may both double its rest or only one may: either is right. Fails open.
"""

import logging
from collections.abc import Mapping

import msgspec
from redis.exceptions import RedisError

from dispatcher.domain.clock import HOUR, Millis
from dispatcher.hot.store import HotStore
from dispatcher.ports.carrier_health import Rest, after_failure

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Rest).decode
_log = logging.getLogger(__name__)


class RedisCarrierHealth:
    """Of one app."""

    def __init__(self, store: HotStore, app: str) -> None:
        self._store = store
        self._app = app
        self._key = store.key(f"carriers:{app}")

    async def rests(self, now: Millis) -> Mapping[str, Rest]:
        """See the port."""
        try:
            found = await self._store.client.hgetall(self._key)
        except RedisError:
            return {}
        return {name.decode(): _decode(value) for name, value in found.items()}

    async def failed(self, carrier: str, reason: str, now: Millis, *, at_least: Millis) -> None:
        """See the port."""
        try:
            stored = await self._store.client.hget(self._key, carrier)
            before = None if stored is None else _decode(stored)
            rest = after_failure(before, reason, now, at_least)
            pipe = self._store.client.pipeline(transaction=False)
            pipe.hset(self._key, carrier, _encode(rest))
            pipe.pexpire(self._key, rest.until - now + HOUR)
            await pipe.execute()
        except RedisError:
            return
        if before is None:
            _log.error("a carrier rests", extra={"app": self._app, "carrier": carrier, "reason": reason})

    async def did_well(self, carrier: str) -> None:
        """See the port."""
        try:
            if await self._store.client.hdel(self._key, carrier):
                _log.warning("a carrier is well again", extra={"app": self._app, "carrier": carrier})
        except RedisError:
            return

    async def forget(self) -> None:
        """Their credentials were changed: all start anew."""
        await self._store.client.delete(self._key)
