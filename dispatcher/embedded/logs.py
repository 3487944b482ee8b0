"""Children's logs: one appended file each, cut to size by copying, so that the child keeps its open file."""

import os
import shutil
from pathlib import Path
from typing import IO

#: A log is cut when it is larger; one older part of about this size is kept as NAME.log.1.
LIMIT_BYTES = 10 * 1024 * 1024
_TAIL_BYTES = 8192


def open_log(logs: Path, name: str) -> IO[bytes]:
    """Open the log of *name* for a child to write (append mode: it may be cut under the child's hands)."""
    fd = os.open(logs / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return os.fdopen(fd, "ab", buffering=0)


def rotate(logs: Path, *, limit: int = LIMIT_BYTES) -> None:
    """Cut every log above *limit* bytes. Lines written during the copy may be lost, which a log can bear."""
    for path in logs.glob("*.log"):
        if path.stat().st_size > limit:
            older = path.with_name(f"{path.name}.1")
            shutil.copyfile(path, older)
            older.chmod(0o600)
            os.truncate(path, 0)


def tail(logs: Path, name: str, *, lines: int = 15) -> str:
    """The last lines of the log of *name*, indented; empty when there are none."""
    try:
        with (logs / f"{name}.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            content = log.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in content.splitlines()[-lines:])
