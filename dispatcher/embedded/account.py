"""Whom to run the servers as: PostgreSQL refuses root, so as root they run as ``nobody``."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dispatcher.embedded.errors import LaunchError

_PROBE_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Account:
    """A system account that exists already; none is ever created."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """The account for the servers when we are root; None when we are an ordinary user already.

    Raises LaunchError when root has no ``nobody`` to fall back to.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise LaunchError(
            "PostgreSQL refuses to run as root and this system has no account 'nobody'. "
            "Run as an ordinary user, or configure the ledger and hot store URLs."
        ) from None
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def can_run(account: Account | None, argv: Sequence[str]) -> bool:
    """Whether *account* can execute *argv* to a good end: the only test that sees every permission."""
    try:
        reply = subprocess.run(  # noqa: S603 - argv is ours
            list(argv),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_PROBE_SECONDS,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return reply.returncode == 0


def can_enter(account: Account, directory: Path) -> bool:
    """Whether *account* can pass through *directory* and all above it."""
    return can_run(account, ["/bin/sh", "-c", 'cd "$1"', "sh", str(directory)])
