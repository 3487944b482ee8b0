"""Ports for the children: fixed for the whole run, so that a restart serves the same addresses."""

import contextlib
import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dispatcher.embedded.errors import LaunchError, PortTakenError
from dispatcher.embedded.places import owned_directory

HOST = "127.0.0.1"
#: Below the range systems hand out to outgoing connections, so nobody takes one between two starts of a child.
_RANGE = range(20_000, 32_000)
_TRIES = 500


def is_free(port: int, host: str = HOST) -> bool:
    """Whether a server could listen on *port* now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT can be listened on
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def pick_free_port(preferred: int, dice: random.Random | None = None) -> int:
    """*preferred* if it is free, else a random free one. For supervisors side by side use :class:`PortReservations`."""
    for port in _candidates(preferred, auto=True, dice=dice):
        if is_free(port):
            return port
    raise LaunchError("No free port was found.")


class PortReservations:
    """Ports that no other supervisor of this user picks while this object lives, also before a child listens."""

    def __init__(self, *, auto: bool = False, dice: random.Random | None = None) -> None:
        """With *auto* a taken port is replaced by a free one."""
        self._auto = auto
        self._dice = dice
        self._locks: dict[int, int] = {}
        self._directory = owned_directory(Path(tempfile.gettempdir()) / f"pushpath-{os.geteuid()}-ports")

    def pick(self, preferred: int) -> int:
        """*preferred*, or with `auto` another free one when it is taken.

        Raises PortTakenError without `auto`, LaunchError when nothing is free.
        """
        for port in _candidates(preferred, auto=self._auto, dice=self._dice):
            if port not in self._locks and self._lock(port):
                if is_free(port):
                    return port
                os.close(self._locks.pop(port))
        if not self._auto:
            raise PortTakenError(preferred)
        raise LaunchError("No free port was found.")

    def close(self) -> None:
        """Let others have them."""
        while self._locks:  # the empty files stay: unlinking a lock file lets two hold "it"
            os.close(self._locks.popitem()[1])

    def _lock(self, port: int) -> bool:
        fd = os.open(self._directory / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._locks[port] = fd
            return True
        os.close(fd)
        return False


def _candidates(preferred: int, *, auto: bool, dice: random.Random | None) -> Iterator[int]:
    yield preferred
    if auto:
        roll = dice or random.Random()
        for _ in range(_TRIES):
            yield roll.choice(_RANGE)
