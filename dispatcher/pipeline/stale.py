"""Stale tokens: what nobody was heard of for long is no longer pushed to, until its app registers again."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from dispatcher.domain.clock import Millis
from dispatcher.domain.device import Profile
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.presence import Line


class Unseen(Protocol):
    """A device whose tokens are to end."""

    @property
    def app(self) -> str: ...

    @property
    def device_id(self) -> str: ...

    @property
    def user_id(self) -> str: ...


Found = TypeVar("Found", bound=Unseen)


async def end_unseen(
    devices: Sequence[Found],
    end: Callable[[Found, Millis], Awaitable[Profile | None]],
    parts: Parts,
    now: Millis,
) -> int:
    """Ends the tokens of those that hold no line either; how many devices. A line that stands is a sign of life."""
    count = 0
    for device in devices:
        lines = (await parts.presences.of_users(device.app, [device.user_id], now)).get(device.user_id, ())
        if any(line.device_id == device.device_id and line.line is not Line.LOST for line in lines):
            await parts.directory.seen(device.app, [device.device_id], now)
            continue
        profile = await end(device, now)
        if profile is not None:
            await parts.profiles.put([profile])
            count += 1
    return count
