"""Celery tasks: three lines round a pipeline verb. All are idempotent; none carries a payload."""

from celery import Celery

from dispatcher.domain.clock import MINUTE, SECOND
from dispatcher.domain.message import Lane
from dispatcher.ports.homes import Queue
from workers import app as names
from workers.chores import (
    archive_turn,
    audit_turn,
    clear_turn,
    health_turn,
    reconcile_turn,
    remember_turn,
    upkeep_turn,
)
from workers.figures import figures_turn
from workers.runtime import Runtime
from workers.sweeper import TURN, sweep_turn

_MINUTE_S = MINUTE / SECOND


def register_tasks(app: Celery, runtime: Runtime) -> None:
    """Binds the tasks of one worker process to its runtime."""

    @app.task(name=names.DRAIN)  # type: ignore[untyped-decorator]
    def drain(name: str, lane: str) -> None:
        runtime.run(_drain(runtime, Queue(name, Lane(lane))), _MINUTE_S)

    @app.task(name=names.SWEEP)  # type: ignore[untyped-decorator]
    def sweep() -> None:
        runtime.run(_sweep(runtime), TURN / SECOND + _MINUTE_S)

    @app.task(name=names.ARCHIVE)  # type: ignore[untyped-decorator]
    def archive() -> None:
        runtime.run(_archive(runtime), _MINUTE_S)

    @app.task(name=names.RECONCILE)  # type: ignore[untyped-decorator]
    def reconcile() -> None:
        runtime.run(_reconcile(runtime), 10 * _MINUTE_S)

    @app.task(name=names.AUDIT)  # type: ignore[untyped-decorator]
    def audit() -> None:
        runtime.run(_audit(runtime), 10 * _MINUTE_S)

    @app.task(name=names.REMEMBER)  # type: ignore[untyped-decorator]
    def remember() -> None:
        runtime.run(_remember(runtime), _MINUTE_S)

    @app.task(name=names.HEALTH)  # type: ignore[untyped-decorator]
    def health() -> None:
        runtime.run(_health(runtime), _MINUTE_S)

    @app.task(name=names.WEBHOOKS)  # type: ignore[untyped-decorator]
    def webhooks() -> None:
        runtime.run(_webhooks(runtime), _MINUTE_S)

    @app.task(name=names.CLEAR)  # type: ignore[untyped-decorator]
    def clear() -> None:
        runtime.run(_clear(runtime), _MINUTE_S)

    @app.task(name=names.FIGURES)  # type: ignore[untyped-decorator]
    def figures() -> None:
        runtime.run(_figures(runtime), 10 * _MINUTE_S)

    @app.task(name=names.UPKEEP)  # type: ignore[untyped-decorator]
    def upkeep() -> None:
        runtime.run(_upkeep(runtime), 10 * _MINUTE_S)


async def _webhooks(runtime: Runtime) -> None:
    await runtime.webhooks.turn()


async def _figures(runtime: Runtime) -> None:
    await figures_turn(runtime.stores)


async def _clear(runtime: Runtime) -> None:
    await clear_turn(runtime.stores)


async def _remember(runtime: Runtime) -> None:
    await remember_turn(runtime.stores)


async def _drain(runtime: Runtime, queue: Queue) -> None:
    await runtime.drains.begin(queue)


async def _sweep(runtime: Runtime) -> None:
    await sweep_turn(runtime.stores, runtime.drains)


async def _archive(runtime: Runtime) -> None:
    await archive_turn(runtime.stores)


async def _reconcile(runtime: Runtime) -> None:
    await reconcile_turn(runtime.stores)


async def _audit(runtime: Runtime) -> None:
    await audit_turn(runtime.stores)


async def _health(runtime: Runtime) -> None:
    await health_turn(runtime.stores)


async def _upkeep(runtime: Runtime) -> None:
    await upkeep_turn(runtime.stores)
