"""Simulation on recorded traffic: the journal of a window, streamed through a draft and through what is live.

Memory is bounded: a few thousand deliveries at a time. The loop it runs on is given back after every hundred.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any

from dispatcher.domain.clock import MINUTE, Millis
from dispatcher.domain.ids import DeliveryRef, shard_of
from dispatcher.pipeline.conversation import text_for
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.recorded import Recorded, recorded
from dispatcher.pipeline.sms import DEFAULT_SEGMENTS
from dispatcher.pipeline.strategy_book import Shelf
from dispatcher.ports.traffic import RecordedMessage, Traffic, place_of
from strategies.catalogue import INDEX
from strategies.compile import Strategy
from strategies.simulate import RecordedDelivery, Simulation
from strategies.validate import DEFAULT_STRATEGY

HOMES_LISTED = 1_000
DELIVERIES_AT_ONCE = 4_000
SLICE = 100
JOURNAL_PENDING = 20_000
_TTL = INDEX["message.ttl_s"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A draft held against the traffic of a window. *sample*: a share of the deliveries (at most 1), or their number
    where it is above 1; *segment_price*: in any currency."""

    app: str
    new: Strategy
    since: Millis
    until: Millis
    sample: float = 1.0
    segment_price: float = 0.0


def live_rival(shelf: Shelf, new: Strategy) -> Strategy:
    """What is live for the draft's deliveries: its own name's version, else the owner of its first class."""
    own = shelf.whole(new.name)
    if own is not None:
        return own
    owner = shelf.owner(new.classes[0]) if new.classes else DEFAULT_STRATEGY
    rival = shelf.whole(owner) or shelf.whole(DEFAULT_STRATEGY)
    if rival is None:
        raise LookupError(DEFAULT_STRATEGY)  # a shelf always has it
    return rival


async def simulate_recorded(
    question: Question, old: Strategy, traffic: Traffic, parts: Parts, progress: Progress | None = None
) -> dict[str, Any]:
    """The answer of POST /v1/strategies/simulate; *progress* is told (done, all) after each piece."""
    app, new = question.app, question.new
    simulation = Simulation(old, new, segment_price=question.segment_price)
    total = await traffic.size(app, question.since, question.until)
    share = question.sample if question.sample <= 1 else min(question.sample / max(total, 1), 1.0)
    priced = any(rule.has_sms for strategy in (old, new) for rule in strategy.rules)
    pending = _Pending(question, parts)
    done = 0
    async for homes in _pieces(question, traffic):
        await pending.read(homes)  # first: an entry may move to the ledger meanwhile, never back
        journals = await parts.deliveries.journals(list(homes))
        messages = await traffic.messages(list(homes)) if priced else {}
        for home, size in homes.items():
            # an entry on its way from the hot store may be seen in both
            journal = dict.fromkeys([*journals.get(home, ()), *pending.found.get(home, ())])
            texts = _Texts(messages.get(home, ()), new, parts)
            deliveries = (
                _delivery(home, one, texts)
                for one in recorded(journal)
                if _asked(one, old, new) and _sampled(home, one.place, share)
            )
            while piece := list(islice(deliveries, SLICE)):
                for delivery in piece:
                    simulation.feed(delivery)
                await asyncio.sleep(0)
            done += size
        if progress is not None:
            progress(done, total)
    result = simulation.result()
    result["window"] = {"old": f"{old.name}@{old.version}", "new": new.name, "sample": round(share, 6)}
    return await _named(result, app, traffic, parts)


class _Pending:
    """Entries that have not reached the ledger yet, by home; only what is recent can have some."""

    def __init__(self, question: Question, parts: Parts) -> None:
        self._parts = parts
        self._recent = question.until >= parts.clock() - 10 * MINUTE
        self._read: set[int] = set()
        self.found: dict[int, list[bytes]] = {}

    async def read(self, homes: Iterable[int]) -> None:
        """Looks once into each of the homes' shards."""
        shards = {shard_of(home) for home in homes} - self._read if self._recent else ()
        for shard in shards:
            self._read.add(shard)
            for home, entry in await self._parts.homes.take_journal(shard, JOURNAL_PENDING):
                self.found.setdefault(home, []).append(entry)


async def _pieces(question: Question, traffic: Traffic) -> AsyncIterator[dict[int, int]]:
    """Homes with their sizes, a few thousand deliveries at a time."""
    after = 0
    while listed := await traffic.homes(question.app, question.since, question.until, after=after, limit=HOMES_LISTED):
        piece: dict[int, int] = {}
        for home, size in listed:
            if piece and sum(piece.values()) + size > DELIVERIES_AT_ONCE:
                yield piece
                piece = {}
            piece[home] = size
        yield piece
        after = listed[-1][0]


def _asked(one: Recorded, old: Strategy, new: Strategy) -> bool:
    """Whether the draft would plan this delivery: it planned it by name, or it takes its class from the rival."""
    if new.classes is not None and one.klass not in new.classes:
        return False
    return one.strategy in {new.name, old.name}


def _sampled(home: int, place: int, share: float) -> bool:
    if share >= 1:
        return True
    digest = blake2b(b"%x.%x" % (home, place), digest_size=4).digest()
    return int.from_bytes(digest, "big") < share * 2**32


class _Texts:
    """What an SMS of a home's deliveries costs, and in which conversation it is; each message is measured once."""

    def __init__(self, messages: Sequence[RecordedMessage], strategy: Strategy, parts: Parts) -> None:
        limits = strategy.document.sms
        self._most = (limits.max_segments if limits is not None else None) or DEFAULT_SEGMENTS
        self._messages = messages
        self._cut = parts.cut_sms
        self._costs: dict[int, int] = {}

    def of(self, place: int) -> tuple[int, str]:
        """Segments of one delivery's text, and its conversation."""
        for one in self._messages:
            index = place - one.place
            if 0 <= index < len(one.user_ids):
                if one.place not in self._costs:
                    self._costs[one.place] = self._cut(text_for(one.message, 0, None), self._most)[1]
                key = one.message.collapse_key
                return self._costs[one.place], f"{key}\0{one.user_ids[index]}" if key else ""
        return 1, ""


def _delivery(home: int, one: Recorded, texts: _Texts) -> RecordedDelivery:
    ttl = one.tracks[0].facts[_TTL]
    segments, conversation = texts.of(one.place)
    return RecordedDelivery(
        delivery_id=f"{home}.{one.place}",
        message_id="",
        user_id="",
        tracks=one.tracks,
        sms_segments=segments,
        ttl_ms=int(ttl or 0) * 1000,
        conversation=conversation,
        planned_ms=one.at,
    )


async def _named(result: dict[str, Any], app: str, traffic: Traffic, parts: Parts) -> dict[str, Any]:
    """Ids for the few deliveries that are shown."""
    refs = {
        change["delivery_id"]: DeliveryRef(*map(int, change["delivery_id"].split("."))) for change in result["changes"]
    }
    if refs:
        messages = await traffic.messages(sorted({ref.home for ref in refs.values()}))
        for change in result["changes"]:
            ref = refs[change["delivery_id"]]
            found = place_of(messages.get(ref.home, ()), ref)
            if found is not None:
                message, user_id = found
                change |= {
                    "delivery_id": parts.ids.delivery_id(ref, app, user_id),
                    "message_id": message.message_id,
                    "user_id": user_id,
                }
    return result
