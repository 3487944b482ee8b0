"""Running a worker or beat in this process."""

import warnings
from collections.abc import Sequence

from celery import Celery
from celery.signals import worker_shutdown, worker_shutting_down

from dispatcher.settings import Settings
from dispatcher.telemetry import Metrics
from workers.app import CLEAR_QUEUE, DRAINS, QUEUES, SWEEP_QUEUE, UPKEEP_QUEUE, WEBHOOK_QUEUE, create_celery
from workers.runtime import Runtime
from workers.tasks import register_tasks

#: Served by workers that drain: both talk to the world outside.
SIDE_QUEUES = (WEBHOOK_QUEUE, CLEAR_QUEUE)


def run_worker(settings: Settings, metrics: Metrics, *, queues: Sequence[str], concurrency: int) -> None:
    """Serves *queues* until SIGTERM; ends what is under way first."""
    app = create_celery(settings.celery_broker.reveal())
    own = frozenset(queue.partition(".")[0] for queue in queues if queue in QUEUES)
    runtime = Runtime(settings, app, own, metrics)
    register_tasks(app, runtime)

    def stopping(**_: object) -> None:
        runtime.begin_stop()

    def stopped(**_: object) -> None:
        runtime.stop()

    worker_shutting_down.connect(stopping, weak=False)
    worker_shutdown.connect(stopped, weak=False)
    _quiet_celery()
    app.worker_main(
        [
            "worker",
            "--pool=threads",
            f"--concurrency={concurrency}",
            "--queues=" + ",".join(queues),
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=WARNING",
        ]
    )


def run_schedule(settings: Settings) -> None:
    """Celery beat without a schedule file: it only hints, and every task holds a lease."""
    app: Celery = create_celery(settings.celery_broker.reveal())
    _quiet_celery()
    app.Beat(scheduler_cls="celery.beat:Scheduler", loglevel="WARNING", quiet=True, pidfile=None).run()


def queues_for(*, drains: bool, sweep: bool) -> list[str]:
    """Queue names of a worker that drains, sweeps, or both."""
    return [*((*QUEUES, *SIDE_QUEUES) if drains else ()), *((SWEEP_QUEUE, UPKEEP_QUEUE) if sweep else ())]


def paths_queues(names: Sequence[str]) -> list[str]:
    """Queue names of some drains in all lanes. Raises ValueError for a name that is none."""
    known = (*DRAINS, *SIDE_QUEUES)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"unknown queue {', '.join(unknown)}; there are {', '.join(known)}")
    return [queue for queue in (*QUEUES, *SIDE_QUEUES) if queue.partition(".")[0] in names]


def _quiet_celery() -> None:
    """Celery warns about root on every start; containers and ``up`` run it so on purpose."""
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
