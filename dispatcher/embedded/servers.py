"""The two servers of one data directory, embedded or configured, and starting them without a supervisor."""

import contextlib
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from dispatcher.embedded.account import server_account
from dispatcher.embedded.binaries import Program, find_postgres, find_valkey, within_reach
from dispatcher.embedded.children import ChildSpec
from dispatcher.embedded.errors import LaunchError
from dispatcher.embedded.logs import open_log, tail
from dispatcher.embedded.places import DataDirectory
from dispatcher.embedded.postgres import Postgres
from dispatcher.embedded.process import has_ended, signal_group, spawn
from dispatcher.embedded.valkey import Valkey

_START_SECONDS = 30.0
_STOP_SECONDS = 8.0
_POLL = 0.01


class Servers:
    """Addresses of hot store, broker and ledger, and power over the embedded ones.

    Made by :func:`start_servers`, or by :func:`plan_servers` for a supervisor that starts them itself. A configured
    server is an address only: faults and restarts raise LaunchError for it.
    """

    def __init__(
        self,
        directory: DataDirectory,
        hot_store: Valkey | str,
        ledger: Postgres | str,
    ) -> None:
        self.directory = directory
        self._hot_store = hot_store
        self._ledger = ledger
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def hot_store_url(self) -> str:
        """Where redis-py finds the hot store (``unix:///path?db=0``)."""
        return self._hot_store.url() if isinstance(self._hot_store, Valkey) else for_redis_py(self._hot_store)

    @property
    def broker_url(self) -> str:
        """Where Celery finds its broker, the same server (``redis+socket:///path?virtual_host=0``)."""
        return self._hot_store.broker_url() if isinstance(self._hot_store, Valkey) else for_celery(self._hot_store)

    @property
    def ledger_url(self) -> str:
        """Where SQLAlchemy finds the ledger (``postgresql+asyncpg://...``)."""
        return self._ledger.url() if isinstance(self._ledger, Postgres) else self._ledger

    @property
    def hot_store(self) -> Valkey:
        """The embedded Valkey. Raises LaunchError when the hot store is configured."""
        if isinstance(self._hot_store, Valkey):
            return self._hot_store
        raise LaunchError("The hot store is a configured server; it is not ours to touch.")

    @property
    def ledger(self) -> Postgres:
        """The embedded PostgreSQL. Raises LaunchError when the ledger is configured."""
        if isinstance(self._ledger, Postgres):
            return self._ledger
        raise LaunchError("The ledger is a configured server; it is not ours to touch.")

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name (`hot_store`, `ledger`) of the embedded servers that we started and that run."""
        return {name: process.pid for name, process in self._processes.items() if not has_ended(process)}

    def specs(self) -> list[ChildSpec]:
        """How a supervisor starts the embedded ones."""
        return [server.spec() for server in (self._hot_store, self._ledger) if not isinstance(server, str)]

    def start(self) -> None:
        """Start what is embedded and does not run, and wait until it serves. Raises LaunchError."""
        specs = [spec for spec in self.specs() if spec.name not in self.pids]
        for spec in specs:
            self._spawn(spec)
        deadline = time.monotonic() + _START_SECONDS
        for spec in specs:
            self._await(spec, deadline)

    def kill_hot_store(self, *, wipe: bool = False) -> None:
        """``kill -9`` Valkey; with *wipe* its data goes too. :meth:`restart_hot_store` brings it back."""
        self._kill(Valkey.name)
        if wipe:
            self.hot_store.wipe()

    def kill_ledger(self) -> None:
        """``kill -9`` PostgreSQL. :meth:`restart_ledger` brings it back on the same data."""
        self._kill(Postgres.name)

    def stop_hot_store(self) -> None:
        """Stop Valkey cleanly."""
        self._stop([self.hot_store.spec()])

    def stop_ledger(self) -> None:
        """Stop PostgreSQL cleanly (fast shutdown: open sessions are ended)."""
        self._stop([self.ledger.spec()])

    def restart_hot_store(self) -> None:
        """Start Valkey again on the same data and address, stopping it first if it runs."""
        self.stop_hot_store()
        self.start()

    def restart_ledger(self) -> None:
        """Start PostgreSQL again on the same data and address, stopping it first if it runs."""
        self.stop_ledger()
        self.start()

    def stop(self, *, discard: bool = False) -> None:
        """Stop both and give the data directory up; with *discard* remove it. Calling it twice is fine."""
        self._stop(self.specs())
        if discard:
            self.directory.discard()
        else:
            self.directory.close()

    def _spawn(self, spec: ChildSpec) -> None:
        if spec.prepare is not None:
            spec.prepare()
        with open_log(self.directory.logs, spec.name) as log:
            self._processes[spec.name] = spawn(
                spec.argv,
                env=spec.env,
                cwd=spec.cwd,
                account=spec.account,
                output=log,
                death_signal=spec.death_signal,
                keep_fds=[self.directory.lock_fd],
            )
        self.directory.record(self.pids)

    def _await(self, spec: ChildSpec, deadline: float) -> None:
        while spec.ready is not None and not spec.ready():
            if time.monotonic() > deadline:
                raise self._failure(spec, "is not ready after 30 s")
            if has_ended(self._processes[spec.name]):
                code = self._processes[spec.name].returncode
                # Sessions of a killed PostgreSQL hold its shared memory for a moment longer.
                if "still in use" not in tail(self.directory.logs, spec.name):
                    raise self._failure(spec, f"ended with {code}")
                time.sleep(0.1)
                self._spawn(spec)
            time.sleep(_POLL)

    def _failure(self, spec: ChildSpec, what: str) -> LaunchError:
        return LaunchError(f"{spec.argv[0]} {what}:\n{tail(self.directory.logs, spec.name)}")

    def _kill(self, name: str) -> None:
        process = self._processes.get(name)
        if process is None:
            raise LaunchError(f"{name} was not started here; it is not ours to kill.")
        if not has_ended(process):
            process.kill()
        _await_end(process, _STOP_SECONDS)

    def _stop(self, specs: list[ChildSpec]) -> None:
        ending = [(spec, self._processes.pop(spec.name)) for spec in specs if spec.name in self._processes]
        for spec, process in ending:
            if not has_ended(process):
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(spec.stop_signal)
        for _, process in ending:
            if not _await_end(process, _STOP_SECONDS):
                signal_group(process.pid, signal.SIGKILL)
                process.wait()


def plan_servers(
    directory: DataDirectory, *, hot_store_url: str | None = None, ledger_url: str | None = None, durable: bool = True
) -> Servers:
    """The servers of *directory*, found and placed but not started. Raises LaunchError when one cannot be found."""
    if hot_store_url is not None and ledger_url is not None:
        return Servers(directory, hot_store_url, ledger_url)
    account = server_account()
    runtime, home = directory.runtime(account), directory.server_home(account)

    def reachable(program: Program) -> Program:
        return within_reach(program, account, lambda: directory.private_home(account))

    hot_store: Valkey | str = hot_store_url or Valkey(
        program=reachable(find_valkey()), home=home, runtime=runtime, account=account, durable=durable
    )
    ledger: Postgres | str = ledger_url or Postgres(
        program=reachable(find_postgres()), home=home, runtime=runtime, account=account, durable=durable
    )
    return Servers(directory, hot_store, ledger)


def start_servers(
    data_dir: Path,
    *,
    hot_store_url: str | None = None,
    ledger_url: str | None = None,
    fresh: bool = False,
    durable: bool = True,
) -> Servers:
    """Start real Valkey and PostgreSQL on *data_dir*; configured URLs win. Only in the main thread.

    *fresh* empties the directory first; without *durable* a crash of the machine may lose data (for tests).
    Raises LaunchError. The servers die with this process.
    """
    directory = DataDirectory(data_dir, fresh=fresh)
    servers: Servers | None = None
    try:
        servers = plan_servers(directory, hot_store_url=hot_store_url, ledger_url=ledger_url, durable=durable)
        servers.start()
    except BaseException:
        if servers is not None:
            servers.stop()
        directory.close()
        raise
    return servers


def for_redis_py(url: str) -> str:
    """A hot store address as redis-py reads it: ``redis+socket://`` becomes ``unix://``."""
    parts = urlsplit(url)
    if parts.scheme != "redis+socket":
        return url
    database = parse_qs(parts.query).get("virtual_host", ["0"])[0]
    return f"unix://{parts.path}?{urlencode({'db': database})}"


def for_celery(url: str) -> str:
    """A hot store address as Celery reads it: ``unix://`` becomes ``redis+socket://``."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    database = parse_qs(parts.query).get("db", ["0"])[0]
    return f"redis+socket://{parts.path}?{urlencode({'virtual_host': database})}"


def _await_end(process: subprocess.Popen[bytes], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not has_ended(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
