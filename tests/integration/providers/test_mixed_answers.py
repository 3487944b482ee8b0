"""Every tenth push fails, in every way there is: none is lost, none hangs, none goes out twice, memory stays flat.

``PUSHPATH_SENDS`` says how many; the figure to show is 100,000.
"""

import asyncio
import gc
import os
import resource
from collections import Counter
from typing import Any

import pytest

from dispatcher.domain.outcome import HandedOver, Outcome, Rejected, RetryLater, TokenDead, Unknown
from dispatcher.domain.paths import Path
from providers.base import Limits

SENDS = int(os.environ.get("PUSHPATH_SENDS", "4000"))
AT_ONCE = 4  #: batches
APNS: list[tuple[dict[str, Any], type[Outcome]]] = [
    ({"status": 410, "reason": "Unregistered"}, TokenDead),
    ({"status": 400, "reason": "BadDeviceToken"}, TokenDead),
    ({"status": 413, "reason": "PayloadTooLarge"}, Rejected),
    ({"status": 403, "reason": "InvalidProviderToken"}, Rejected),
    ({"status": 429, "reason": "TooManyRequests"}, RetryLater),
    ({"status": 500, "reason": "InternalServerError"}, RetryLater),
    ({"status": 503, "reason": "ServiceUnavailable", "retry_after": 1}, RetryLater),
    ({"status": 500, "wire": "empty"}, RetryLater),
    ({"status": 410, "wire": "split"}, TokenDead),
    ({"status": 410, "wire": "no_id"}, TokenDead),
    ({"wire": "reset"}, Unknown),
]
FCM: list[tuple[dict[str, Any], type[Outcome]]] = [
    ({"status": 404, "reason": "UNREGISTERED"}, TokenDead),
    ({"status": 400, "reason": "INVALID_ARGUMENT"}, TokenDead),
    ({"status": 401, "reason": "THIRD_PARTY_AUTH_ERROR"}, Rejected),
    ({"status": 429, "reason": "QUOTA_EXCEEDED", "retry_after": 1}, RetryLater),
    ({"status": 503, "reason": "UNAVAILABLE"}, RetryLater),
    ({"status": 500, "wire": "empty"}, RetryLater),
    ({"wire": "reset"}, Unknown),
]


@pytest.mark.parametrize(("path", "faults"), [(Path.APNS, APNS), (Path.FCM, FCM)], ids=["apns", "fcm"])
async def test_a_tenth_of_errors_of_every_kind(
    lab: Any, path: Path, faults: list[tuple[dict[str, Any], type[Outcome]]]
) -> None:
    await lab.script(path.value, errors=[{"match": f"e{kind:x}*", **fault} for kind, (fault, _) in enumerate(faults)])
    provider = lab.provider(path)
    provider.limits = Limits(batch=500, payload_bytes=4096, concurrent=1_000, deadline_ms=30_000)
    outcomes: dict[str, Outcome] = {}
    sizes: list[int] = []

    def token(number: int) -> str:
        return f"e{number // 10 % len(faults):x}{number:062x}" if number % 10 == 0 else f"{number:064x}"

    async def batches(first: int) -> None:
        for start in range(first * 500, SENDS, AT_ONCE * 500):
            tokens = [token(number) for number in range(start, min(start + 500, SENDS))]
            attempts = [lab.attempt(path, value, number) for number, value in enumerate(tokens)]
            answers = await asyncio.wait_for(provider.send(attempts, lab.now), 60)
            outcomes.update(zip(tokens, answers, strict=True))
            sizes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    await asyncio.gather(*(batches(first) for first in range(AT_ONCE)))
    assert len(outcomes) == SENDS
    for value, outcome in outcomes.items():
        expected = faults[int(value[1], 16)][1] if value.startswith("e") else HandedOver
        assert isinstance(outcome, expected), (value, outcome)
    seen = Counter(entry["target"] for entry in await lab.requests(path.value))
    assert seen == Counter(list(outcomes))  # each went out once: none was lost, none doubled
    gc.collect()
    if SENDS >= 100_000:  # the simulator keeps 1.2 KB a request in this very process
        grown = (sizes[-1] - sizes[len(sizes) // 5]) * 1024 / (SENDS * 0.8)
        assert grown < 4_000, f"{grown:.0f} bytes a send"
