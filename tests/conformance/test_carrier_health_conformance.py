"""Whoever keeps it: a carrier that fails rests ever longer, and one that does well is back in its place."""

from collections.abc import AsyncIterator

import pytest

from dispatcher.domain.clock import SECOND
from dispatcher.hot.carrier_health import RedisCarrierHealth
from dispatcher.hot.store import HotStore
from dispatcher.ports.carrier_health import FIRST_REST, LONGEST_REST, CarrierHealth, OwnCarrierHealth

NOW = 1_800_000_000_000


@pytest.fixture
async def store(hot_store_url: str) -> AsyncIterator[HotStore]:
    store = HotStore(hot_store_url)
    yield store
    await store.close()


@pytest.fixture(params=["own", "redis"])
async def health(request: pytest.FixtureRequest) -> AsyncIterator[CarrierHealth]:
    if request.param == "own":
        yield OwnCarrierHealth()
        return
    store = HotStore(request.getfixturevalue("hot_store_url"))
    yield RedisCarrierHealth(store, "im")
    await store.close()


async def test_failures_in_a_row_double_the_rest_up_to_a_bound(health: CarrierHealth) -> None:
    assert await health.rests(NOW) == {}
    lengths = []
    for number in range(7):
        await health.failed("twilio", f"reason {number}", NOW + number, at_least=0)
        rest = (await health.rests(NOW))["twilio"]
        lengths.append(rest.until - NOW - number)
        assert (rest.since, rest.reason) == (NOW, f"reason {number}")
    assert lengths == [min(FIRST_REST << number, LONGEST_REST) for number in range(7)]


async def test_what_the_carrier_asked_for_is_heeded(health: CarrierHealth) -> None:
    await health.failed("twilio", "busy", NOW, at_least=90 * SECOND)
    assert (await health.rests(NOW))["twilio"].until == NOW + 90 * SECOND


async def test_doing_well_ends_its_rest_and_nobody_elses(health: CarrierHealth) -> None:
    for name in ("twilio", "http"):
        await health.failed(name, "busy", NOW, at_least=0)
    await health.did_well("twilio")
    await health.did_well("never failed")
    assert set(await health.rests(NOW)) == {"http"}
    await health.failed("twilio", "busy", NOW + 1, at_least=0)
    assert (await health.rests(NOW))["twilio"].until == NOW + 1 + FIRST_REST


async def test_all_workers_of_an_app_share_it_and_other_apps_do_not(store: HotStore) -> None:
    await RedisCarrierHealth(store, "im").failed("twilio", "busy", NOW, at_least=0)
    assert set(await RedisCarrierHealth(store, "im").rests(NOW)) == {"twilio"}
    assert await RedisCarrierHealth(store, "game").rests(NOW) == {}
