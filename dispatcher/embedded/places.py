"""Where the files of one ``--data`` directory stand, and who may use it: one owner at a time.

Three places belong to a data directory:

- the directory itself, locked with ``flock``. Children inherit the lock, so holding it proves that no process of an
  earlier run is left, also after ``kill -9`` of its supervisor;
- a short *runtime directory* for sockets (a socket's path is limited to about 107 bytes), mode 0700;
- the *server home*: normally the data directory; as root, where ``nobody`` cannot reach that, one in
  /var/tmp.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import stat
import tempfile
import time
from pathlib import Path

from dispatcher.embedded.account import Account, can_enter
from dispatcher.embedded.errors import DirectoryInUseError, LaunchError
from dispatcher.embedded.process import Identity, identify, runs, signal_group

_MARKER = ".pushpath"
_LOCK = "lock"
_RUNTIME_PATH_LIMIT = 107 - len("/ledger/.s.PGSQL.5432.lock")
_REMAINS_GRACE = 10.0  # seconds a killed supervisor's children get to end by themselves
_PRIVATE_HOMES = Path("/var/tmp")  # noqa: S108 - survives a reboot; names are checked for owner and mode


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def owned_directory(path: Path, *, account: Account | None = None) -> Path:
    """Make *path* ours alone (0700); with *account*, enterable by that one group (0710).

    Raises LaunchError when something else stands there: a link, a file, or another person's directory.
    """
    mode = 0o700 if account is None else 0o710
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise LaunchError(f"{path} belongs to somebody else; remove it or set TMPDIR to a directory of your own.")
    if account is not None:
        os.chown(path, -1, account.gid)
    path.chmod(mode)
    return path


def given_directory(path: Path, account: Account | None) -> Path:
    """Make *path* a 0700 directory that belongs to *account* (None: to us)."""
    path.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(path, account.uid, account.gid)
    path.chmod(0o700)
    return path


class DataDirectory:
    """A locked data directory. Close it to let the next owner in."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Create or take *path*; *fresh* empties it first.

        Raises DirectoryInUseError when a live process owns it, LaunchError when the directory holds foreign files.
        """
        self.root = path.expanduser().absolute()
        _make(self.root)
        self.root = self.root.resolve()
        self._fd = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _take(self._fd, self.root)
            self.record({})
            if fresh:
                self._empty()
            self._marker = self._read_marker()
            self._write_marker()
        except BaseException:
            os.close(self._fd)
            raise
        self.logs = self.root / "logs"
        self.logs.mkdir(mode=0o700, exist_ok=True)

    @property
    def lock_fd(self) -> int:
        """The lock's descriptor, for children to inherit."""
        return self._fd

    def record(self, children: dict[str, int]) -> None:
        """Write down who holds the lock, so that the next owner knows whom to wait for and whom to end."""
        holders = {name: _as_json(identify(pid)) for name, pid in children.items()}
        document = {"owner": _as_json(identify(os.getpid())), "children": holders}
        content = json.dumps(document).encode()
        os.pwrite(self._fd, content, 0)
        os.ftruncate(self._fd, len(content))

    def runtime(self, account: Account | None) -> Path:
        """The directory for sockets: short, ours alone, the same for the same data directory."""
        for directory in self._runtime_candidates():
            parent = directory.parent
            if len(os.fsencode(directory)) > _RUNTIME_PATH_LIMIT or not os.access(parent, os.W_OK | os.X_OK):
                continue
            owned_directory(directory, account=account)
            if account is None or can_enter(account, parent):
                return directory
            directory.rmdir()
        raise LaunchError("No temporary directory has a path short enough for sockets; set TMPDIR to a shorter one.")

    def server_home(self, account: Account | None) -> Path:
        """Where the servers keep their data: here, or in /var/tmp where *account* cannot get here.

        The first answer is written down and stays. Raises LaunchError when the place of earlier data is out of reach.
        """
        recorded = self._marker.get("server_home")
        if recorded is not None:
            home = Path(recorded)
            self._check_recorded(home, account)
        elif account is None or can_enter(account, self.root):
            home = self.root
        else:
            home = self.private_home(account)
        self._marker["server_home"] = str(home)
        self._write_marker()
        return home

    def private_home(self, account: Account | None) -> Path:
        """Our place in /var/tmp: reachable by *account* wherever the data stands, and never noexec like /dev/shm."""
        return owned_directory(self._private_home(), account=account)

    def _check_recorded(self, home: Path, account: Account | None) -> None:
        if not home.is_dir():
            raise LaunchError(f"The servers' data of {self.root} stood in {home}, which is gone. Start with --fresh.")
        if home == self.root:
            if account is not None and not can_enter(account, home):
                raise LaunchError(
                    f"The account {account.name}, which runs the servers, can no longer enter {home}. "
                    "Give the directories above it back their x bit for others, or start with --fresh."
                )
        else:
            owned_directory(home, account=account)

    def discard(self) -> None:
        """Remove everything this directory stands for, and itself; for tests and throw-away runs."""
        self._empty()
        self.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def close(self) -> None:
        """Give the directory up, once nothing that started here runs any more."""
        if self._fd >= 0:
            for runtime in self._runtime_candidates():
                _remove_own(runtime)
            os.close(self._fd)
            self._fd = -1

    def _read_marker(self) -> dict[str, str]:
        try:
            content = (self.root / _MARKER).read_text()
        except FileNotFoundError:
            return {}
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise LaunchError(f"{self.root / _MARKER} is damaged. Start with --fresh.")
        return {str(key): str(value) for key, value in document.items()}

    def _write_marker(self) -> None:
        fresh = self.root / f"{_MARKER}.new"
        fresh.write_text(json.dumps(self._marker))
        fresh.replace(self.root / _MARKER)

    def _runtime_candidates(self) -> list[Path]:
        parents = dict.fromkeys((Path(tempfile.gettempdir()), Path("/tmp"), _PRIVATE_HOMES))  # noqa: S108
        return [parent / f"pushpath-{os.geteuid()}-{_digest(self.root)}" for parent in parents]

    def _private_home(self) -> Path:
        return _PRIVATE_HOMES / f"pushpath-data-{os.geteuid()}-{_digest(self.root)}"

    def _empty(self) -> None:
        """Remove all but the lock, the servers' private home and their sockets included."""
        for leftover in (*self._runtime_candidates(), self._private_home()):
            _remove_own(leftover)
        for entry in self.root.iterdir():
            if entry.name == _LOCK:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _remove_own(directory: Path) -> None:
    """Remove a directory in a place that everybody may write to, if it is ours."""
    if directory.is_dir() and not directory.is_symlink() and directory.lstat().st_uid == os.geteuid():
        shutil.rmtree(directory)


