"""Quiet hours hold pushes until the morning in the user's zone, across clock changes, and never past a ttl."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from dispatcher.domain.clock import from_datetime
from dispatcher.ports.directory import App, UserChange
from tests.integration.pipeline.conftest import APP, World

HOLDING = """
strategy: default
quiet_hours: {classes: [alert], action: hold}
rules:
  - name: everyone
    ladder: [{path: push, wait: 10s}, {path: poll, wait: 1h}]
"""


def moment(zone: str, local: str) -> int:
    return from_datetime(datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone)))


async def asleep(world: World, zone: str, local: str, *, to: str = "07:00") -> None:
    """It is night where li is."""
    world.now = moment(zone, local)
    await world.stores.apps.create_app(App(app_id=APP, name=APP), world.now, strategy=HOLDING)
    await world.user("li", "d1", time_zone=zone, quiet_from="22:00", quiet_to=to)


@pytest.mark.parametrize(
    ("zone", "local", "morning"),
    [
        ("America/New_York", "2027-03-13T23:00:00", "2027-03-14T07:00:00"),  # an hour is skipped in between
        ("America/New_York", "2027-11-06T23:00:00", "2027-11-07T07:00:00"),  # an hour comes twice
        ("Australia/Lord_Howe", "2027-04-03T23:00:00", "2027-04-04T07:00:00"),  # half an hour comes twice
        ("Asia/Shanghai", "2027-03-13T23:00:00", "2027-03-14T07:00:00"),  # no change at all
    ],
)
async def test_a_push_is_held_until_morning(world: World, zone: str, local: str, morning: str) -> None:
    await asleep(world, zone, local)
    await world.dispatch("m", "li", klass="alert")
    await world.advance(moment(zone, morning) - world.now - 1)
    assert world.paths() == []
    assert (await world.state("m"))["state"] == "held"
    await world.advance(1)
    assert world.paths() == ["apns"]
    timeline = await world.core.timeline(APP, "m", "li")
    assert timeline is not None
    held = [event["detail"] for event in timeline["events"] if event["detail"].get("held")]
    assert [one["reason"] for one in held] == ["quiet_hours"]


async def test_a_zone_changed_while_it_is_held_is_asked_again(world: World) -> None:
    await asleep(world, "Asia/Shanghai", "2027-03-13T23:00:00")
    await world.dispatch("m", "li", klass="alert")
    await world.work()
    before = (await world.stores.directory.profiles(APP, ["li"]))["li"]
    change = UserChange(
        app=APP, user_id="li", values={"time_zone": "Europe/London"}, changed_phone_usable_from=world.now
    )
    after, _ = await world.stores.directory.put_user(change, world.now)
    await world.stores.parts.profiles.put([after])
    await world.core.user_changed(before, after)
    await world.work()
    assert world.paths() == ["apns"]  # it is 15:00 in London


async def test_what_ends_its_ttl_inside_expires_and_is_not_sent_late(world: World) -> None:
    await asleep(world, "Asia/Shanghai", "2027-03-13T23:00:00")
    await world.dispatch("m", "li", klass="alert", ttl_ms=3_600_000)
    await world.advance(12 * 3_600_000)
    assert world.paths() == []
    assert (await world.state("m"))["state"] == "expired"


async def test_other_classes_ring(world: World) -> None:
    await asleep(world, "Asia/Shanghai", "2027-03-13T23:00:00")
    await world.dispatch("m", "li", klass="chat")
    await world.work()
    assert world.paths() == ["apns"]
