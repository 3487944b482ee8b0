"""The form of every benchmark's answer."""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

_SHOWN = ("pushpath", "redis", "sqlalchemy", "asyncpg", "celery", "msgspec", "uvloop", "pycurl", "cel-expr-python")


def report(
    name: str,
    figures: Mapping[str, tuple[float, str]],
    *,
    ratios: Mapping[str, tuple[float, str]] | None = None,
    targets: Mapping[str, tuple[str, bool]] | None = None,
) -> dict[str, Any]:
    """``{name, at, machine, versions, figures, ratios, targets}``. Figures: (value, unit); ratios: (value, against)."""
    return {
        "name": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in _SHOWN}},
        "figures": {key: {"value": round(value, 3), "unit": unit} for key, (value, unit) in figures.items()},
        "ratios": {key: {"value": round(value, 2), "against": what} for key, (value, what) in (ratios or {}).items()},
        "targets": {key: {"goal": goal, "met": met} for key, (goal, met) in (targets or {}).items()},
    }


def machine() -> str:
    """Processor and cores, as the README's table shows them."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def resident_of(pid: int) -> int:
    """Bytes of a process in memory now (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_of(pid: int) -> float:
    """CPU seconds that a process and its ended children used so far (Linux)."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
