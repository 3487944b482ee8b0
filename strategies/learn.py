"""What is learned from receipts: how often a path proves, and how fast, per device and per segment.

Counts decay exponentially, so last week weighs more than last month. Times to proof go into a small sketch of
logarithmic buckets (after DDSketch, https://arxiv.org/abs/1908.10693): 8 % relative error, at most 128 buckets and
under 700 bytes. Everything here is a value and a pure function; time is an argument, in seconds since the epoch.
Only receipts that name their attempt may be taught.
"""

from __future__ import annotations

import math
import re
import struct
from bisect import bisect_left
from collections.abc import Iterable

import msgspec

HALF_LIFE_S = 7 * 86_400.0
ENOUGH = 5.0
"""So many (decayed) attempts or receipts before a value counts as known; below, the segment's is used."""

_GROWTH = math.log(1.16)
_LEAST_S = 0.01
_BUCKETS = 128
_BOUNDS = tuple(_LEAST_S * math.exp(place * _GROWTH) for place in range(_BUCKETS - 1))
"""The upper bound of each bucket (seconds) but the last, which has none."""
_HEADER = struct.Struct("<Bdff")
_BUCKET = struct.Struct("<Bf")
_VERSION = 1
_FORGET = 1e-3
"""Bucket counts below this are dropped."""


class Learned(msgspec.Struct, frozen=True):
    """What was seen on one path of one device or segment: decayed counts as of `at_s`, and the times to proof."""

    at_s: float = 0.0
    attempts: float = 0.0
    receipts: float = 0.0
    buckets: tuple[tuple[int, float], ...] = ()


class Pin(msgspec.Struct, frozen=True):
    """Values an operator set by hand; None leaves the learned one."""

    ack_rate: float | None = None
    p95_s: float | None = None


class Answer(msgspec.Struct, frozen=True):
    """What the engine is told, and from where: pinned, device, segment or none."""

    ack_rate: float | None
    ack_rate_from: str
    p95_s: float | None
    p95_from: str


