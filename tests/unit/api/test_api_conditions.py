"""Two people change one thing: who names what they read hears of the other; who does not, loses nothing of theirs."""

from typing import Any

import httpx
import pytest

from dispatcher.domain.etag import Condition, Stale
from dispatcher.ports.directory import App


@pytest.mark.parametrize(
    ("condition", "standing", "holds"),
    [
        (Condition(), None, True),
        (Condition(), "a", True),
        (Condition(etags=frozenset({"a", "b"})), "b", True),
        (Condition(etags=frozenset({"a"})), "b", False),
        (Condition(etags=frozenset({"a"})), None, False),
        (Condition(etags=frozenset({"*"})), "b", True),
        (Condition(etags=frozenset({"*"})), None, False),
        (Condition(absent=True), None, True),
        (Condition(absent=True), "a", False),
    ],
)
def test_a_condition_holds_against_what_stands_there(condition: Condition, standing: str | None, holds: bool) -> None:
    if holds:
        condition.hold(standing)
    else:
        with pytest.raises(Stale):
            condition.hold(standing)


async def test_an_app_is_read_with_the_etag_it_is_changed_by(client: httpx.AsyncClient) -> None:
    read = await client.get("/v1/apps/im")
    assert read.headers["etag"] == f'"{read.json()["etag"]}"'
    changed = await client.put("/v1/apps/im", json={"rate_per_key": 7}, headers={"If-Match": read.headers["etag"]})
    assert (changed.status_code, changed.json()["rate_per_key"]) == (200, 7)
    assert changed.headers["etag"] == (await client.get("/v1/apps/im")).headers["etag"] != read.headers["etag"]
    assert (await client.get("/v1/apps/other")).status_code == 404


@pytest.mark.parametrize("if_match", ['"{old}"', "", '"nonsense"', '"x", W/"{old}"'])
async def test_an_app_that_changed_since_is_refused_and_stays(client: httpx.AsyncClient, if_match: str) -> None:
    old = (await client.get("/v1/apps/im")).json()["etag"]
    await client.put("/v1/apps/im", json={"classes": ["chat"]})
    headers = {"If-Match": if_match.format(old=old)}
    lost = await client.put("/v1/apps/im", json={"classes": ["otp"]}, headers=headers)
    assert (lost.status_code, lost.json()["code"]) == (412, "stale")
    assert (await client.get("/v1/apps/im")).json()["classes"] == ["chat"]


@pytest.mark.parametrize("if_match", ["*", '"{now}"', 'W/"{now}"', '"old", "{now}"'])
async def test_any_of_several_etags_may_be_the_one(client: httpx.AsyncClient, if_match: str) -> None:
    now = (await client.get("/v1/apps/im")).json()["etag"]
    headers = {"If-Match": if_match.format(now=now)}
    assert (await client.put("/v1/apps/im", json={"name": "New"}, headers=headers)).status_code == 200


async def test_a_change_without_a_condition_keeps_what_others_change_meanwhile(
    client: httpx.AsyncClient, core: Any
) -> None:
    core.apps.meanwhile = [App(app_id="im", name="im", settings={"rate_per_device": 5})]
    changed = (await client.put("/v1/apps/im", json={"rate_per_key": 7})).json()
    assert (changed["rate_per_key"], changed["rate_per_device"]) == (7, 5)


async def test_a_change_with_a_condition_is_refused_where_others_come_between(
    client: httpx.AsyncClient, core: Any
) -> None:
    etag = (await client.get("/v1/apps/im")).headers["etag"]
    core.apps.meanwhile = [App(app_id="im", name="im", settings={"rate_per_device": 5})]
    lost = await client.put("/v1/apps/im", json={"rate_per_key": 7}, headers={"If-Match": etag})
    assert lost.status_code == 412
    assert (await client.get("/v1/apps/im")).json()["rate_per_key"] is None


async def test_an_app_that_never_stands_still_is_refused_in_the_end(client: httpx.AsyncClient, core: Any) -> None:
    core.apps.meanwhile = [App(app_id="im", name=f"n{number}") for number in range(100)]
    assert (await client.put("/v1/apps/im", json={"rate_per_key": 7})).status_code == 412


async def test_only_a_star_says_that_nothing_may_stand_there(client: httpx.AsyncClient) -> None:
    body = {"url": "https://hooks.example/in", "events": ["settled"]}
    odd = await client.post("/v1/webhooks", json=body, headers={"If-None-Match": '"x"'})
    assert (odd.status_code, odd.json()["errors"][0]["field"]) == (422, "If-None-Match")
    made = await client.post("/v1/webhooks", json=body, headers={"If-None-Match": "*"})
    assert made.status_code == 201
    again = await client.post("/v1/webhooks", json={**body, "events": ["opened"]}, headers={"If-None-Match": "*"})
    assert again.status_code == 412
    shown = await client.get(f"/v1/webhooks/{made.json()['webhook_id']}")
    assert (shown.json()["events"], shown.headers["etag"]) == (["settled"], made.headers["etag"])
