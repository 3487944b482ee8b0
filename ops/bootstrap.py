"""Sets up .venv from the locks, once, and hands over to it. Standard library only; started by ops/run and ops/test.

Safe to interrupt and to run twice at a time: a lock on the checkout, pip as a child that dies with us, and a stamp that
is written last. Writes nothing outside the checkout (but pip's own cache).
"""

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

import system_packages

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin/python"
STAMP = VENV / ".pushpath-stamp.json"
OURS = VENV / ".pushpath-made"  # tells an environment of this script from one that a developer made
LOCKS = {"run": ("run.txt",), "test": ("run.txt", "dev.txt")}  # dev.txt contains run.txt, pin by pin
_FORMAT = 1
_PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str]) -> NoReturn:
    """``bootstrap.py run|test ARGUMENT...``"""
    mode, rest = arguments[0], list(arguments[1:])
    with checkout_locked():
        set_up(mode)
    if mode == "test":
        os.execv(PYTHON, [str(PYTHON), str(ROOT / "ops/check.py"), *rest])  # noqa: S606
    given = any(argument == "--data" or argument.startswith("--data=") for argument in rest)
    data = [] if given else ["--data", str(ROOT / ".data")]  # in this checkout, wherever it is called from
    os.execv(VENV / "bin/pushpath", [str(VENV / "bin/pushpath"), "up", "--demo", *data, *rest])  # noqa: S606


