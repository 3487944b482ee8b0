"""Recorded traffic: what was accepted in a window of time, read in bounded pieces. Reads only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dispatcher.domain.clock import Millis
from dispatcher.domain.ids import DeliveryRef
from dispatcher.domain.message import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMessage:
    """A message of a recorded home and the places of its recipients, which follow each other."""

    place: int
    message: Message
    user_ids: Sequence[str]


class Traffic(Protocol):
    """Homes by the moment they were made, which is when the first of their messages was accepted."""

    async def size(self, app: str, since: Millis, until: Millis) -> int:
        """How many deliveries the window holds."""

    async def homes(
        self, app: str, since: Millis, until: Millis, *, after: int, limit: int
    ) -> Sequence[tuple[int, int]]:
        """(home, deliveries) of the window above *after*, in order."""

    async def messages(self, homes: Sequence[int]) -> Mapping[int, Sequence[RecordedMessage]]:
        """Messages by home, in order of their places."""


def place_of(messages: Sequence[RecordedMessage], ref: DeliveryRef) -> tuple[Message, str] | None:
    """The message and user of one delivery."""
    for one in messages:
        if one.place <= ref.place < one.place + len(one.user_ids):
            return one.message, one.user_ids[ref.place - one.place]
    return None
