"""Runs every check of this repository inside .venv; started by ops/test. The exit code is 0 only if all passed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import system_packages

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv/bin"
CORE = ("dispatcher/domain", "dispatcher/pipeline", "dispatcher/protocol", "strategies")
CORE_AT_LEAST = 90  # percent of lines and branches
STATIC = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
    "imports": ["lint-imports"],
}
#: Tests on real servers against the clock: one that failed beside others is tried once more, alone, and named.
AGAINST_THE_CLOCK = ("tests/e2e/", "tests/faults/", "tests/browser/", "tests/integration/")
TRIED_AGAIN_AT_MOST = 3  # more is no accident of a busy machine
_LAST_FAILED = ROOT / ".pytest_cache/v/cache/lastfailed"
_TAIL_BYTES = 65536


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one check went."""

    name: str
    passed: bool
    seconds: float


def main(arguments: list[str]) -> int:
    """Static checks side by side, then the tests, then the core's coverage when all tests ran."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    os.chdir(ROOT)
    if any(ROOT.glob("tests/browser/**/test_*.py")):
        system_packages.require_chromium(say, fail)
    results = static_checks()
    _LAST_FAILED.unlink(missing_ok=True)
    tests, closing_line = run_pytest(arguments)
    again = [] if tests.passed else to_try_again()
    if again:
        tests, closing_line = try_again(again, tests)
    results.append(tests)
    if not arguments:
        results.append(core_coverage())
    print()
    for result in results:
        print(f"  {'ok    ' if result.passed else 'FAILED'}  {result.name:<20} {result.seconds:6.1f} s")
    if arguments:
        print("  (part of the tests: coverage was not judged)")
    print()
    print(closing_line)
    return 0 if all(result.passed for result in results) else 1


def static_checks() -> list[Result]:
    """Run what reads the sources only, all at once, and print what each found."""
    started = time.monotonic()
    results: list[Result] = []
    with contextlib.ExitStack() as stack:
        running: list[tuple[str, IO[bytes], subprocess.Popen[bytes]]] = []
        for name, command in STATIC.items():
            output: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            argv = [str(BIN / command[0]), *command[1:]]
            process = stack.enter_context(subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT))
            stack.callback(process.kill)
            running.append((name, output, process))
        for name, found, process in running:
            passed = process.wait() == 0
            results.append(Result(name=name, passed=passed, seconds=time.monotonic() - started))
            found.seek(0)
            print(f"== {name}: {'ok' if passed else 'FAILED'}", flush=True)
            if not passed:
                print(found.read().decode(errors="replace"), flush=True)
    return results


def run_pytest(arguments: list[str]) -> tuple[Result, str]:
    """Run the tests over all cores; the result and pytest's closing line."""
    started = time.monotonic()
    # one more than cores: a test on real servers waits for them half of its time
    env = {"PYTEST_XDIST_AUTO_NUM_WORKERS": str((os.cpu_count() or 1) + 1), **os.environ}
    command = [str(BIN / "python"), "-m", "pytest", "-n", "auto", "--dist", "loadgroup"]
    if sys.stdout.isatty():
        command.append("--color=yes")
    if not arguments:
        command += ["--cov", "--cov-report="]
    process = subprocess.Popen([*command, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        tail = _pass_through(process)
        code = process.wait()
    finally:
        process.terminate()
        process.wait()
    lines = [line for line in tail.decode(errors="replace").splitlines() if line.strip()]
    closing_line = lines[-1] if lines else f"pytest ended with exit code {code}"
    return Result(name="tests", passed=code == 0, seconds=time.monotonic() - started), closing_line


def to_try_again() -> list[str]:
    """The tests that failed, when all of them are against the clock and few; else none."""
    try:
        failed: list[str] = list(json.loads(_LAST_FAILED.read_text()))
    except FileNotFoundError:  # pytest itself broke
        return []
    few = 0 < len(failed) <= TRIED_AGAIN_AT_MOST
    return failed if few and all("::" in name and name.startswith(AGAINST_THE_CLOCK) for name in failed) else []


def try_again(failed: list[str], first: Result) -> tuple[Result, str]:
    """Run *failed* with nothing beside them; what is shown in place of *first*."""
    print("\n== tried once more, alone: " + ", ".join(failed), flush=True)
    started = time.monotonic()
    code = subprocess.run([str(BIN / "python"), "-m", "pytest", *failed], check=False).returncode
    seconds = first.seconds + time.monotonic() - started
    says = "passed only alone, look into it" if code == 0 else "failed alone, too"
    return Result(name="tests", passed=code == 0, seconds=seconds), f"{says}: {', '.join(failed)}"


def core_coverage() -> Result:
    """Judge the coverage of the core alone; the borders are tested by running them."""
    started = time.monotonic()
    present = [part for part in CORE if any((ROOT / part).rglob("*.py"))]
    include = ",".join(f"{part}/*" for part in present)
    print(f"\n== coverage of {', '.join(present)}, at least {CORE_AT_LEAST} %", flush=True)
    reply = subprocess.run(
        [str(BIN / "coverage"), "report", f"--include={include}", f"--fail-under={CORE_AT_LEAST}"], check=False
    )
    return Result(name="core coverage", passed=reply.returncode == 0, seconds=time.monotonic() - started)


def _pass_through(process: subprocess.Popen[bytes]) -> bytes:
    """Print what *process* prints as it comes; the end of it."""
    tail = b""
    assert process.stdout is not None  # noqa: S101 - it was asked for
    while chunk := os.read(process.stdout.fileno(), 65536):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        tail = (tail + chunk)[-_TAIL_BYTES:]
    return tail


def say(line: str) -> None:
    """Tell the person at the terminal."""
    print(line, file=sys.stderr, flush=True)


def fail(line: str) -> NoReturn:
    """Give up, saying why."""
    say(line)
    sys.exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