@contextlib.contextmanager
def checkout_locked() -> Iterator[None]:
    """One set-up at a time in a checkout; the lock is the directory itself, so no file is left."""
    fd = os.open(ROOT, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another set-up of this checkout is running; waiting for it.")
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def set_up(mode: str) -> None:
    """Bring .venv to what the locks say; at once when the stamp says it is so already."""
    wanted = wanted_stamp(mode)
    found = read_stamp()
    same_base = found is not None and all(found.get(key) == wanted[key] for key in ("format", "python", "root"))
    if found is not None and same_base and PYTHON.exists():
        installed = found.get("locks", {})
        if found == {**wanted, "locks": installed} and wanted["locks"].items() <= installed.items():
            return
    if not same_base or not PYTHON.exists():
        make_environment()
    STAMP.unlink(missing_ok=True)
    install(LOCKS[mode][-1])
    link_project(wanted["project"])
    compile_ours()
    unfinished = STAMP.with_name(f"{STAMP.name}.new")
    unfinished.write_text(json.dumps(wanted, indent=2) + "\n")
    unfinished.replace(STAMP)


def compile_ours() -> None:
    """Bytecode of our own packages, ahead of the first start: six processes would each compile them for themselves."""
    packages = [name for name in ("dispatcher", "providers", "strategies", "workers") if (ROOT / name).is_dir()]
    subprocess.run([str(PYTHON), "-m", "compileall", "-q", *packages], cwd=ROOT, check=False)


def wanted_stamp(mode: str) -> dict[str, Any]:
    """What decides whether an environment fits: interpreter, place, project, locks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        "format": _FORMAT,
        "python": [os.path.realpath(getattr(sys, "_base_executable", sys.executable)), platform.python_version()],
        "root": str(ROOT),
        "project": {key: project[key] for key in ("name", "version", "scripts")},
        "locks": {name: hashlib.sha256((ROOT / "ops/lock" / name).read_bytes()).hexdigest() for name in LOCKS[mode]},
    }


def read_stamp() -> dict[str, Any] | None:
    """The stamp of a finished set-up, if there is one."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) else None


def make_environment() -> None:
    """A new .venv. One that a developer made by other means is used as it is, never removed."""
    if VENV.exists() and not OURS.exists():
        if PYTHON.exists() and has_run([str(PYTHON), "-E", "-s", "-c", "import pip"]):
            say(f"Using the environment that stands in {VENV}.")
            return
        fail(f"{VENV} was not made by this script and has no working pip. Remove it and start again.")
    system_packages.require_ensurepip(say, fail)
    if VENV.exists():
        # Moved away first: a killed predecessor's child may still write into it.
        old = ROOT / f".venv.old-{os.getpid()}"
        VENV.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    for leftover in ROOT.glob(".venv.old-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    say(f"Setting up {VENV} with Python {platform.python_version()}.")
    VENV.mkdir()
    OURS.touch()
    # A virtual environment's `venv` would chain to itself; the base interpreter makes a plain one.
    base = getattr(sys, "_base_executable", sys.executable)
    if run([base, "-E", "-s", "-m", "venv", str(VENV)]) != 0:
        fail(f"{base} -m venv failed.")


def install(lock: str) -> None:
    """Install the pins of *lock*: by hash, wheels only, nothing resolved, nothing built."""
    path = ROOT / "ops/lock" / lock
    count = sum(1 for line in path.read_text().splitlines() if "==" in line)
    say(f"Installing {count} packages from ops/lock/{lock} into .venv; this takes about a minute, once.")
    pip = [str(PYTHON), "-E", "-s", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    how = ["--progress-bar", "off", "--require-hashes", "--only-binary", ":all:", "--no-deps", "-r", str(path)]
    log = VENV / "install.log"
    with log.open("wb") as output:
        code = run([*pip, *how], output)
    if code != 0:
        end = "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-20:])
        fail(f"{end}\nInstalling the packages failed ({log}). Run the same command again when that is mended.")


def link_project(project: dict[str, Any]) -> None:
    """Make this checkout importable, with its metadata and commands; needs no network and no build."""
    site = next((VENV / "lib").glob("python3.*/site-packages"))
    for stale in [*site.glob("pushpath-*.dist-info"), *site.glob("_pushpath*.pth")]:
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
    name, version, scripts = project["name"], project["version"], project["scripts"]
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "INSTALLER").write_text("ops/bootstrap.py\n")
    entries = "".join(f"{command} = {target}\n" for command, target in scripts.items())
    (info / "entry_points.txt").write_text(f"[console_scripts]\n{entries}")
    (site / f"{name}.pth").write_text(f"{ROOT}\n")
    for command, target in scripts.items():
        module, _, function = target.partition(":")
        script = VENV / "bin" / command
        # Two languages: sh starts the interpreter, so that its path may be long or hold spaces.
        script.write_text(
            "#!/bin/sh\n"
            f'\'\'\'exec\' "{PYTHON}" "$0" "$@"\n'
            "' '''\n"
            "import sys\n"
            f"from {module} import {function}\n"
            f"sys.exit({function}())\n"
        )
        script.chmod(0o755)
    files = [*info.iterdir(), site / f"{name}.pth"]
    (info / "RECORD").write_text("".join(f"{file.relative_to(site)},,\n" for file in files))


def run(argv: Sequence[str], output: IO[bytes] | None = None) -> int:
    """Run a child that ends when we end: by our signals, and by the kernel's when we are killed."""
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def tie() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    dropped = ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV")
    env = {key: value for key, value in os.environ.items() if key not in dropped}
    child: subprocess.Popen[bytes] | None = None
    stopped: list[int] = []

    def stop(number: int, frame: object) -> None:
        # Nothing here may wait for the child: the interrupted wait below holds its lock.
        stopped.append(number)
        if child is not None:
            kill_group(child.pid)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        child = subprocess.Popen(
            list(argv), env=env, cwd=ROOT, start_new_session=True, preexec_fn=tie, stdout=output, stderr=output
        )
        if stopped:
            kill_group(child.pid)
        code = child.wait()
        kill_group(child.pid)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped:
        sys.exit(128 + stopped[0])
    return code


def kill_group(pid: int) -> None:
    """End a child and whatever it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def has_run(argv: Sequence[str]) -> bool:
    """Whether a quick command ends well."""
    with contextlib.suppress(OSError):
        return subprocess.run(list(argv), capture_output=True, check=False).returncode == 0
    return False


def say(line: str) -> None:
    """Tell the person at the terminal; standard output belongs to what runs afterwards."""
    print(line, file=sys.stderr, flush=True)


def fail(line: str) -> NoReturn:
    """Give up, saying why."""
    say(line)
    sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
