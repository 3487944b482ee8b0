import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from celery import Celery
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from dispatcher.embedded.errors import DirectoryInUseError, LaunchError
from dispatcher.embedded.places import DataDirectory
from dispatcher.embedded.process import identify
from dispatcher.embedded.servers import Servers, for_celery, for_redis_py, plan_servers, start_servers
from dispatcher.embedded.wire import WireError, query


async def _sql(url: str, *statements: str) -> object:
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            for statement in statements:
                result = await connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        await engine.dispose()


def _remember(servers: Servers, value: str) -> None:
    with redis.Redis.from_url(servers.hot_store_url) as client:
        client.set("remembered", value)


def _remembered(servers: Servers) -> str | None:
    with redis.Redis.from_url(servers.hot_store_url, decode_responses=True) as client:
        value = client.get("remembered")
    assert value is None or isinstance(value, str)
    return value


async def test_both_servers_serve_their_drivers_in_utf8(servers: Servers) -> None:
    assert await _sql(servers.ledger_url, "SELECT lower('ÑANDÚ')") == "ñandú"
    assert await _sql(servers.ledger_url, "SHOW server_encoding") == "UTF8"
    assert await _sql(servers.ledger_url, "SHOW timezone") == "UTC"
    assert set(servers.pids) == {"hot_store", "ledger"}


def test_celery_reaches_the_same_hot_store(hot_store_url: str, broker_url: str) -> None:
    with Celery(broker=broker_url).connection_for_write() as connection:
        connection.SimpleQueue("post").put({"n": 1})
    with redis.Redis.from_url(hot_store_url) as client:
        assert client.llen("post") == 1


async def test_a_killed_ledger_comes_back_with_what_was_committed(own_servers: Servers) -> None:
    await _sql(own_servers.ledger_url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
    address, pid = own_servers.ledger_url, own_servers.pids["ledger"]
    own_servers.kill_ledger()
    assert "ledger" not in own_servers.pids
    own_servers.restart_ledger()
    assert own_servers.ledger_url == address
    assert own_servers.pids["ledger"] != pid
    assert await _sql(own_servers.ledger_url, "SELECT n FROM kept") == 7


def test_a_killed_hot_store_keeps_its_data_unless_wiped(own_servers: Servers) -> None:
    _remember(own_servers, "yes")
    own_servers.kill_hot_store()
    own_servers.restart_hot_store()
    assert _remembered(own_servers) == "yes"
    own_servers.kill_hot_store(wipe=True)
    own_servers.restart_hot_store()
    assert _remembered(own_servers) is None


def test_data_is_kept_between_runs_and_gone_with_fresh(tmp_path: Path) -> None:
    for fresh, expected in ((False, None), (False, "yes"), (True, None)):
        running = start_servers(tmp_path / "data", fresh=fresh, durable=False)
        try:
            assert _remembered(running) == expected
            _remember(running, "yes")
        finally:
            running.stop()
    DataDirectory(tmp_path / "data", fresh=True).discard()


def test_configured_servers_win_and_are_left_alone(tmp_path: Path) -> None:
    configured = start_servers(
        tmp_path / "data", hot_store_url="redis://cache/3", ledger_url="postgresql+asyncpg://db/pushpath"
    )
    assert (configured.hot_store_url, configured.broker_url) == ("redis://cache/3", "redis://cache/3")
    assert configured.ledger_url == "postgresql+asyncpg://db/pushpath"
    assert configured.pids == {}
    with pytest.raises(LaunchError, match="configured"):
        configured.stop_ledger()
    with pytest.raises(LaunchError, match="not ours"):
        configured.kill_hot_store()
    configured.stop(discard=True)


@pytest.mark.parametrize(
    ("redis_py", "celery"),
    [
        ("unix:///tmp/a.sock?db=2", "redis+socket:///tmp/a.sock?virtual_host=2"),
        ("unix:///tmp/a.sock?db=0", "redis+socket:///tmp/a.sock?virtual_host=0"),
        ("rediss://user:secret@cache:6380/1", "rediss://user:secret@cache:6380/1"),
    ],
)
def test_one_address_serves_redis_py_and_celery(redis_py: str, celery: str) -> None:
    assert for_celery(redis_py) == celery
    assert for_redis_py(celery) == redis_py


def test_a_stale_pid_file_with_a_reused_pid_does_not_keep_the_ledger_down(own_servers: Servers) -> None:
    own_servers.kill_ledger()
    pid_file = own_servers.ledger.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
    own_servers.ledger.socket.with_name(".s.PGSQL.5432.lock").write_text(f"{os.getppid()}\n")
    own_servers.restart_ledger()
    assert "ledger" in own_servers.pids


def test_data_of_another_postgresql_version_is_refused_by_name(own_servers: Servers) -> None:
    own_servers.stop_ledger()
    version = own_servers.ledger.data / "PG_VERSION"
    ours = version.read_text()
    version.write_text("15\n")
    with pytest.raises(LaunchError, match="was made by PostgreSQL 15"):
        own_servers.start()
    version.write_text(ours)
    own_servers.start()


def test_an_unfinished_cluster_of_a_killed_start_is_made_again(own_servers: Servers) -> None:
    own_servers.stop_ledger()
    own_servers.ledger.wipe()
    unfinished = own_servers.ledger.data.with_name("postgres.new")
    unfinished.mkdir()
    (unfinished / "half").touch()
    own_servers.start()
    assert own_servers.ledger.query("SELECT 1") == [["1"]]
    assert not unfinished.exists()


def test_an_error_of_the_ledger_carries_its_code(servers: Servers) -> None:
    with pytest.raises(WireError) as caught:
        servers.ledger.query("SELECT 1/0")
    assert caught.value.code == "22012"
    with pytest.raises(WireError, match="does not answer"):
        query(Path("/no/such/socket"), "nobody", "nothing")


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's servers run as that user")
def test_as_root_the_servers_run_as_nobody(servers: Servers) -> None:
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in servers.pids.values()}
    assert owners == {pwd.getpwnam("nobody").pw_uid}


def test_only_the_owner_reaches_the_sockets(servers: Servers) -> None:
    for socket in (servers.hot_store.socket, servers.ledger.socket):
        assert socket.stat().st_mode & 0o077 == 0
        assert socket.parent.stat().st_mode & 0o077 == 0


def test_a_running_pair_is_not_started_twice(servers: Servers) -> None:
    with pytest.raises(DirectoryInUseError):
        start_servers(servers.directory.root)


_DIE = """
import os, sys
from pathlib import Path
from dispatcher.embedded.servers import start_servers
servers = start_servers(Path(sys.argv[1]), durable=False)
print(*servers.pids.values(), flush=True)
os.kill(os.getpid(), 9)
"""


def test_servers_die_with_their_killed_owner_and_the_next_start_waits_for_that(tmp_path: Path) -> None:
    died = subprocess.run(
        [sys.executable, "-c", _DIE, str(tmp_path / "data")], capture_output=True, text=True, check=False
    )
    assert died.returncode == -9, died.stderr
    again = start_servers(tmp_path / "data", durable=False)
    try:
        assert all(identify(int(pid)) is None for pid in died.stdout.split())
    finally:
        again.stop(discard=True)


def test_a_path_without_servers_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("dispatcher.embedded.binaries._on_path", lambda name: iter(()))
    directory = DataDirectory(tmp_path / "data")
    with pytest.raises(LaunchError, match="extra 'embedded'"):
        plan_servers(directory)
    directory.discard()
