"""Rolling back, deleting, comparing, trying, pinning: what the door lets through and what it refuses."""

from typing import Any

import httpx
import pytest

from strategies.learn import Pin


async def test_a_rollback_names_the_version_it_came_from(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/strategies/default/rollback", json={"version": 1})
    assert answer.json() == {"name": "default", "version": 99, "percent": 100, "of": 1}


@pytest.mark.parametrize(
    ("body", "status"),
    [({"version": 7}, 404), ({"version": 0}, 422), ({"version": "1"}, 422), ({}, 422), ({"version": 1, "x": 1}, 422)],
)
async def test_a_rollback_needs_a_version_there_is(client: httpx.AsyncClient, body: Any, status: int) -> None:
    assert (await client.post("/v1/strategies/default/rollback", json=body)).status_code == status


async def test_default_cannot_go_and_what_is_not_there_neither(client: httpx.AsyncClient) -> None:
    assert (await client.delete("/v1/strategies/default")).status_code == 422
    assert (await client.delete("/v1/strategies/nobody")).status_code == 404


async def test_versions_stand_beside_what_they_came_to(client: httpx.AsyncClient, core: Any) -> None:
    address = "/v1/strategies/default/versions?since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z"
    (version,) = (await client.get(address)).json()["versions"]
    assert version["figures"] == {"deliveries": 3}
    ((since, until),) = core.windows
    assert until - since == 86_400_000


async def test_versions_come_without_figures_where_nobody_wants_to_wait(client: httpx.AsyncClient, core: Any) -> None:
    (version,) = (await client.get("/v1/strategies/default/versions?figures=false")).json()["versions"]
    assert (version["figures"], core.windows) == (None, [])


@pytest.mark.parametrize("window", ["since=yesterday", "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z"])
async def test_a_window_must_be_one(client: httpx.AsyncClient, window: str) -> None:
    assert (await client.get(f"/v1/strategies/default/versions?{window}")).status_code == 422


async def test_a_trial_takes_the_document_as_object_or_text(client: httpx.AsyncClient) -> None:
    facts = {"device.platform": "ios"}
    for document in ("strategy: chat\n", {"strategy": "chat"}):
        answer = await client.post("/v1/strategies/simulate", json={"strategy": document, "facts": facts})
        assert (answer.status_code, answer.json()["facts"]) == (200, facts)
        assert '"strategy": "chat"' in answer.json()["document"] or document == answer.json()["document"]


async def test_a_trial_on_traffic_ends_now_where_nothing_else_is_said(client: httpx.AsyncClient, core: Any) -> None:
    body = {"strategy": {"strategy": "chat"}, "since": "2026-01-01T00:00:00Z", "sample": 0.1, "segment_price": 0.04}
    answer = await client.post("/v1/strategies/simulate", json={**body, "until": "2026-01-02T00:00:00Z"})
    assert answer.json() == {"decisions": 0, "sample": 0.1, "segment_price": 0.04}
    assert (await client.post("/v1/strategies/simulate", json={**body, "since": "2030-01-01T00:00:00Z"})).status_code


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"facts": {}, "since": "2026-01-01T00:00:00Z"},
        {"until": "2026-01-01T00:00:00Z"},
        {"since": "2026-01-01T00:00:00Z", "sample": 0},
        {"since": "2026-01-01T00:00:00Z", "until": "2025-01-01T00:00:00Z"},
        {"facts": [], "x": 1},
    ],
)
async def test_a_trial_is_of_facts_or_of_a_window(client: httpx.AsyncClient, more: dict[str, Any]) -> None:
    answer = await client.post("/v1/strategies/simulate", json={"strategy": "strategy: chat\n", **more})
    assert answer.status_code == 422


async def test_learning_is_seen_pinned_and_switched(client: httpx.AsyncClient, core: Any) -> None:
    pinned = await client.put("/v1/learning/devices/d-1/apns", json={"p95_s": 4.5})
    assert pinned.json() == {"key": "d:apns:d-1", "ack_rate": None, "p95_s": 4.5}
    await client.put("/v1/learning/segments/s:fcm:android:xiaomi:8.1:86", json={"ack_rate": 0.2})
    assert core.strategies.pins["s:fcm:android:xiaomi:8.1:86"] == Pin(ack_rate=0.2)
    whole = (await client.put("/v1/learning", json={"enabled": False})).json()
    assert (whole["enabled"], len(whole["pins"]), whole["segments"]) == (
        False,
        2,
        {"s:fcm:android:xiaomi:8.1:86": {"ack_rate": 0.5}},
    )
    assert (await client.delete("/v1/learning/devices/d-1/apns")).status_code == 204
    assert (await client.delete("/v1/learning/devices/d-1/apns")).status_code == 404


@pytest.mark.parametrize(
    ("address", "body"),
    [
        ("/v1/learning/devices/d-1/pigeon", {"p95_s": 1}),
        ("/v1/learning/devices/d-1/apns", {}),
        ("/v1/learning/devices/d-1/apns", {"ack_rate": 1.5}),
        ("/v1/learning/devices/d-1/apns", {"p95_s": 0}),
        ("/v1/learning/segments/d:apns:d-1", {"p95_s": 1}),
    ],
)
async def test_a_pin_is_a_possible_value_of_a_known_path(client: httpx.AsyncClient, address: str, body: Any) -> None:
    assert (await client.put(address, json=body)).status_code == 422


async def test_changed_quiet_hours_are_told(client: httpx.AsyncClient, core: Any) -> None:
    await client.put("/v1/users/li", json={"time_zone": "Asia/Shanghai"})
    await client.put("/v1/users/li", json={"time_zone": "America/New_York"})
    assert [(before and before.time_zone, after.time_zone) for before, after in core.hours] == [
        (None, "Asia/Shanghai"),
        ("Asia/Shanghai", "America/New_York"),
    ]
