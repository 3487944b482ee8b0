"""The embedded Valkey: its append-only file and its process."""

import os
import shutil
import signal
from pathlib import Path
from urllib.parse import urlencode

from dispatcher.embedded.account import Account
from dispatcher.embedded.binaries import Program
from dispatcher.embedded.children import SERVERS_LAST, ChildSpec
from dispatcher.embedded.places import given_directory
from dispatcher.embedded.wire import valkey_answers

DATABASES = 64


class Valkey:
    """One server below a server home, reachable by a socket below a runtime directory."""

    name = "hot_store"

    def __init__(
        self, *, program: Program, home: Path, runtime: Path, account: Account | None, durable: bool = True
    ) -> None:
        self._program = program
        self._data = home / "valkey"
        self._sockets = runtime / "hot"
        self._account = account
        self._fsync = "everysec" if durable else "no"

    @property
    def data(self) -> Path:
        """Where the append-only file stands."""
        return self._data

    @property
    def socket(self) -> Path:
        """The socket's path."""
        return self._sockets / "valkey.sock"

    def url(self, database: int = 0) -> str:
        """The address redis-py reads."""
        return f"unix://{self.socket}?{urlencode({'db': database})}"

    def broker_url(self, database: int = 0) -> str:
        """The address Celery (kombu) reads."""
        return f"redis+socket://{self.socket}?{urlencode({'virtual_host': database})}"

    def spec(self) -> ChildSpec:
        """How to start, probe and stop it."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self._data),
            "databases": str(DATABASES),
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return ChildSpec(
            name=self.name,
            argv=(str(self._program.path), *(part for name, value in options.items() for part in (f"--{name}", value))),
            env={name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ},
            bare_env=True,
            cwd=self._data,
            account=self._account,
            stop_signal=signal.SIGTERM,
            death_signal=signal.SIGTERM,
            stop_order=SERVERS_LAST,
            stop_grace=5.0,
            prepare=self.prepare,
            ready=self.ready,
        )

    def prepare(self) -> None:
        """Make its directories and remove the socket a killed server left."""
        given_directory(self._sockets, self._account)
        given_directory(self._data, self._account)
        self.socket.unlink(missing_ok=True)

    def ready(self) -> bool:
        """Whether it has loaded its file and answers."""
        return valkey_answers(self.socket)

    def wipe(self) -> None:
        """Forget everything; the server must not run."""
        shutil.rmtree(self._data, ignore_errors=True)
