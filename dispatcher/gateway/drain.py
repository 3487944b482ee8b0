"""A node that goes: nobody new, ``bye`` to everyone with a time to come back, deliveries until the last moment.

0 .. 40 % of the budget    bye in slices, each device with its own retry_after_s; frames and acks go on
.. 90 %                    close in the same order, at least a second after the bye where the budget allows
.. 100 %                   what did not answer is cut; acks are handed on, the lease ends
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from dispatcher.gateway.desk import Desk
from dispatcher.gateway.line import Line
from dispatcher.protocol.close_codes import CloseCode
from dispatcher.protocol.frames import Bye

logger = logging.getLogger("pushpath.gateway")

_SLICES = 20


class Drain:
    """Empties one node."""

    __slots__ = ("_desk",)

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def run(self, budget_s: float) -> None:
        """Takes at most *budget_s*; less where the devices go sooner."""
        desk = self._desk
        loop = asyncio.get_running_loop()
        began = loop.time()
        desk.draining = True
        desk.polls.release_all()
        lines = list(desk.hub)
        spread = desk.settings.drain_spread_s
        pause = min(budget_s * 0.4, 2.0, len(lines) / 500) / _SLICES
        for slice_ in _slices(lines):
            for line in slice_:
                line.write(Bye("draining", desk.pressure.come_back_s(spread)))
            if pause > 0:
                await asyncio.sleep(pause)
        await asyncio.sleep(min(1.0, budget_s * 0.2) if lines else 0)
        await within(desk.acks.flush(), max(0.0, began + budget_s * 0.6 - loop.time()))
        for slice_ in _slices(lines):
            for line in slice_:
                _close(line)
            if pause > 0:
                await asyncio.sleep(pause)
        for line in list(desk.hub):  # those that got in at the last moment
            line.farewell(CloseCode.GOING_AWAY, "draining", desk.pressure.come_back_s(spread))
        while (desk.pressure.connections or desk.acks.waiting) and loop.time() - began < budget_s:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        for line in lines:
            if line.ended:
                line.transport.abort()
        for arrival in list(desk.unclaimed):
            arrival.transport.abort()


async def within(step: Coroutine[Any, Any, None], seconds: float) -> bool:
    """Waits for *step* no longer than that, whatever it does with being cancelled; False where it was left behind."""
    task = asyncio.get_running_loop().create_task(step)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        task.cancel()
        return False
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("a step of leaving failed", exc_info=error)
    return True


def _slices(lines: list[Line]) -> list[list[Line]]:
    share = len(lines) // _SLICES + 1
    return [lines[start : start + share] for start in range(0, len(lines), share)]


def _close(line: Line) -> None:
    """The close handshake; the ``bye`` is out already."""
    if not line.ended:
        line.leave(CloseCode.GOING_AWAY, "draining")
