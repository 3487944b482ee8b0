"""Lists on their way to the ledger: the journal and the settled deliveries of each shard."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.ids import DeliveryRef, shard_of
from dispatcher.hot import codec
from dispatcher.hot.store import HotStore
from dispatcher.ports.homes import Taken


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

    async def trim_journal(self, shard: int, entries: Sequence[tuple[int, bytes]]) -> None:
        if entries:
            home, entry = entries[0]
            args = [len(entries), codec.home_bytes(home) + entry]
            await self._store.run("trim", [self._store.tag(shard) + "j"], args, state=False)

    async def journal_of(self, home: int) -> list[bytes]:
        raw = codec.home_bytes(home)
        key = self._store.tag(shard_of(home)) + "j"
        rows = await self._store.client.lrange(key, 0, -1)
        return [row[8:] for row in rows if row[:8] == raw]

    async def take_settled(self, shard: int, limit: int) -> Taken:
        tag = self._store.tag(shard)
        pipe = self._store.client.pipeline(transaction=True)
        pipe.get(tag + "turn")
        pipe.lrange(tag + "out", 0, limit - 1)
        turn, rows = await pipe.execute()
        refs: list[DeliveryRef] = []
        entries = 0
        for row in rows:
            if refs and len(refs) + len(row) // 2 > 4 * limit:
                break
            (home,) = codec.HOME.unpack(row[:8])
            refs += [DeliveryRef(home, int.from_bytes(row[at : at + 2], "big")) for at in range(8, len(row), 2)]
            entries += 1
        return Taken(turn=int(turn or 0), entries=entries, refs=tuple(refs))

    async def archived(self, shard: int, taken: Taken, settled: Mapping[DeliveryRef, tuple[End, Proof]]) -> list[int]:
        by_home: dict[int, list[bytes]] = defaultdict(list)
        for ref, (end, proof) in settled.items():
            by_home[ref.home].append(ref.place.to_bytes(2, "big") + bytes((end, proof)))
        args: list[Any] = [taken.entries, taken.turn]
        for home, places in by_home.items():
            args += (codec.home_bytes(home), b"".join(places))
        dropped = await self._store.run("archived", [self._store.tag(shard)], args)
        return [codec.HOME.unpack(home)[0] for home in dropped]
