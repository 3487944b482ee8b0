"""The embedded PostgreSQL: its cluster, its settings, its process."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from dispatcher.embedded.account import Account
from dispatcher.embedded.binaries import Program
from dispatcher.embedded.children import SERVERS_LAST, ChildSpec
from dispatcher.embedded.errors import LaunchError
from dispatcher.embedded.places import given_directory
from dispatcher.embedded.process import identify, working_directory
from dispatcher.embedded.wire import WireError, query

USER = "pushpath"
DATABASE = "pushpath"
_SOCKET = ".s.PGSQL.5432"  # the port only names the socket; nothing listens on TCP
_NO_SUCH_DATABASE = "3D000"  # https://www.postgresql.org/docs/current/errcodes-appendix.html

#: For one machine that does other things too: a few hundred MB, many short transactions, SSD.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "dynamic_shared_memory_type": "mmap",  # a container's /dev/shm is tiny, and a kill leaves files there
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "128MB",
    "wal_level": "replica",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "random_page_cost": "1.1",
    "jit": "off",  # planning it costs more than these queries
    "autovacuum_naptime": "20s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}
#: For tests: a crash of the machine loses data, a crash of the process does not (so commits stay synchronous).
FAST_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "shared_buffers": "64MB",
}


class Postgres:
    """One cluster below a server home, reachable by a socket below a runtime directory."""

    name = "ledger"

    def __init__(
        self, *, program: Program, home: Path, runtime: Path, account: Account | None, durable: bool = True
    ) -> None:
        self._program = program
        self._data = home / "postgres"
        self._sockets = runtime / "ledger"
        self._account = account
        self._settings = {**SETTINGS, **({} if durable else FAST_SETTINGS)}

    @property
    def data(self) -> Path:
        """The cluster's directory."""
        return self._data

    @property
    def socket(self) -> Path:
        """The socket's path."""
        return self._sockets / _SOCKET

    def url(self, database: str = DATABASE) -> str:
        """The SQLAlchemy address of *database* over asyncpg."""
        return f"postgresql+asyncpg://{USER}@/{database}?host={quote(str(self._sockets), safe='/')}"

    def query(self, *statements: str, database: str = "postgres") -> list[list[str | None]]:
        """Run *statements* as the owner, without a driver; the rows of the last. Raises WireError."""
        return query(self.socket, USER, database, *statements, timeout=60.0)

    def spec(self) -> ChildSpec:
        """How to start, probe and stop it."""
        settings = {**self._settings, "unix_socket_directories": str(self._sockets)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return ChildSpec(
            name=self.name,
            argv=(str(self._program.path), "-D", str(self._data), *options),
            env=self._environment(),
            bare_env=True,
            cwd=self._data,
            account=self._account,
            stop_signal=signal.SIGINT,  # fast shutdown: ends sessions, writes a checkpoint
            death_signal=signal.SIGINT,
            stop_order=SERVERS_LAST,
            stop_grace=5.0,
            prepare=self.prepare,
            ready=self.ready,
        )

    def prepare(self) -> None:
        """Make the cluster if there is none and clear what a killed server left.

        Raises LaunchError when another server runs on this data or a different version made it.
        """
        given_directory(self._sockets, self._account)
        if not self._data.exists():
            self._init()
        made_by = (self._data / "PG_VERSION").read_text().strip()
        if made_by != str(self._program.version[0]):
            raise LaunchError(
                f"{self._data} was made by PostgreSQL {made_by}, but {self._program.path} is "
                f"{self._program.version[0]}. Configure a server of that version, or start with --fresh."
            )
        for leftover in (self._data / "postmaster.pid", self.socket.with_name(f"{_SOCKET}.lock")):
            self._remove_stale(leftover)

    def ready(self) -> bool:
        """Whether it takes queries; makes our database at the first yes."""
        if not self._says_ready():  # asking earlier only fills its log with refusals
            return False
        try:
            query(self.socket, USER, DATABASE, "SELECT 1")
        except WireError as error:
            if error.code != _NO_SUCH_DATABASE:
                return False
            self.query(f"CREATE DATABASE {DATABASE}")
        return True

    def wipe(self) -> None:
        """Remove the whole cluster; the server must not run."""
        shutil.rmtree(self._data, ignore_errors=True)

    def _init(self) -> None:
        unfinished = self._data.with_name("postgres.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        given_directory(unfinished, self._account)
        builtin = self._program.version >= (17,)  # needs no locale of the operating system
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"] if builtin else ["--locale=C"]
        reply = subprocess.run(  # noqa: S603 - argv is ours
            [
                str(self._program.path.with_name("initdb")),
                *("-D", str(unfinished), "-U", USER, "--auth=trust", "--encoding=UTF8", "--no-sync", *locale),
            ],
            env=self._environment(),
            cwd=unfinished,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            user=None if self._account is None else self._account.uid,
            group=None if self._account is None else self._account.gid,
            extra_groups=None if self._account is None else [],
        )
        if reply.returncode != 0:
            raise LaunchError(f"initdb failed: {reply.stderr.strip() or reply.stdout.strip()}")
        unfinished.replace(self._data)  # whole or not at all

    def _says_ready(self) -> bool:
        # Line 8 of the file is the state; pg_ctl waits by it too (src/include/utils/pidfile.h).
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
        return {"LC_ALL": "C", "TZ": "UTC", **kept}

    def _remove_stale(self, pid_file: Path) -> None:
        """PostgreSQL refuses to start while the pid in its files is a zombie or reused: judge it better."""
        try:
            pid = abs(int(pid_file.read_text().split("\n", 1)[0]))
        except FileNotFoundError:
            return
        except ValueError:
            pid = 0
        if identify(pid) is not None and working_directory(pid, unknown=self._data) == self._data:
            raise LaunchError(f"PostgreSQL already runs on {self._data} as process {pid}. Stop it first.")
        pid_file.unlink(missing_ok=True)
