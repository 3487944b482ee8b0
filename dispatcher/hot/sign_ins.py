"""Counting failed sign-ins. Fails closed: without the hot store nobody signs in (a guess costs more than a wait)."""

from dispatcher.domain.clock import HOUR, MINUTE, Millis
from dispatcher.hot.store import HotStore

#: (what is counted, how many within, how long): of one person from one place, of one person, of one place.
PAIR, LOGIN, ADDRESS = (8, MINUTE), (60, HOUR), (200, 10 * MINUTE)


class RedisSignIns:
    """Tries that failed, by login and address."""

    def __init__(self, store: HotStore) -> None:
        self._store = store

    def _keys(self, login: str, address: str) -> tuple[str, str, str]:
        key = self._store.key
        return key(f"signin:pair:{login}:{address}"), key(f"signin:login:{login}"), key(f"signin:address:{address}")

    async def begin(self, login: str, address: str) -> Millis:
        """Counts a try as failed until :meth:`succeeded`; answers 0, or how long to wait."""
        pipe = self._store.client.pipeline(transaction=False)
        for key, (_, window) in zip(self._keys(login, address), (PAIR, LOGIN, ADDRESS), strict=True):
            pipe.incr(key)
            pipe.pexpire(key, window, nx=True)
            pipe.pttl(key)
        replies = await pipe.execute()
        waits = [
            int(replies[at * 3 + 2]) for at, (most, _) in enumerate((PAIR, LOGIN, ADDRESS)) if replies[at * 3] > most
        ]
        return max(waits, default=0)

    async def succeeded(self, login: str, address: str) -> None:
        """The person is who they say: their failures are forgotten, the place's only by one."""
        pair, whole, place = self._keys(login, address)
        pipe = self._store.client.pipeline(transaction=False)
        pipe.delete(pair, whole)
        pipe.decr(place)
        await pipe.execute()
