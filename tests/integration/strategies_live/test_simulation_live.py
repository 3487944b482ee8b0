"""A draft is held against what was recorded: open deliveries count, cases are named, samples are shares."""

from typing import Any
from zlib import crc32

import pytest

from dispatcher.domain.paths import Path
from dispatcher.errors import Problem
from tests.integration.pipeline.conftest import APP, World

DRAFT = """
strategy: default
limits: {sms: {per_user: 9/1d, budget: 40 segments/1d}}
rules:
  - name: iphones
    when: device.platform == "ios"
    ladder: [{path: push, wait: 10s}, {path: sms, wait: 1m}]
  - name: everyone
    ladder: [{path: poll, wait: 1h}]
"""


async def simulated(world: World, document: str = DRAFT, **more: Any) -> Any:
    asked = {"sample": 1.0, "segment_price": 0.05} | more
    return await world.core.simulate_recorded(APP, document, world.now - 3_600_000, world.now + 60_000, **asked)


async def recorded(world: World) -> None:
    await world.app("{path: push, wait: 10s}", "{path: poll, wait: 1h}")
    await world.user("li", "d1")
    await world.user("wang")
    for number in range(3):
        await world.dispatch(f"m{number}", "li", "wang")
    await world.advance(2_000)
    for number in range(2):
        await world.receipt(f"m{number}", "li", "d1", via=Path.APNS)
    await world.archive()
    await world.dispatch("open", "li")
    await world.work()


async def test_old_and_new_stand_side_by_side(world: World) -> None:
    await recorded(world)
    result = await simulated(world)
    assert (result["deliveries"], result["decisions"]) == (7, 7)
    assert result["rules"] == [
        {"name": "iphones", "old": 0, "new": 4},
        {"name": "everyone", "old": 7, "new": 3},
    ]
    assert {row["path"]: (row["old"], row["new"]) for row in result["paths"]} == {
        "longconn": (0, 0),
        "apns": (4, 4),
        "fcm": (0, 0),
        "poll": (5, 3),
        "sms": (0, 2),
    }
    assert result["sms_segments"] == {"old": 0, "new": 2}
    assert result["cost"]["new"] == pytest.approx(0.1)
    assert result["confirmed"] == {"old": 2, "new": 2}
    assert result["time_to_proof_s"]["old"]["p50"] == pytest.approx(2.0, rel=0.09)
    assert {change["message_id"] for change in result["changes"]} >= {"m2", "open"}
    assert all("because" in change["new"]["tracks"][0]["explanation"] for change in result["changes"])


async def test_every_rule_of_both_is_listed_also_at_nought(world: World) -> None:
    await world.app()
    result = await simulated(world)
    assert result["rules"] == [{"name": "iphones", "old": 0, "new": 0}, {"name": "everyone", "old": 0, "new": 0}]
    assert result["changes"] == []


async def test_a_sample_is_a_share_or_a_number(world: World) -> None:
    await world.app()
    await world.dispatch("m", *(f"u{number}" for number in range(200)))
    await world.work()
    assert 60 < (await simulated(world, sample=0.5))["deliveries"] < 140
    assert 20 < (await simulated(world, sample=50.0))["deliveries"] < 90
    assert (await simulated(world, sample=0.5))["deliveries"] == (await simulated(world, sample=0.5))["deliveries"]


async def test_a_faulty_draft_is_refused_with_its_faults(world: World) -> None:
    await world.app()
    with pytest.raises(Problem, match="sms without a limit"):
        await simulated(world, DRAFT.replace("limits: {sms: {per_user: 9/1d, budget: 40 segments/1d}}\n", ""))


def sms_only(limits: str) -> str:
    return f"strategy: default\nlimits: {{sms: {{{limits}}}}}\nrules: [{{name: all, ladder: [{{path: sms}}]}}]"


async def test_a_drafts_limits_hold_what_they_would_hold_and_say_so(world: World) -> None:
    await world.app()
    users = [f"u{number}" for number in range(5)]
    for user in users:
        await world.user(user)
    for number in range(3):
        await world.dispatch(f"m{number}", *users)
    await world.work()

    result = await simulated(world, sms_only("per_user: 3/1d, per_number: 2/1d, budget: 7 segments/1d"))

    assert result["deliveries"] == 15
    assert result["sms_segments"]["new"] == 7
    assert (result["sms_limited"]["old"], result["sms_limited"]["new"]) == (0, 8)
    held = {row["limit"]: row["new"] for row in result["sms_limited"]["by"] if row["new"]}
    assert held == {"per_number": 2, "budget": 6}
    prefixes = {str(crc32(user.encode()) % 10**8).zfill(8)[0] for user in users}  # as the world gives out numbers
    assert (await simulated(world, sms_only("per_prefix: 1/1d")))["sms_segments"]["new"] == len(prefixes)
