"""A mergeable histogram of durations: fixed logarithmic buckets, so that counts of different hours simply add up."""

from collections.abc import Mapping
from math import floor, log2

from dispatcher.domain.clock import Millis

#: Buckets an octave: a quantile is right within a tenth.
PER_OCTAVE = 4


def bucket_of(duration: Millis) -> int:
    """The bucket of *duration*; below a millisecond it is the first one. The ledger's triggers compute the same."""
    return floor(PER_OCTAVE * log2(max(duration, 1)))


def quantile_s(counts: Mapping[int, int], share: float) -> float | None:
    """The duration in seconds below which *share* (0 to 1) of what was counted lies; None where nothing was.

    Within the bucket it is the geometric middle: off by a tenth at most.
    """
    total = sum(counts.values())
    if total <= 0:
        return None
    left = share * total
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0 and counts[bucket]:
            break
    seconds: float = 2 ** ((bucket + 0.5) / PER_OCTAVE) / 1_000
    return round(seconds, 3 if seconds < 10 else 1)
