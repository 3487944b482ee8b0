"""One event loop a worker process, started on first use; Celery's threads hand it coroutines."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

import uvloop
from celery import Celery
from celery.exceptions import Ignore

from dispatcher.bootstrap import Stores, open_stores
from dispatcher.collector import calm_collector
from dispatcher.settings import Settings
from dispatcher.telemetry import Metrics
from workers.drains import Drains
from workers.hints import CeleryHints
from workers.webhooks import WebhookSender

Result = TypeVar("Result")
STOP_WITHIN_S = 2.0  #: what a provider has not answered by then comes back after its lease, under the same ids


class Runtime:
    """Stores, drains and their loop. *own*: the queue names this process serves."""

    def __init__(self, settings: Settings, app: Celery, own: frozenset[str], metrics: Metrics) -> None:
        self._settings = settings
        self._app = app
        self._own = own
        self._metrics = metrics
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._under_way: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self.stores: Stores
        self.drains: Drains
        self.webhooks: WebhookSender

    @property
    def opened(self) -> bool:
        """Whether any task ran yet."""
        return self._loop is not None

    def run(self, work: "Coroutine[Any, Any, Result]", timeout_s: float) -> Result:
        """Runs a coroutine on the process's loop and waits for it. Once the process stops, what is not done soon is let
        go (Celery's Ignore): every task may be cut off anywhere, and whatever it left is found by the next turn."""
        if self._stopping:
            work.close()
            raise Ignore
        future = asyncio.run_coroutine_threadsafe(self._tracked(work), self._ready())
        try:
            return future.result(timeout_s)
        except FutureTimeout:
            future.cancel()
            raise
        except CancelledError:
            raise Ignore from None

    async def _tracked(self, work: "Coroutine[Any, Any, Result]") -> Result:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - run_coroutine_threadsafe makes one
        self._under_way.add(task)
        try:
            return await work
        finally:
            self._under_way.discard(task)

    def _ready(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = uvloop.new_event_loop()
                self._thread = threading.Thread(target=loop.run_forever, name="pipeline", daemon=True)
                self._thread.start()
                asyncio.run_coroutine_threadsafe(self._open(), loop).result(30)
                self._loop = loop
            return self._loop

    async def _open(self) -> None:
        hints = CeleryHints(self._app)

        async def hint(queues: Any) -> None:
            await self.drains.hint(queues)

        self.stores = await open_stores(self._settings, hint=hint, metrics=self._metrics)
        self.drains = Drains(self.stores, self._own, hints)
        self.webhooks = WebhookSender(self.stores)
        calm_collector()

    def begin_stop(self) -> None:
        """The process was told to stop: nothing new begins, and what is under way has STOP_WITHIN_S. Never waits."""
        loop, self._stopping = self._loop, True
        if loop is not None:
            self.drains.stopping = True
            loop.call_soon_threadsafe(lambda: loop.create_task(self._let_go()))

    async def _let_go(self) -> None:
        """Drains and tasks side by side, so that one stalled vendor costs the time once."""
        await asyncio.gather(self.drains.stop(STOP_WITHIN_S), self._end_tasks(), return_exceptions=True)

    async def _end_tasks(self) -> None:
        if not self._under_way:
            return
        _, left = await asyncio.wait(self._under_way, timeout=STOP_WITHIN_S)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1)

    def stop(self) -> None:
        """Ends drains, then closes the stores on the loop that used them."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._close(), loop).result(STOP_WITHIN_S + 3)
        loop.call_soon_threadsafe(loop.stop)
        if self._thread is not None:
            self._thread.join(2)

    async def _close(self) -> None:
        await asyncio.gather(self.drains.stop(STOP_WITHIN_S), self.webhooks.stop(STOP_WITHIN_S))
        await self.stores.close()
