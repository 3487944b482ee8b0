"""What all tests share: one pair of real servers a worker process, a database of its own for each test that asks.

- `hot_store_url`, `broker_url`, `ledger_url`: empty for this test (ledger: migrated).
- `module_hot_store_url`, `module_ledger_url`: shared by one module, apart from the ones above.
- `own_servers`: a private pair to kill and restart, started on first use.
"""

import asyncio
import contextlib
import importlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis

from dispatcher.embedded.servers import Servers, start_servers

hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "local"))

_TEMPLATE = "migrated"
_TEST_DATABASE, _MODULE_DATABASE = 0, 1  # Valkey's logical databases
_MEMORY_AT_LEAST = 4 * 1024**3  # bytes; containers often have 64 MiB
_numbers = itertools.count(1)


@pytest.hookimpl(wrapper=True)
def pytest_collection_finish(session: pytest.Session) -> Iterator[None]:
    """Lets each `xdist_group` share one worker.

    pytest-xdist 3.8 tells its scheduler a test's group by a suffix of the test's id, in a place where pytest 9.2 does
    not look any more: the group was lost, and every worker started the servers that one was to share. Ids bear the
    suffix only while the scheduler is told, so that reports keep the names that people type.
    """
    plain: list[tuple[Any, Any]] = []
    if getattr(session.config.option, "loadgroup", False):
        for item in session.items:
            mark, node_id = item.get_closest_marker("xdist_group"), getattr(item, "_id", None)
            if mark is not None and node_id is not None and not item.nodeid.endswith(f"@{mark.args[0]}"):
                plain.append((item, node_id))
                item._id = node_id.parse(f"{item.nodeid}@{mark.args[0]}")
    try:
        yield
    finally:
        for item, node_id in plain:
            item._id = node_id


#: What ends with the last test of a group, though its fixture would live as long as the worker.
_group_ends: dict[str, contextlib.ExitStack] = {}


def _group_of(item: pytest.Item | None) -> str | None:
    mark = item.get_closest_marker("xdist_group") if item is not None else None
    return str(mark.args[0]) if mark is not None else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """A whole installation that nobody asks any more still costs every test behind it a tenth of a core.

    Only where groups are kept together: in one process tests of other groups may stand between those of one.
    """
    try:
        yield
    finally:
        group = _group_of(item) if getattr(item.config.option, "loadgroup", False) else None
        if group is not None and group != _group_of(nextitem) and group in _group_ends:
            _group_ends.pop(group).close()


@pytest.fixture(scope="session")
def until_group_ends() -> Callable[[str], contextlib.ExitStack]:
    """A stack for what a session fixture starts: closed after the last test of the named `xdist_group` here."""
    return lambda group: _group_ends.setdefault(group, contextlib.ExitStack())


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Real Valkey and PostgreSQL, private to this worker process. Do not stop them: see `own_servers`."""
    with _running() as running:
        yield running


@pytest.fixture
def own_servers() -> Iterator[Servers]:
    """A pair for this test alone, free to be killed, wiped and restarted."""
    with _running() as running:
        yield running


@pytest.fixture
def hot_store_url(servers: Servers) -> str:
    """An empty hot store, as redis-py reads it."""
    return _emptied(servers, _TEST_DATABASE)


@pytest.fixture
def broker_url(servers: Servers, hot_store_url: str) -> str:
    """The same empty hot store, as Celery reads it."""
    return servers.hot_store.broker_url(_TEST_DATABASE)


@pytest.fixture(scope="module")
def module_hot_store_url(servers: Servers) -> str:
    """A hot store that was empty when this module began."""
    return _emptied(servers, _MODULE_DATABASE)


@pytest.fixture
def ledger_url(servers: Servers, migrated_template: str) -> Iterator[str]:
    """A migrated, empty ledger for this test alone."""
    with _database(servers, migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def module_ledger_url(servers: Servers, migrated_template: str) -> Iterator[str]:
    """A migrated ledger that was empty when this module began."""
    with _database(servers, migrated_template) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_template(servers: Servers) -> str:
    """The name of a database that was migrated once, for copies; never connect to it."""
    servers.ledger.query(f"CREATE DATABASE {_TEMPLATE}")
    migrate: Callable[[str], Coroutine[None, None, None]] = importlib.import_module("dispatcher.ledger.migrate").migrate
    with ThreadPoolExecutor(1) as thread:  # this thread's event loop may be busy with the test
        thread.submit(lambda: asyncio.run(migrate(servers.ledger.url(_TEMPLATE)))).result()
    return _TEMPLATE


@contextlib.contextmanager
def _running() -> Iterator[Servers]:
    """Servers on a directory that vanishes with them."""
    directory = Path(tempfile.mkdtemp(prefix="pushpath-test-", dir=_memory()))
    directory.chmod(0o711)  # as root the servers' account has to pass through
    try:
        running = start_servers(directory / "data", durable=False)
        try:
            yield running
        finally:
            running.stop(discard=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _database(servers: Servers, template: str) -> Iterator[str]:
    """A copy of *template* that vanishes at the end, whoever is still connected."""
    name = f"test_{next(_numbers)}"
    servers.ledger.query(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    try:
        yield servers.ledger.url(name)
    finally:
        servers.ledger.query(f"DROP DATABASE {name} WITH (FORCE)")


def _memory() -> str | None:
    """A directory in memory if there is a big one: copying the template takes 20 ms there, 400 ms on a disk."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or not os.access(shared, os.W_OK) or shutil.disk_usage(shared).free < _MEMORY_AT_LEAST:
        return None
    return str(shared)


def _emptied(servers: Servers, database: int) -> str:
    url = servers.hot_store.url(database)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url
