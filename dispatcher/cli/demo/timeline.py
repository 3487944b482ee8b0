"""Following one delivery through the timeline endpoint, and its events in words."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from dispatcher.cli.demo.stage import DemoFailed
from dispatcher.client import Sender

EVERY_S = 0.1
Event = Mapping[str, Any]


class Follower:
    """Reads a message's timeline again and again and hands on what is new."""

    def __init__(self, sender: Sender, message_id: str, user_id: str, tell: Callable[[Event], None]) -> None:
        self._sender = sender
        self.message_id = message_id
        self.user_id = user_id
        self._tell = tell
        self._told: set[str] = set()
        self.events: list[dict[str, Any]] = []

    async def look(self) -> None:
        """One read."""
        self.events = await self._sender.timeline(self.message_id, self.user_id)
        for event in self.events:
            key = repr(sorted(event.items(), key=lambda item: item[0]))
            if key not in self._told:
                self._told.add(key)
                self._tell(event)

    async def until(self, what: str, found: Callable[[Event], bool], within_s: float) -> dict[str, Any]:
        """Waits for an event; raises :class:`DemoFailed` naming *what* did not come."""
        end = time.monotonic() + within_s
        while True:
            await self.look()
            for event in self.events:
                if found(event):
                    return event
            if time.monotonic() >= end:
                raise DemoFailed(f"{what} did not come within {within_s:g} s")
            await asyncio.sleep(EVERY_S)

    async def handed_over(self, path: str, within_s: float = 30) -> dict[str, Any]:
        """The provider of *path* took it."""

        def found(event: Event) -> bool:
            return event["kind"] == "outcome" and event["path"] == path and _outcome(event) == "handed_over"

        return await self.until(f"{path}: handed over", found, within_s)

    async def settled(self, within_s: float = 60) -> dict[str, Any]:
        """The delivery has nothing left to do."""
        return await self.until("the end", lambda event: event["kind"] == "settled", within_s)


async def eventually(what: str, found: Callable[[], Awaitable[Any]], within_s: float = 20) -> Any:
    """The first answer of *found* that is not empty; raises :class:`DemoFailed`."""
    end = time.monotonic() + within_s
    while not (answer := await found()):
        if time.monotonic() >= end:
            raise DemoFailed(f"{what} did not come within {within_s:g} s")
        await asyncio.sleep(EVERY_S)
    return answer


def in_words(event: Event) -> str | None:
    """One line about *event*; None for what the line before says already."""
    detail = event["detail"]
    what = _what(event["kind"], event["path"], detail)
    phone = str(event["device_id"]).rpartition("-")[0] if event["device_id"] else ""
    return f"{phone}: {what}" if what and phone else what


def _what(kind: str, path: str | None, detail: Mapping[str, Any]) -> str | None:
    match kind:
        case "accepted":
            return "accepted: it is in the ledger"
        case "planned":
            return f"planned: {detail['strategy']}@{detail['version']}, rule {detail['rule']!r}"
        case "attempted":
            return None
        case "outcome":
            reason = f" ({detail['reason']})" if detail.get("reason") else ""
            return f"{path} {detail.get('outcome')}{reason}"
        case "receipt":
            return f"{path} receipt: {detail.get('event') or detail.get('status')}"
        case "escalated":
            return f"on to {path}: {detail.get('reason')}" if path else f"no step left: {detail.get('reason')}"
        case "skipped":
            return f"{path or 'a step'} {'held' if detail.get('held') else 'skipped'}: {detail.get('reason')}"
        case "settled":
            by = detail.get("confirmed_by")
            return f"{detail['state']}" + (f" by {by}" if by else "")
    return kind


def _outcome(event: Event) -> str:
    return str(event["detail"].get("outcome"))
