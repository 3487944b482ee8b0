"""What a supervised process is: how to start it, when it is ready, how it wants to be stopped."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dispatcher.embedded.account import Account

#: Stop order of the two servers: after everything that uses them.
SERVERS_LAST = 100


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """One process to keep alive.

    Its arguments and environment hold its fixed ports, so every restart uses the same ones.
    """

    name: str
    argv: tuple[str, ...]
    #: Added to our own environment, or the whole of it when `bare_env` is set.
    env: Mapping[str, str] = field(default_factory=dict)
    bare_env: bool = False
    cwd: Path | None = None
    account: Account | None = None
    #: What asks it to end. Celery workers take SIGTERM; `postgres` takes SIGINT for a fast shutdown.
    stop_signal: int = signal.SIGTERM
    #: What it gets when the supervisor dies. SIGKILL for Celery: with SIGTERM it outlives us by its longest task.
    death_signal: int = signal.SIGTERM
    #: Lower numbers stop first; equal ones stop together.
    stop_order: int = 0
    #: Seconds between `stop_signal` and SIGKILL.
    stop_grace: float = 3.0
    #: Runs before each start, in the main thread: clears what a killed predecessor left. May raise LaunchError.
    prepare: Callable[[], None] | None = None
    #: Whether it serves already; asked often, so it must answer within about 0.2 s. None: ready once started.
    ready: Callable[[], bool] | None = None
    #: Seconds from the first start until `ready` must have said yes.
    ready_timeout: float = 30.0
    #: Exit codes that mean a clean stop when we asked for it; anything else is reported.
    clean_exits: frozenset[int] = frozenset({0, -signal.SIGTERM, -signal.SIGINT})
