"""Looking into homes: the state of deliveries, one home's or many homes' in one round trip."""

from collections.abc import Mapping, Sequence

import msgspec

from dispatcher.domain.delivery import DeliveryState
from dispatcher.domain.ids import shard_of
from dispatcher.domain.plan import DeliveryPlan
from dispatcher.hot import codec
from dispatcher.hot.journal import HotJournal
from dispatcher.hot.store import HotStore
from dispatcher.ports.homes import Glance

_plan = msgspec.msgpack.Decoder(DeliveryPlan).decode


class HotGlances(HotJournal):
    """The reading part of :class:`~dispatcher.ports.homes.Homes` on Redis or Valkey."""

    def __init__(self, store: HotStore) -> None:
        super().__init__(store)
        self._store = store

    async def states(self, home: int, places: Sequence[int]) -> Mapping[int, DeliveryState]:
        """See the port."""
        return _states(home, places, *await self._store.client.mget(*self._vectors(home)))

    async def glances(self, wanted: Mapping[int, Sequence[int]], *, plans: bool) -> Mapping[int, Glance]:
        """See the port."""
        pipe = self._store.client.pipeline(transaction=False)
        for home, places in wanted.items():
            pipe.mget(*self._vectors(home))
            if plans:
                key = self._store.tag(shard_of(home)).encode() + b"h:" + codec.home_bytes(home)
                pipe.hmget(key, [b"P%d" % place for place in places])
        replies = iter(await pipe.execute())
        found = {}
        for home, places in wanted.items():
            states = _states(home, places, *next(replies))
            packed = next(replies) if plans else ()
            read = {place: _plan(one) for place, one in zip(places, packed, strict=False) if one is not None}
            if states:
                found[home] = Glance(states=states, plans=read)
        return found

    def _vectors(self, home: int) -> tuple[bytes, bytes]:
        """Keys of a home's deliveries and tracks."""
        tag, raw = self._store.tag(shard_of(home)).encode(), codec.home_bytes(home)
        return tag + b"d:" + raw, tag + b"t:" + raw


def _states(
    home: int, places: Sequence[int], deliveries: bytes | None, tracks: bytes | None
) -> dict[int, DeliveryState]:
    if deliveries is None:
        return {}
    found = {}
    size = codec.DELIVERY.size
    for place in places:
        record = deliveries[place * size : (place + 1) * size]
        if len(record) < size:
            continue
        _end, _by, _proof, flags, first, count, _at, _expires = codec.DELIVERY.unpack(record)
        if flags & codec.EXISTS:
            own = [
                codec.read_track(home, tracks or b"", index * codec.TRACK.size) for index in range(first, first + count)
            ]
            found[place] = codec.read_delivery(record, own)
    return found
