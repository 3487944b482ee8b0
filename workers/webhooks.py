"""Sending webhooks: endpoints side by side, each one POST at a time; a hanging one keeps nobody else waiting."""

import asyncio
import random
from collections.abc import Mapping
from functools import cached_property

from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import Millis
from dispatcher.pipeline.webhooks import LEASE, Sending, in_background, send_waiting
from dispatcher.ports.webhooks import Endpoint
from dispatcher.webhooks.post import HttpPoster
from dispatcher.webhooks.signing import read_secret, sealed_for, signed_headers

SLOTS = 32  #: endpoints a process sends to at once


class WebhookSender:
    """The webhook sender of one worker process; opens nothing before its first turn."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._tasks: set[asyncio.Task[None]] = set()
        self._poster: HttpPoster | None = None

    async def turn(self) -> int:
        """Begins with every endpoint that is due, as far as there are free slots; how many those were."""
        free = SLOTS - len(self._tasks)
        if free <= 0:
            return 0
        endpoints = await self._stores.webhooks.claim(self._stores.clock(), lease_ms=LEASE, limit=free)
        for endpoint in endpoints:
            work = in_background(send_waiting(endpoint, self._sending), endpoint.webhook_id)
            task = asyncio.get_running_loop().create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return len(endpoints)

    @cached_property
    def _sending(self) -> Sending:
        stores = self._stores
        self._poster = HttpPoster(private=stores.settings.webhook_private_targets)

        def sign(endpoint: Endpoint, message: str, now: Millis, body: bytes) -> Mapping[str, str]:
            secret = stores.sealer.open(endpoint.secret, sealed_for(endpoint.app)).decode()
            return signed_headers(read_secret(secret), message, now, body)

        return Sending(webhooks=stores.webhooks, poster=self._poster, sign=sign, clock=stores.clock, dice=random.random)

    async def idle(self) -> None:
        """Waits for what is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def stop(self, within_s: float) -> None:
        """Ends what is under way, after a moment by force: its lease lapses, and another process sends it again."""
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._poster is not None:
            await self._poster.close()
