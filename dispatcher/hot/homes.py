"""Homes: payloads, state vectors and the scripts that move them."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Cursor, End, Phase
from dispatcher.domain.ids import NOBODY, DeliveryRef, device_hash, shard_of
from dispatcher.domain.message import Lane, Message
from dispatcher.domain.paths import PATH_BY_CODE, Path
from dispatcher.domain.plan import DeliveryPlan
from dispatcher.domain.receipt import Receipt
from dispatcher.hot import codec
from dispatcher.hot.glances import HotGlances
from dispatcher.hot.store import HotStore
from dispatcher.ports.homes import (
    NO_TRACK,
    Admission,
    Applied,
    Claim,
    Contents,
    Members,
    Queue,
    Recipient,
    Settled,
    Settlement,
    in_phase,
)

#: How long places of erased users are remembered.
FORGOTTEN_S = 2 * 24 * 3600
SWEEP = "sweep"
PLAN = "plan"
QUEUES = tuple(Queue(name, lane) for name in (PLAN, SWEEP, *Path) for lane in Lane)
_QUEUE_NAMES = tuple(str(queue) for queue in QUEUES)

_pack = msgspec.msgpack.Encoder().encode
_message = msgspec.msgpack.Decoder(Message).decode
_plan = msgspec.msgpack.Decoder(DeliveryPlan).decode
_recipient = msgspec.msgpack.Decoder(tuple[int, str, int, int, tuple[str, ...] | None]).decode


class RedisHomes(HotGlances):
    """The port :class:`~dispatcher.ports.homes.Homes` on Redis or Valkey."""

    def __init__(self, store: HotStore) -> None:
        super().__init__(store)
        self._first = 0

    async def admit(self, admission: Admission, now: Millis) -> None:
        records = [codec.EMPTY_DELIVERY] * admission.size
        fields: list[Any] = [b"L", admission.lane.value]
        for index, message in admission.messages.items():
            fields += (f"M{index}", _pack(message))
        members = []
        for recipient in admission.recipients:
            place = recipient.place
            expires_at = admission.messages[recipient.message].expires_at
            ended = admission.ended.get(place)
            records[place] = codec.ended_delivery(expires_at, ended) if ended else codec.new_delivery(expires_at)
            row = (recipient.message, recipient.user_id, recipient.seq, recipient.prev_seq, recipient.devices)
            fields += (f"R{place}", _pack(row))
            if ended is None:
                members.append(codec.MEMBER.pack(place, NO_TRACK))
        head: list[Any] = [
            codec.home_bytes(admission.home),
            now,
            admission.due,
            str(Queue(PLAN, admission.lane)),
            admission.app,
            b"".join(records),
            b"".join(members),
            len(admission.recipients),
            b"".join([place.to_bytes(2, "big") for place in admission.ended]),
        ]
        await self._store.run("admit", [self._tag(admission.home)], [*head, *fields])

    async def claim(
        self,
        queue: Queue,
        now: Millis,
        *,
        limit: int,
        lease_ms: Millis,
        shards: Sequence[int] | None = None,
        without: Collection[str] = (),
    ) -> list[Claim]:
        sends = queue.name not in {PLAN, SWEEP}
        lease = -(-(now + lease_ms) // 250) * 250
        claims: list[Claim] = []
        left = limit
        wanted = range(self._store.shards) if shards is None else shards
        self._first += 1  # another shard goes first each time, so that a full one starves none
        first = self._first % len(wanted) if wanted else 0
        for shard in (*wanted[first:], *wanted[:first]):
            args = [str(queue), now, left, lease, queue.lane.value, int(sends), *without]
            for reply in await self._store.run("claim", [self._store.tag(shard)], args):
                claim = _read_claim(queue, reply, lease)
                claims.append(claim)
                left -= len(claim.members.members)
            if left <= 0:
                break
        return claims

    async def settle(self, settlement: Settlement, now: Millis) -> Settled:
        home = settlement.home
        lane = settlement.lane
        args: list[Any] = [
            codec.home_bytes(home),
            now,
            settlement.app,
            str(Queue(Path.SMS, lane)),
            len(settlement.planned),
        ]
        for planned in settlement.planned:
            records = b"".join(
                codec.new_track(cursor, until, device_hash(track.device_id) if track.device_id else 0)
                for cursor, until, track in zip(planned.starts, planned.untils, planned.plan.tracks, strict=True)
            )
            flags = bytes((codec.EACH if planned.plan.each else 0,))
            args += (planned.place.to_bytes(2, "big"), _pack(planned.plan), flags + records)
        args.append(b"".join([codec.write_move(home, move) for move in settlement.moves]))
        args.append(b"".join([place.to_bytes(2, "big") + bytes((end,)) for place, end in settlement.ends.items()]))
        args.append(len(settlement.waves))
        ready = set()
        for wave in settlement.waves:
            args += (str(wave.queue), wave.due, codec.write_chunk(wave.members))
            if wave.due <= now:
                ready.add(wave.queue)
        args += settlement.journal
        moved, lost, ended, sms, late = await self._store.run("settle", [self._tag(home)], args)
        sms_due = codec.read_members(sms)
        if sms_due:
            ready.add(Queue(Path.SMS, lane))
        return Settled(
            moved=moved,
            lost=lost,
            ended={place: End(end) for place, end in codec.read_members(ended)},
            sms_due=sms_due,
            late=late,
            ready=tuple(ready),
        )

    async def unlease(self, claim: Claim, members: Sequence[tuple[int, int]], now: Millis) -> None:
        home, cursor = claim.members.home, claim.members.cursor
        leased = in_phase(cursor, Phase.SENDING) if claim.queue.name not in {PLAN, SWEEP} else cursor
        gone = frozenset(members)
        rest = tuple(member for member in claim.members.members if member not in gone)
        args: list[Any] = [str(Queue(SWEEP, claim.queue.lane)), claim.app, claim.lease, now]
        args.append(codec.write_chunk(Members(home, leased, claim.members.members)))
        args.append(codec.write_chunk(Members(home, leased, rest)) if rest else b"")
        await self._store.run("unlease", [self._tag(home)], args)

    async def contents(self, home: int, places: Sequence[int] | None) -> Contents | None:
        key = self._tag(home).encode() + b"h:" + codec.home_bytes(home)
        client = self._store.client
        if places is None or len(places) > 40:
            fields: dict[bytes, bytes] = await client.hgetall(key)
        else:
            names: list[bytes] = [b"A", b"L"]
            for place in places:
                names += (b"R%d" % place, b"P%d" % place)
            values = await client.hmget(key, names)
            fields = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            wanted = {_recipient(value)[0] for name, value in fields.items() if name[:1] == b"R"}
            if wanted:
                names = [b"M%d" % index for index in sorted(wanted)]
                values = await client.hmget(key, names)
                fields.update({name: value for name, value in zip(names, values, strict=True) if value is not None})
        if b"A" not in fields:
            return None
        return _read_contents(fields, None if places is None else frozenset(places))

    async def apply(self, receipts: Sequence[Receipt], now: Millis) -> list[Applied]:
        order: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for index, receipt in enumerate(receipts):
            home = receipt.delivery.home
            order[shard_of(home)][home].append(index)
        calls: list[tuple[list[Any], list[Any]]] = []
        positions: list[list[int]] = []
        for shard, homes in order.items():
            args: list[Any] = [now]
            placed: list[int] = []
            for home, indexes in homes.items():
                args += (codec.home_bytes(home), b"".join([_write_receipt(receipts[index]) for index in indexes]))
                placed += indexes
            calls.append(([self._store.tag(shard)], args))
            positions.append(placed)
        applied: list[Applied | None] = [None] * len(receipts)
        for placed, reply in zip(positions, await self._store.run_many("apply", calls), strict=True):
            for index, row in zip(placed, codec.REPLY.iter_unpack(reply), strict=True):
                applied[index] = _read_applied(receipts[index].delivery.home, row)
        return [one if one is not None else Applied(known=False) for one in applied]

    async def end(self, refs: Sequence[DeliveryRef], end: End, now: Millis) -> list[bool]:
        by_home: dict[int, list[int]] = defaultdict(list)
        for index, ref in enumerate(refs):
            by_home[ref.home].append(index)
        results = [False] * len(refs)
        for home, indexes in by_home.items():
            places = b"".join([refs[index].place.to_bytes(2, "big") for index in indexes])
            reply = await self._store.run("finish", [self._tag(home)], [codec.home_bytes(home), int(end), places])
            for position, index in enumerate(indexes):
                results[index] = reply[position * 2] == 1
        return results

    async def forget(self, home: int, places: Sequence[int], messages: Sequence[int]) -> None:
        contents = await self.contents(home, None)
        if contents is None:
            return
        args: list[Any] = [codec.home_bytes(home)]
        for index in messages:
            if index in contents.messages:
                args += (f"M{index}", _pack(contents.messages[index].emptied()))
        for place in places:
            if place in contents.recipients:
                row = contents.recipients[place]
                args += (f"R{place}", _pack((row.message, NOBODY, row.seq, row.prev_seq, None)))
            if place in contents.plans:
                args += (f"P{place}", _pack(contents.plans[place].without_devices()))
        await self._store.run("blank", [self._tag(home)], args)
        key = self._tag(home) + "forgotten"
        if places:
            await self._store.client.sadd(key, *[codec.home_bytes(home) + place.to_bytes(2, "big") for place in places])
            await self._store.client.expire(key, FORGOTTEN_S)

    async def forgotten(self, shard: int) -> Mapping[int, frozenset[int]]:
        found: dict[int, set[int]] = defaultdict(set)
        for member in await self._store.client.smembers(self._store.tag(shard) + "forgotten"):
            found[codec.HOME.unpack(member[:8])[0]].add(int.from_bytes(member[8:], "big"))
        return {home: frozenset(places) for home, places in found.items()}

    async def hasten(self, app: str, lane: Lane, members: Members, now: Millis) -> None:
        args = [str(Queue(SWEEP, lane)), app, now, codec.write_chunk(members)]
        await self._store.run("hasten", [self._tag(members.home)], args)

    async def next_due(self, now: Millis) -> tuple[Mapping[Queue, Sequence[int]], Millis | None]:
        calls = [([self._store.tag(shard)], _QUEUE_NAMES) for shard in range(self._store.shards)]
        due: dict[Queue, list[int]] = defaultdict(list)
        upcoming: Millis | None = None
        for shard, reply in enumerate(await self._store.run_many("next_due", calls)):
            for queue, score in zip(QUEUES, reply, strict=True):
                if not score:
                    continue
                moment = int(float(score))
                if moment <= now:
                    due[queue].append(shard)
                elif upcoming is None or moment < upcoming:
                    upcoming = moment
        return due, upcoming

    async def standing(self, shard: int) -> Mapping[int, frozenset[tuple[int, int, Cursor]]]:
        tag = self._store.tag(shard)
        client = self._store.client
        found: dict[int, set[tuple[int, int, Cursor]]] = defaultdict(set)
        pipe = client.pipeline(transaction=False)
        for queue in _QUEUE_NAMES:
            pipe.zrange(f"{tag}due:{queue}", 0, -1)
        for queue, waves in zip(_QUEUE_NAMES, await pipe.execute(), strict=True):
            for wave in waves:
                for chunk in await client.lrange(f"{tag}w:{queue}:".encode() + wave, 0, -1):
                    (home,) = codec.HOME.unpack(chunk[:8])
                    cursor = Cursor(chunk[8], chunk[9], Phase(chunk[10]))
                    found[home].update((place, track, cursor) for place, track in codec.read_members(chunk[11:]))
        return {home: frozenset(members) for home, members in found.items()}

    def _tag(self, home: int) -> str:
        return self._store.tag(shard_of(home))


def _read_claim(queue: Queue, reply: Sequence[Any], lease: Millis) -> Claim:
    app, score, home, step, attempt, phase, members, attempted = reply
    (number,) = codec.HOME.unpack(home)
    pairs = codec.read_members(members)
    return Claim(
        app=app.decode(),
        queue=queue,
        members=Members(number, Cursor(step, attempt, Phase(phase)), pairs),
        due=int(float(score)),
        lane=queue.lane,
        attempted_at=[codec.read_attempted(number, at) for (at,) in codec.ATTEMPTED.iter_unpack(attempted)],
        lease=lease,
    )


def _read_contents(fields: Mapping[bytes, bytes], places: frozenset[int] | None) -> Contents:
    messages, recipients, plans = {}, {}, {}
    for name, value in fields.items():
        kind = name[:1]
        if kind == b"M":
            messages[int(name[1:])] = _message(value)
        elif kind == b"R":
            place = int(name[1:])
            if places is None or place in places:
                index, user_id, seq, prev_seq, devices = _recipient(value)
                recipients[place] = Recipient(
                    place=place, message=index, user_id=user_id, seq=seq, prev_seq=prev_seq, devices=devices
                )
        elif kind == b"P":
            place = int(name[1:])
            if places is None or place in places:
                plans[place] = _plan(value)
    return Contents(
        app=fields[b"A"].decode(),
        lane=Lane(fields[b"L"].decode()),
        messages=messages,
        recipients=recipients,
        plans=plans,
    )


def _write_receipt(receipt: Receipt) -> bytes:
    return codec.RECEIPT.pack(
        receipt.delivery.place,
        255 if receipt.track is None else receipt.track,
        device_hash(receipt.device_id) if receipt.device_id else 0,
        receipt.event,
        codec.path_code(receipt.via),
        codec.p48(receipt.at),
    )


def _read_applied(home: int, row: tuple[int, ...]) -> Applied:
    known, new, confirmed, late, path, inferred, archived, track, attempted = row
    return Applied(
        known=bool(known),
        new=bool(new),
        confirmed=bool(confirmed),
        late=bool(late),
        path=PATH_BY_CODE.get(path),
        inferred=bool(inferred),
        attempted_at=codec.read_attempted(home, attempted),
        archived=bool(archived),
        track=track,
    )