class Rates(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A history in short, as of its last lesson; a value that too little was seen of is None."""

    ack_rate: float | None
    p95_s: float | None
    attempts: float
    receipts: float
    at_s: float


EMPTY = Learned()


def attempted(learned: Learned, now_s: float, count: float = 1.0) -> Learned:
    """Attempts whose wait is over, proven or not (one still waiting would look like a failure)."""
    decayed = decay(learned, now_s)
    return Learned(decayed.at_s, decayed.attempts + count, decayed.receipts, decayed.buckets)


def proven(learned: Learned, now_s: float, after_s: float) -> Learned:
    """A receipt that names its attempt, `after_s` seconds after that was handed over."""
    decayed = decay(learned, now_s)
    buckets = dict(decayed.buckets)
    place = bucket_of(after_s)
    buckets[place] = buckets.get(place, 0.0) + 1.0
    return Learned(decayed.at_s, decayed.attempts, decayed.receipts + 1.0, tuple(sorted(buckets.items())))


def decay(learned: Learned, now_s: float, half_life_s: float = HALF_LIFE_S) -> Learned:
    """The same as of now. A clock that runs backwards changes nothing."""
    if learned.attempts == 0 and not learned.buckets:
        return Learned(at_s=max(now_s, learned.at_s))
    if now_s <= learned.at_s:
        return learned
    keep = 0.5 ** ((now_s - learned.at_s) / half_life_s)
    buckets = tuple((place, count * keep) for place, count in learned.buckets if count * keep > _FORGET)
    return Learned(now_s, learned.attempts * keep, learned.receipts * keep, buckets)


def taught(learned: Learned, now_s: float, attempts: int, proven_s: Iterable[float]) -> Learned:
    """Several attempts that ended and several proofs at once; the same as one call of `attempted` and `proven` each."""
    decayed = decay(learned, now_s)
    times = list(proven_s)
    buckets = dict(decayed.buckets)
    for place in map(bucket_of, times):
        buckets[place] = buckets.get(place, 0.0) + 1.0
    return Learned(
        decayed.at_s, decayed.attempts + attempts, decayed.receipts + len(times), tuple(sorted(buckets.items()))
    )


def merge(parts: Iterable[Learned]) -> Learned:
    """Several as one, as of the latest: what two workers saw apart, or the devices of a segment."""
    found = list(parts)
    now_s = max((part.at_s for part in found), default=0.0)
    attempts = receipts = 0.0
    buckets: dict[int, float] = {}
    for part in found:
        decayed = decay(part, now_s)
        attempts += decayed.attempts
        receipts += decayed.receipts
        for place, count in decayed.buckets:
            buckets[place] = buckets.get(place, 0.0) + count
    return Learned(now_s, attempts, receipts, tuple(sorted(buckets.items())))


def ack_rate(learned: Learned) -> float | None:
    """Receipts over attempts, 0 to 1; None while too little was seen."""
    if learned.attempts < ENOUGH:
        return None
    return min(learned.receipts / learned.attempts, 1.0)


def quantile_s(learned: Learned, share: float = 0.95) -> float | None:
    """The time to proof (seconds) that `share` of the receipts kept; None while too little was seen."""
    total = sum(count for _, count in learned.buckets)
    if total < ENOUGH:
        return None
    return bucket_quantile(learned.buckets, share)


def bucket_quantile(buckets: Iterable[tuple[int, float]], share: float) -> float | None:
    """The quantile of sorted buckets, however few; None without any."""
    found = list(buckets)
    wanted = sum(count for _, count in found) * share
    passed = 0.0
    for place, count in found:
        passed += count
        if passed >= wanted - 1e-9:
            return _value(place)
    return _value(found[-1][0]) if found else None


def rates(learned: Learned) -> Rates:
    """A history in short. The rate has two decimals: finer ones are noise, and equal facts share one decision."""
    rate = ack_rate(learned)
    return Rates(
        None if rate is None else round(rate, 2), quantile_s(learned), learned.attempts, learned.receipts, learned.at_s
    )


def answer(device: Rates | None, segment: Rates | None, pin: Pin | None = None) -> Answer:
    """A device's facts for a path: pinned, else its own history, else its segment's, else unknown."""
    rate = pin.ack_rate if pin is not None else None
    p95 = pin.p95_s if pin is not None else None
    rate_from = "none" if rate is None else "pinned"
    p95_from = "none" if p95 is None else "pinned"
    for source, known in (("device", device), ("segment", segment)):
        if known is None:
            continue
        if rate is None and known.ack_rate is not None:
            rate, rate_from = known.ack_rate, source
        if p95 is None and known.p95_s is not None:
            p95, p95_from = known.p95_s, source
    return Answer(rate, rate_from, p95, p95_from)


def device_key(device_id: str, path: str) -> str:
    """The key of a device's history on a path, within its app."""
    return f"d:{path}:{device_id}"


def segment_key(path: str, *, platform: str, manufacturer: str, app_version: str, country: str) -> str:
    """The key of a segment's history on a path. Versions count by their first two numbers, so segments stay few."""
    version = re.match(r"\d{1,4}(?:\.\d{1,4})?", app_version, re.ASCII)
    parts = (platform, manufacturer, version.group() if version else "", country)
    return ":".join(("s", path, *(re.sub(r"[^a-z0-9.]", "", part.lower())[:24] for part in parts)))


def pack(learned: Learned) -> bytes:
    """For the hot store and the archive: 17 bytes and 5 a bucket, at most 657."""
    head = _HEADER.pack(_VERSION, learned.at_s, learned.attempts, learned.receipts)
    return head + b"".join(_BUCKET.pack(place, count) for place, count in learned.buckets)


def unpack(packed: bytes) -> Learned:
    """The value of `pack`. Raises ValueError for anything else."""
    if len(packed) < _HEADER.size or (len(packed) - _HEADER.size) % _BUCKET.size or packed[0] != _VERSION:
        raise ValueError("not a packed learning record of this version")
    _, at_s, attempts, receipts = _HEADER.unpack_from(packed)
    buckets = tuple(_BUCKET.iter_unpack(packed[_HEADER.size :]))
    if not all(math.isfinite(value) and value >= 0 for value in (at_s, attempts, receipts, *(n for _, n in buckets))):
        raise ValueError("a learning record with impossible counts")
    return Learned(at_s, attempts, receipts, buckets)


def bucket_of(seconds: float) -> int:
    """The bucket a time falls into."""
    return bisect_left(_BOUNDS, seconds)


def _value(place: int) -> float:
    """The middle (geometric) of a bucket, in seconds."""
    return _LEAST_S if place == 0 else round(_LEAST_S * math.exp((place - 0.5) * _GROWTH), 3)
