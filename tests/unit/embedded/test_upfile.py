import json
import subprocess
from pathlib import Path

import pytest

from dispatcher.embedded.errors import LaunchError
from dispatcher.embedded.process import identify
from dispatcher.embedded.upfile import read_up_file, write_up_file


def test_what_a_living_process_wrote_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "up.json"
    write_up_file(path, {"api_url": "http://127.0.0.1:1"})
    write_up_file(path, {"api_url": "http://127.0.0.1:2"})
    assert read_up_file(path)["api_url"] == "http://127.0.0.1:2"


def test_only_the_owner_may_read_it_and_no_half_written_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "up.json"
    write_up_file(path, {"api_key": "secret"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["up.json"]


def test_a_file_whose_writer_has_died_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "up.json"
    child = subprocess.Popen(["sleep", "60"])
    identity = identify(child.pid)
    assert identity is not None
    path.write_text(json.dumps({"supervisor": {"pid": identity.pid, "started": identity.started}}))
    assert read_up_file(path)
    child.kill()
    child.wait()
    with pytest.raises(LaunchError, match="has died"):
        read_up_file(path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "null", '{"supervisor": 7}', '{"supervisor": {"pid": "7"}}', "\ud800"]
)
def test_anything_else_is_refused_with_its_path(tmp_path: Path, content: str) -> None:
    path = tmp_path / "up.json"
    path.write_text(content, errors="surrogatepass")
    with pytest.raises(LaunchError, match=r"up\.json"):
        read_up_file(path)


def test_a_missing_file_says_what_to_start(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="pushpath up"):
        read_up_file(tmp_path / "up.json")
