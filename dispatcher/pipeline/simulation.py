"""Simulation on recorded traffic: the journal of a window, streamed through a draft and through what is live.

Memory is bounded: a few thousand deliveries at a time. The loop it runs on is given back after every hundred.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any

import msgspec

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
from strategies.course import RecordedDelivery
from strategies.simulate import Case, Simulation, wants_sms
from strategies.spending import Whom
from strategies.validate import DEFAULT_STRATEGY

HOMES_LISTED = 1_000
DELIVERIES_AT_ONCE = 4_000
SLICE = 100
NUMBERS_KNOWN = 200_000
PREFIX = 7  #: as the guard is asked (`pipeline.sms`)
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
    numbers = _Numbers(app, parts, asked=simulation.asks_numbers)
    done = 0
    async for homes in _pieces(question, traffic):
        await pending.read(homes)  # first: an entry may move to the ledger meanwhile, never back
        journals = await parts.deliveries.journals(list(homes))
        messages = await traffic.messages(list(homes)) if priced else {}
        for home, size in homes.items():
            # an entry on its way from the hot store may be seen in both
            journal = dict.fromkeys([*journals.get(home, ()), *pending.found.get(home, ())])
            texts = _Texts(messages.get(home, ()), new, parts)
            cases = (
                _case(simulation, home, one, texts)
                for one in recorded(journal)
                if _asked(one, old, new) and _sampled(home, one.place, share)
            )
            while piece := list(islice(cases, SLICE)):
                whom = await numbers.of(piece)
                for case in piece:
                    simulation.count(case, whom.get(case[0].user_id))
                await asyncio.sleep(0)
            done += size
        if progress is not None:
            progress(done, total)
    result = simulation.result()
    result["window"] = {"old": f"{old.name}@{old.version}", "new": new.name, "sample": round(share, 6)}
    return await _named(result, app, traffic, parts)


class _Numbers:
    """Which number a user's SMS would go to now, for the caps that count by it; only those are asked who would get one.

    A number is known here by its hash and its prefix, and forgotten with the simulation.
    """

    def __init__(self, app: str, parts: Parts, *, asked: bool) -> None:
        self._app = app
        self._parts = parts
        self._asked = asked
        self._known: dict[str, Whom] = {}

    async def of(self, cases: Iterable[Case]) -> Mapping[str, Whom]:
        """By user; users without a number of their own are left out."""
        if not self._asked:
            return self._known
        wanted = {case[0].user_id for case in cases if wants_sms(case)} - self._known.keys() - {""}
        if not wanted:
            return self._known
        if len(self._known) + len(wanted) > NUMBERS_KNOWN:
            self._known.clear()
        seal = self._parts.seal
        for user_id, profile in (await self._parts.profiles.get(self._app, sorted(wanted))).items():
            phone = seal.open(profile.phone).decode() if profile.phone is not None else ""
            self._known[user_id] = (
                Whom(user_id, seal.number_hash(phone).hex(), phone[:PREFIX]) if phone else Whom(user_id)
            )
        return self._known


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
    """What an SMS of a home's deliveries costs, for whom it is and in which conversation."""

    def __init__(self, messages: Sequence[RecordedMessage], strategy: Strategy, parts: Parts) -> None:
        limits = strategy.document.sms
        self._most = (limits.max_segments if limits is not None else None) or DEFAULT_SEGMENTS
        self._messages = messages
        self._places = [one.place for one in messages]
        self._cut = parts.cut_sms
        self._costs: dict[int, int] = {}

    def priced(self, delivery: RecordedDelivery, place: int) -> RecordedDelivery:
        """The same delivery with its SMS's segments, its user and their conversation; each message is measured once."""
        at = bisect_right(self._places, place) - 1
        one = self._messages[at] if at >= 0 else None
        if one is None or place - one.place >= len(one.user_ids):
            return delivery
        if one.place not in self._costs:
            self._costs[one.place] = self._cut(text_for(one.message, 0, None), self._most)[1]
        key, user_id = one.message.collapse_key, one.user_ids[place - one.place]
        return msgspec.structs.replace(
            delivery,
            sms_segments=self._costs[one.place],
            user_id=user_id,
            conversation=f"{key}\0{user_id}" if key else "",
        )


def _case(simulation: Simulation, home: int, one: Recorded, texts: _Texts) -> Case:
    ttl = one.tracks[0].facts[_TTL]
    delivery = RecordedDelivery(
        delivery_id=f"{home}.{one.place}",
        message_id="",
        user_id="",
        tracks=one.tracks,
        ttl_ms=int(ttl or 0) * 1000,
        planned_ms=one.at,
    )
    case = simulation.case(delivery)
    return simulation.case(texts.priced(delivery, one.place)) if wants_sms(case) else case


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
