"""Lists on their way to the ledger: the journal and the settled deliveries of each shard."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from dispatcher.domain.ids import DeliveryRef, shard_of
from dispatcher.hot import codec
from dispatcher.hot.store import HotStore


class HotJournal:
    """The journal half of the port :class:`~dispatcher.ports.homes.Homes`."""

    def __init__(self, store: HotStore) -> None:
        self._store = store

    async def append_journal(self, entries: Sequence[tuple[int, bytes]]) -> None:
        by_shard: dict[int, list[bytes]] = defaultdict(list)
        for home, entry in entries:
            by_shard[shard_of(home)].append(codec.home_bytes(home) + entry)
        pipe = self._store.client.pipeline(transaction=False)
        for shard, rows in by_shard.items():
            pipe.rpush(self._store.tag(shard) + "j", *rows)
        await pipe.execute()

    async def take_journal(self, shard: int, limit: int) -> list[tuple[int, bytes]]:
        rows = await self._store.client.lrange(self._store.tag(shard) + "j", 0, limit - 1)
        return [(codec.HOME.unpack(row[:8])[0], row[8:]) for row in rows]

    async def trim_journal(self, shard: int, count: int) -> None:
        await self._store.client.ltrim(self._store.tag(shard) + "j", count, -1)

    async def journal_of(self, home: int) -> list[bytes]:
        raw = codec.home_bytes(home)
        key = self._store.tag(shard_of(home)) + "j"
        rows = await self._store.client.lrange(key, 0, -1)
        return [row[8:] for row in rows if row[:8] == raw]

    async def take_settled(self, shard: int, limit: int) -> tuple[int, list[DeliveryRef]]:
        rows = await self._store.client.lrange(self._store.tag(shard) + "out", 0, limit - 1)
        refs: list[DeliveryRef] = []
        entries = 0
        for row in rows:
            if refs and len(refs) + len(row) // 2 > 4 * limit:
                break
            (home,) = codec.HOME.unpack(row[:8])
            refs += [DeliveryRef(home, int.from_bytes(row[at : at + 2], "big")) for at in range(8, len(row), 2)]
            entries += 1
        return entries, refs

    async def archived(self, shard: int, entries: int, refs: Sequence[DeliveryRef]) -> list[int]:
        by_home: dict[int, list[bytes]] = defaultdict(list)
        for ref in refs:
            by_home[ref.home].append(ref.place.to_bytes(2, "big"))
        args: list[Any] = [entries]
        for home, places in by_home.items():
            args += (codec.home_bytes(home), b"".join(places))
        dropped = await self._store.run("archived", [self._store.tag(shard)], args)
        return [codec.HOME.unpack(home)[0] for home in dropped]
