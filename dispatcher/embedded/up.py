"""Everything on one machine: the frame behind ``pushpath up``.

The caller supplies one function, *compose*: it is called once the servers serve, migrates and seeds them, and answers
with the product's processes and the document for ``up.json``. All the rest is here.
"""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dispatcher.embedded.children import ChildSpec
from dispatcher.embedded.errors import LaunchError
from dispatcher.embedded.places import DataDirectory
from dispatcher.embedded.ports import PortReservations
from dispatcher.embedded.process import has_ended, signal_group, spawn
from dispatcher.embedded.servers import Servers, plan_servers
from dispatcher.embedded.signals import StopSignals
from dispatcher.embedded.supervisor import Supervisor, say_on_stderr
from dispatcher.embedded.upfile import write_up_file

UP_FILE = "up.json"
_DEMO_GRACE = 2.0  # seconds


@dataclass(frozen=True, kw_only=True)
class UpOptions:
    """What the command line says."""

    data_dir: Path
    #: Empty the data directory first.
    fresh: bool = False
    #: Replace taken ports by free ones instead of failing.
    auto_ports: bool = False
    #: Configured servers win over embedded ones.
    hot_store_url: str | None = None
    ledger_url: str | None = None
    #: End after the demo, with its exit code.
    exit_after_demo: bool = False
    #: False lets a crash of the machine lose data; for tests.
    durable: bool = True


@dataclass(frozen=True, kw_only=True)
class UpContext:
    """What *compose* may use: running servers, ports that stay ours, the data directory, the options."""

    servers: Servers
    ports: PortReservations
    data_dir: Path
    options: UpOptions

    @property
    def up_file(self) -> Path:
        """Where ``up.json`` will stand."""
        return self.data_dir / UP_FILE


@dataclass(frozen=True, kw_only=True)
class UpPlan:
    """What *compose* answers."""

    #: The product's processes, started together; their `stop_order` below SERVERS_LAST orders the end.
    children: Sequence[ChildSpec]
    #: ``up.json`` without `pids`, which are kept true here. Every name in `all_pids` gets a pid or null.
    document: Mapping[str, object]
    all_pids: Sequence[str] = ()
    #: A command to run once, in the foreground, when everything is ready and up.json stands; its terminal is ours.
    demo: Sequence[str] | None = None
    demo_env: Mapping[str, str] | None = None
    #: Called at the end of the start, after the demo: print addresses. Must be quick.
    announce: Callable[[Mapping[str, object]], None] = lambda document: None


def run_up(
    options: UpOptions,
    compose: Callable[[UpContext], UpPlan],
    *,
    say: Callable[[str], None] = say_on_stderr,
) -> int:
    """Run everything until SIGTERM, SIGINT or (with `exit_after_demo`) the demo's end; the exit code. Main thread only.

    0 after a stop that was asked for, the demo's code with `exit_after_demo`, 1 when the start failed; then *say* was
    told why.
    """
    with StopSignals() as signals:
        try:
            return _run(options, compose, signals, say)
        except LaunchError as error:
            say(str(error))
            return 1
        except KeyboardInterrupt:
            return 0


def _run(
    options: UpOptions, compose: Callable[[UpContext], UpPlan], signals: StopSignals, say: Callable[[str], None]
) -> int:
    with signals.interrupt(), contextlib.ExitStack() as stack:
        directory = DataDirectory(options.data_dir, fresh=options.fresh)
        stack.callback(directory.close)
        (directory.root / UP_FILE).unlink(missing_ok=True)
        ports = PortReservations(auto=options.auto_ports)
        stack.callback(ports.close)
        servers = plan_servers(
            directory, hot_store_url=options.hot_store_url, ledger_url=options.ledger_url, durable=options.durable
        )
        opened = stack.pop_all()
    context = UpContext(servers=servers, ports=ports, data_dir=directory.root, options=options)
    publisher = _Publisher(context.up_file)
    with opened, Supervisor(directory, signals, on_change=publisher.update, say=say) as supervisor:
        if not supervisor.start(servers.specs()):
            return 0
        with signals.interrupt():
            plan = compose(context)
        if not supervisor.start(plan.children):
            return 0
        with publisher.opened(plan, supervisor.pids):
            code = _demonstrate(plan, supervisor, say)
            if code is not None and options.exit_after_demo:
                return code
            if not signals.stop_requested:
                plan.announce(publisher.document)
            supervisor.watch()
    return 0


def _demonstrate(plan: UpPlan, supervisor: Supervisor, say: Callable[[str], None]) -> int | None:
    """Play the demo while the supervisor goes on; its exit code, None without one or when a stop came first."""
    if plan.demo is None:
        return None
    sys.stdout.flush()
    demo = spawn(plan.demo, env=plan.demo_env, stdin=subprocess.DEVNULL)
    supervisor.watch(until=lambda: has_ended(demo))
    if demo.returncode is None:
        demo.terminate()
        try:
            demo.wait(timeout=_DEMO_GRACE)
        except subprocess.TimeoutExpired:
            signal_group(demo.pid, signal.SIGKILL)
            demo.wait()
        return None
    if demo.returncode != 0:
        say(f"The demo ended with exit code {demo.returncode}.")
    return demo.returncode if demo.returncode >= 0 else 1


class _Publisher:
    """Keeps up.json true once it is open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._plan: UpPlan | None = None
        self.document: dict[str, object] = {}

    @contextlib.contextmanager
    def opened(self, plan: UpPlan, pids: dict[str, int]) -> Iterator[None]:
        self._plan = plan
        self.update(pids)
        try:
            yield
        finally:
            self._plan = None
            self._path.unlink(missing_ok=True)

    def update(self, pids: dict[str, int]) -> None:
        if self._plan is None:
            return
        empty: dict[str, int | None] = dict.fromkeys(self._plan.all_pids)
        self.document = {**self._plan.document, "pids": {**empty, **pids}}
        write_up_file(self._path, self.document)