def _make(root: Path) -> None:
    """Create the directory; a filled one without our marker is somebody's, and stays untouched."""
    try:
        # As root the servers' account has to pass through; secrets inside are 0600 files.
        root.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        entries = {entry.name for entry in root.iterdir()} - {"lost+found"}
    except OSError as error:
        raise LaunchError(f"Cannot use {root} as the data directory: {error.strerror}.") from error
    if entries and not entries & {_MARKER, _LOCK}:
        raise LaunchError(f"{root} holds files that are not Pushpath's. Choose an empty directory for --data.")


def _take(fd: int, root: Path) -> None:
    """Lock *fd*: at once, or after what a killed supervisor left behind has ended or been ended."""
    if _try_lock(fd):
        return
    deadline = time.monotonic() + _REMAINS_GRACE
    killed = False
    while not _try_lock(fd):
        owner, children = _holders(fd)
        if owner is not None and runs(owner):
            raise DirectoryInUseError(
                f"{root} is in use by process {owner.pid}. Stop it first, or choose another --data."
            )
        if time.monotonic() >= deadline:
            if killed:
                raise DirectoryInUseError(f"{root} is locked by a process that cannot be told. Choose another --data.")
            for child in children:
                if runs(child):
                    signal_group(child.pid, signal.SIGKILL)
            killed, deadline = True, time.monotonic() + 2.0
        time.sleep(0.05)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holders(fd: int) -> tuple[Identity | None, list[Identity]]:
    try:
        document = json.loads(os.pread(fd, 1 << 16, 0))
        children = [_from_json(entry) for entry in document["children"].values()]
        return _from_json(document["owner"]), [child for child in children if child is not None]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, []


def _as_json(identity: Identity | None) -> list[object] | None:
    return None if identity is None else [identity.pid, identity.started]


def _from_json(entry: object) -> Identity | None:
    match entry:
        case [int(pid), str(started)]:
            return Identity(pid=pid, started=started)
    return None
