"""The Celery application: queues, delivery guarantees, the schedule. Messages are hints; no deadline lives here."""

from typing import Any

from celery import Celery

from dispatcher.domain.message import Lane
from dispatcher.domain.paths import Path

DRAINS = ("plan", *(path.value for path in Path))
QUEUES = tuple(f"{name}.{lane.value}" for name in DRAINS for lane in Lane)
SWEEP_QUEUE = "sweep"
UPKEEP_QUEUE = "upkeep"
WEBHOOK_QUEUE = "webhooks"
CLEAR_QUEUE = "clear"
#: Longer than any lease, so that a hint is never run twice while its first reader lives.
VISIBILITY_TIMEOUT_S = 300

SWEEP, ARCHIVE, RECONCILE, UPKEEP, AUDIT, REMEMBER, HEALTH = (
    f"pushpath.{name}" for name in ("sweep", "archive", "reconcile", "upkeep", "audit", "remember", "health")
)
WEBHOOKS, CLEAR, FIGURES = "pushpath.webhooks", "pushpath.clear", "pushpath.figures"
DRAIN = "pushpath.drain"


def create_celery(broker_url: str) -> Celery:
    """The application of one process: a worker, beat, or whoever publishes hints."""
    app = Celery("pushpath", broker=broker_url)
    app.conf.update(
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        result_backend=None,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport(broker_url),
        task_default_queue=UPKEEP_QUEUE,
        task_create_missing_queues=True,
        task_serializer="json",
        accept_content=["json"],
        timezone="UTC",
        beat_max_loop_interval=1,
        beat_schedule=_schedule(),
    )
    return app


def _transport(broker_url: str) -> dict[str, Any]:
    if not broker_url.startswith(("redis", "rediss", "sentinel")):
        return {}
    return {
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "unacked_restore_throttle": 1,
        "queue_order_strategy": "round_robin",
        "priority_steps": [0],
        "socket_keepalive": True,
        "health_check_interval": 25,
    }


def _schedule() -> dict[str, Any]:
    """What beat hints at. Each task holds a lease, so two beats do no harm; stale hints expire unread."""

    def entry(task: str, seconds: float, queue: str) -> dict[str, Any]:
        return {"task": task, "schedule": seconds, "options": {"queue": queue, "expires": max(seconds * 3, 3)}}

    return {
        "sweep": entry(SWEEP, 1.0, SWEEP_QUEUE),
        "archive": entry(ARCHIVE, 1.0, UPKEEP_QUEUE),
        "reconcile": entry(RECONCILE, 1.0, UPKEEP_QUEUE),
        "audit": entry(AUDIT, 60.0, UPKEEP_QUEUE),
        "remember": entry(REMEMBER, 30.0, UPKEEP_QUEUE),
        "health": entry(HEALTH, 1.0, UPKEEP_QUEUE),
        "webhooks": entry(WEBHOOKS, 1.0, WEBHOOK_QUEUE),
        "clear": entry(CLEAR, 1.0, CLEAR_QUEUE),
        "figures": entry(FIGURES, 5.0, UPKEEP_QUEUE),
        "upkeep": entry(UPKEEP, 600.0, UPKEEP_QUEUE),
    }
