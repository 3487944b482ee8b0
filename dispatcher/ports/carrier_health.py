"""How the SMS carriers of an app fare, for whoever chooses among them.

Failure policy: fails open. What is not known counts as well; the request will tell.
"""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from dispatcher.domain.clock import MINUTE, SECOND, Millis

FIRST_REST: Millis = 15 * SECOND
LONGEST_REST: Millis = 5 * MINUTE


class Rest(Struct, frozen=True, array_like=True, kw_only=True):
    """A carrier that failed: asked after all others until *until*. *since*: its first failure in a row."""

    until: Millis
    length: Millis
    since: Millis
    reason: str


def after_failure(rest: Rest | None, reason: str, now: Millis, at_least: Millis) -> Rest:
    """Each failure in a row doubles the rest, up to LONGEST_REST; *at_least* is what the carrier asked for."""
    length = FIRST_REST if rest is None else min(rest.length * 2, LONGEST_REST)
    since = now if rest is None else rest.since
    return Rest(until=now + max(length, at_least), length=length, since=since, reason=reason)


class CarrierHealth(Protocol):
    """Of one app, shared by all its workers."""

    async def rests(self, now: Millis) -> Mapping[str, Rest]:
        """By the carrier's name; of those that did not do well since they failed, also where the rest is over."""

    async def failed(self, carrier: str, reason: str, now: Millis, *, at_least: Millis) -> None:
        """To the end of the line for a while."""

    async def did_well(self, carrier: str) -> None:
        """Back to its place."""


class OwnCarrierHealth:
    """Of this process alone: for tools and tests."""

    def __init__(self) -> None:
        self._rests: dict[str, Rest] = {}

    async def rests(self, now: Millis) -> Mapping[str, Rest]:
        """See the port."""
        return dict(self._rests)

    async def failed(self, carrier: str, reason: str, now: Millis, *, at_least: Millis) -> None:
        """See the port."""
        self._rests[carrier] = after_failure(self._rests.get(carrier), reason, now, at_least)

    async def did_well(self, carrier: str) -> None:
        """See the port."""
        self._rests.pop(carrier, None)
