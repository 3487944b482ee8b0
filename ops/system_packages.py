"""What pip cannot bring: installed with apt-get by root on Debian and its kin, named clearly for anybody else."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

Say = Callable[[str], None]
Fail = Callable[[str], NoReturn]


def require_ensurepip(say: Say, fail: Fail) -> None:
    """``ensurepip`` stands in a package of its own on Debian (python3.11-venv)."""
    if importlib.util.find_spec("ensurepip") is not None:
        return
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if not apt_install([package], say) or importlib.util.find_spec("ensurepip") is None:
        fail(
            f"{sys.executable} cannot make virtual environments: its module ensurepip is missing. "
            f"Install it, on Debian or Ubuntu as root with: apt-get install {package}"
        )


def require_chromium(say: Say, fail: Fail) -> None:
    """The browser tests drive the system's Chromium."""
    if any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        return
    if not apt_install(["chromium"], say) or shutil.which("chromium") is None:
        fail("The browser tests need Chromium. On Debian, as root: apt-get install chromium")


def apt_install(packages: list[str], say: Say) -> bool:
    """Install *packages* where that is ours to do; whether it went well."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    say(f"Installing system packages: {' '.join(packages)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        reply = subprocess.run(["apt-get", *command], env=env, stdout=sys.stderr, check=False)
        if reply.returncode != 0:
            return False
    return True
