"""The port :class:`~dispatcher.ports.credential_checks.CredentialChecks`: a hash ``checked:<app>``, a field a path."""

from collections.abc import Mapping

import msgspec

from dispatcher.domain.paths import Path
from dispatcher.hot.store import HotStore
from dispatcher.ports.credential_checks import Check

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Check).decode


class RedisCredentialChecks:
    """Kept until the credentials are dropped."""

    def __init__(self, store: HotStore) -> None:
        self._store = store

    def _key(self, app: str) -> str:
        return self._store.key(f"checked:{app}")

    async def checked(self, app: str, path: Path, check: Check) -> None:
        """See the port."""
        await self._store.client.hset(self._key(app), path.value, _encode(check))

    async def checks(self, app: str) -> Mapping[Path, Check]:
        """See the port."""
        found = await self._store.client.hgetall(self._key(app))
        return {Path(path.decode()): _decode(value) for path, value in found.items()}

    async def forget(self, app: str, path: Path) -> None:
        """See the port."""
        await self._store.client.hdel(self._key(app), path.value)
