"""Who was heard of: receipts, pulls and hellos keep a device's tokens from going stale. At most a write an hour a
device, and one a day for its hellos.

Failure policy: best effort. What could not be written is noted again with the device's next sign of life.
"""

import asyncio
import logging
from collections import defaultdict

from dispatcher.domain.clock import HOUR, Millis
from dispatcher.pipeline.parts import PhoneParts

AGAIN: Millis = HOUR
REMEMBERED = 200_000  #: devices; beyond it all are forgotten, which costs a write each
SOON_S = 5.0
BATCH = 1_000
_log = logging.getLogger(__name__)


class Sightings:
    """The devices that one process heard of."""

    def __init__(self, parts: PhoneParts) -> None:
        self._parts = parts
        self._noted: dict[tuple[str, str], Millis] = {}
        self._waiting: dict[str, set[str]] = defaultdict(set)
        self._writing: asyncio.Task[None] | None = None

    def note(self, app: str, device_id: str, now: Millis, *, again: Millis = AGAIN) -> None:
        """A device gave a sign of life; nothing is done where it gave one within *again*. Never waits."""
        noted = self._noted.get((app, device_id))
        if noted is not None and now - noted < again:
            return
        if len(self._noted) >= REMEMBERED:
            self._noted.clear()
        self._noted[app, device_id] = now
        self._waiting[app].add(device_id)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write_soon())

    async def write(self) -> None:
        """Writes what waits."""
        waiting, self._waiting = self._waiting, defaultdict(set)
        for app, devices in waiting.items():
            named = sorted(devices)
            for at in range(0, len(named), BATCH):
                chunk = named[at : at + BATCH]
                try:
                    await self._parts.directory.seen(app, chunk, self._parts.clock())
                except Exception:  # noqa: BLE001 - the ledger's errors are many, and the next sign of life is near
                    _log.warning("devices' signs of life were not written", exc_info=True)
                    for device_id in chunk:
                        self._noted.pop((app, device_id), None)

    async def _write_soon(self) -> None:
        await asyncio.sleep(SOON_S)
        await self.write()

    async def close(self) -> None:
        """Writes what waits, at once."""
        if self._writing is not None and not self._writing.done():
            self._writing.cancel()
            await asyncio.wait({self._writing})
        await self.write()
