import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def _settings_table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("settings_table", ROOT / "ops/settings_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_settings_table_is_that_of_the_code() -> None:
    assert _settings_table().with_table(README) == README, "run: .venv/bin/python ops/settings_table.py"


def test_every_file_that_the_documents_name_is_there() -> None:
    for document in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / document).read_text()):
            assert (ROOT / target).exists(), f"{document} names {target}"


@pytest.mark.xdist_group("up")
@pytest.mark.skipif(shutil.which("curl") is None, reason="the tour is written with curl")
@pytest.mark.timeout(240)
def test_every_block_of_the_tour_works_in_order(up: Any) -> None:
    place: Path = up.data.parent
    programs = place / ".venv/bin"
    programs.mkdir(parents=True, exist_ok=True)
    _program(programs / "python", f'exec "{sys.executable}" "$@"')
    _program(programs / "pushpath", f'exec "{sys.executable}" -c "from dispatcher.cli import main; main()" "$@"')
    assert len(BLOCKS) >= 10
    marked = [f"echo '== {number}' >&2\n{block}" for number, block in enumerate(BLOCKS)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PUSHPATH_")}
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        env.pop(proxy, None)
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(marked)],
        cwd=place,
        env={**env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stderr[-3000:]}\n{ended.stdout[-3000:]}"
    for promised in ('"state":"confirmed"', '"handed_over"', '"duplicate":false', '"state":"dead"', '"valid":true'):
        assert promised in ended.stdout.replace('": ', '":'), f"{promised} is missing:\n{ended.stdout[-6000:]}"


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
