"""Profiles kept hot: read in one go, misses loaded from the ledger, written through by revision."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from dispatcher.domain.device import Profile
from dispatcher.hot.store import HotStore

EXPIRY_S = 24 * 3600
Load = Callable[[str, Sequence[str]], Awaitable[Mapping[str, Profile]]]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Profile).decode


class RedisProfiles:
    """The port :class:`~dispatcher.ports.profiles.Profiles`. *load*: the ledger's directory."""

    def __init__(self, store: HotStore, load: Load) -> None:
        self._store = store
        self._load = load

    async def get(self, app: str, user_ids: Sequence[str]) -> Mapping[str, Profile]:
        if not user_ids:
            return {}
        values = await self._store.client.mget([self._store.user(app, user_id) + "prof" for user_id in user_ids])
        found: dict[str, Profile] = {}
        missing = []
        for user_id, value in zip(user_ids, values, strict=True):
            if value is None:
                missing.append(user_id)
            else:
                found[user_id] = _decode(value[16:])
        if missing:
            loaded = await self._load(app, missing)
            fresh = [loaded.get(user_id) or Profile(app=app, user_id=user_id) for user_id in missing]
            await self.put(fresh)
            found.update({profile.user_id: profile for profile in fresh})
        return found

    async def put(self, profiles: Sequence[Profile]) -> None:
        if profiles:
            keys = [self._store.user(profile.app, profile.user_id) + "prof" for profile in profiles]
            values = [b"%016x" % profile.rev + _encode(profile) for profile in profiles]
            await self._store.run("profile_put", keys, [EXPIRY_S, *values], state=False)
