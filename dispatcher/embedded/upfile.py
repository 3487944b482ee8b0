"""``up.json``: what a running ``pushpath up`` tells other programs, true for as long as its process lives."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dispatcher.embedded.errors import LaunchError
from dispatcher.embedded.process import Identity, identify, runs

#: The writer's own pid and start time: the file outlives a killed writer, so readers check them.
_WRITER = "supervisor"


def write_up_file(path: Path, mapping: Mapping[str, object]) -> None:
    """Replace *path* (mode 0600) in one step; adds who wrote it."""
    writer = identify(os.getpid())
    document = {**mapping, _WRITER: None if writer is None else {"pid": writer.pid, "started": writer.started}}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(document, file, indent=2)
        file.write("\n")
    unfinished.replace(path)


def read_up_file(path: Path) -> dict[str, Any]:
    """The document of a running ``pushpath up``.

    Raises LaunchError when there is none, it is unreadable, or its writer has died.
    """
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        raise LaunchError(f"{path} does not exist: start `pushpath up` first, or name its --data directory.") from None
    except (OSError, ValueError) as error:
        raise LaunchError(f"{path} cannot be read: {error}") from error
    match document:
        case {"supervisor": {"pid": int(pid), "started": str(started)}}:
            if runs(Identity(pid=pid, started=started)):
                return dict(document)
            raise LaunchError(f"{path} is left from process {pid}, which has died. Start `pushpath up` again.")
    raise LaunchError(f"{path} was not written by `pushpath up`.")
