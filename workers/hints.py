"""Publishing hints: a queue has work due now. Lost ones cost a sweep, nothing else."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from celery import Celery

from dispatcher.ports.homes import Queue
from workers.app import DRAIN

_log = logging.getLogger(__name__)


class CeleryHints:
    """Publishes on a thread of its own: Celery's producers block. What arrives meanwhile is one more hint a queue."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hints")
        self._waiting: set[Queue] = set()
        self._busy: set[Queue] = set()

    async def __call__(self, queues: Sequence[Queue]) -> None:
        for queue in queues:
            if queue in self._busy:
                self._waiting.add(queue)
            else:
                await self._publish(queue)

    async def _publish(self, queue: Queue) -> None:
        self._busy.add(queue)
        try:
            while True:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._send, queue)
                if queue not in self._waiting:
                    return
                self._waiting.discard(queue)
        finally:
            self._busy.discard(queue)

    def _send(self, queue: Queue) -> None:
        try:
            self._app.send_task(
                DRAIN,
                args=[queue.name, queue.lane.value],
                queue=str(queue),
                ignore_result=True,
                expires=60,
                retry=False,
            )
        except Exception:  # noqa: BLE001 - the broker's errors are many; the sweep finds the work
            _log.warning("a hint was lost; the sweep makes up for it", extra={"queue": str(queue)}, exc_info=True)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
