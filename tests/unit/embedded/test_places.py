import os
import tempfile
from pathlib import Path

import pytest

from dispatcher.embedded import places
from dispatcher.embedded.account import server_account
from dispatcher.embedded.errors import DirectoryInUseError, LaunchError
from dispatcher.embedded.places import DataDirectory, owned_directory

_AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs another account to be kept out")


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    first = DataDirectory(tmp_path / "data")
    with pytest.raises(DirectoryInUseError, match=str(os.getpid())):
        DataDirectory(tmp_path / "data")
    first.close()
    DataDirectory(tmp_path / "data").close()


def test_fresh_empties_the_directory_but_a_plain_start_keeps_it(tmp_path: Path) -> None:
    DataDirectory(tmp_path / "data").close()
    (tmp_path / "data/kept").mkdir()
    (tmp_path / "data/kept/file").touch()
    DataDirectory(tmp_path / "data").close()
    assert (tmp_path / "data/kept/file").exists()
    DataDirectory(tmp_path / "data", fresh=True).close()
    assert not (tmp_path / "data/kept").exists()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_directory_with_foreign_files_is_never_taken(tmp_path: Path, fresh: bool) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(LaunchError, match="not Pushpath's"):
        DataDirectory(tmp_path, fresh=fresh)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_directory_that_cannot_be_made_is_an_error_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LaunchError, match="Not a directory"):
        DataDirectory(tmp_path / "file/data")


def test_a_link_in_place_of_the_runtime_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runtime").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LaunchError, match="belongs to somebody else"):
        owned_directory(tmp_path / "runtime")


@_AS_ROOT
def test_a_runtime_directory_of_another_account_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    os.chown(tmp_path / "runtime", 65534, 65534)
    with pytest.raises(LaunchError, match="belongs to somebody else"):
        owned_directory(tmp_path / "runtime")


def test_sockets_have_short_paths_however_deep_the_data_stands(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / ("d" * 200) / "data")
    runtime = directory.runtime(server_account())
    assert len(str(runtime / "ledger/.s.PGSQL.5432")) < 100
    assert runtime.stat().st_mode & 0o007 == 0
    directory.discard()
    assert not runtime.exists()


@_AS_ROOT
def test_data_that_the_servers_account_cannot_reach_stands_in_a_private_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    directory = DataDirectory(tmp_path / "data")
    home = directory.server_home(server_account())
    assert home.parent == places._PRIVATE_HOMES
    assert home.stat().st_mode & 0o007 == 0
    directory.close()

    tmp_path.chmod(0o755)
    again = DataDirectory(tmp_path / "data")
    assert again.server_home(server_account()) == home, "the first place stays"
    home.rmdir()
    with pytest.raises(LaunchError, match="--fresh"):
        again.server_home(server_account())
    again.discard()
    assert not home.exists()


@_AS_ROOT
def test_data_that_the_servers_account_can_no_longer_reach_is_not_started_anew() -> None:
    with tempfile.TemporaryDirectory(prefix="pushpath-test-") as name:
        parent = Path(name)
        parent.chmod(0o711)
        directory = DataDirectory(parent / "data")
        assert directory.server_home(server_account()) == directory.root
        parent.chmod(0o700)
        with pytest.raises(LaunchError, match="can no longer enter"):
            directory.server_home(server_account())
        directory.discard()
