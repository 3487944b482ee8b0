"""The promises of tests/conftest.py, on which all other tests stand."""

import pytest
import redis

from dispatcher.embedded.servers import Servers

_seen: list[str] = []


def _tables(servers: Servers, url: str) -> int:
    database = url.rpartition("?")[0].rpartition("/")[2]
    counted = servers.ledger.query(
        "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')", database=database
    )
    return int(counted[0][0] or 0)


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_a_migrated_ledger_of_its_own(servers: Servers, ledger_url: str, turn: int) -> None:
    assert _tables(servers, ledger_url) > 0
    assert ledger_url not in _seen
    _seen.append(ledger_url)
    database = ledger_url.rpartition("?")[0].rpartition("/")[2]
    assert servers.ledger.query("SELECT to_regclass('trace') IS NULL", database=database) == [["t"]]
    servers.ledger.query("CREATE TABLE trace (n int)", database=database)


@pytest.mark.xdist_group("turns")  # both on one worker
@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_an_empty_hot_store_apart_from_its_modules(
    hot_store_url: str, module_hot_store_url: str, turn: int
) -> None:
    with redis.Redis.from_url(hot_store_url) as own, redis.Redis.from_url(module_hot_store_url) as shared:
        assert own.dbsize() == 0
        own.set("trace", 1)
        assert shared.incr("turns") == turn


def test_a_modules_ledger_is_not_a_tests_ledger(module_ledger_url: str, ledger_url: str) -> None:
    assert module_ledger_url != ledger_url
