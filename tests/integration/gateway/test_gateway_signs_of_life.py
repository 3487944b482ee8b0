"""Signs of life: a hello keeps a device's push tokens from going stale; a gateway that stood still says so."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from dispatcher.domain.clock import DAY, MINUTE
from dispatcher.gateway.rehearsal import APP


async def test_a_hello_is_told_of_where_the_device_was_not_seen_for_a_day(stage: Any) -> None:
    token = await stage.world.bind("li", "phone-1")
    profile = (await stage.world.profiles.get(APP, ["li"]))["li"]
    heard = []
    for seen in (stage.clock() - DAY - MINUTE, stage.clock() - DAY + MINUTE):
        device = msgspec.structs.replace(profile.devices[0], last_seen=seen)
        profile = msgspec.structs.replace(profile, rev=profile.rev + 1, devices=(device,))
        await stage.world.profiles.put([profile])
        phone = await stage.phone(token=token)
        await phone.hear_until("caught_up")
        await phone.socket.close()
        heard.append(list(stage.world.books.seen))
    assert heard == [[(APP, "phone-1")]] * 2


async def test_a_gateway_that_stood_still_says_so(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (gateway,) = stage.gateways
    assert gateway.counters["stalls"] == stage.world.books.stalls == 0
    monkeypatch.setattr("dispatcher.gateway.server.STALLED_S", 0.2)
    time.sleep(0.25 + gateway.settings.tick / 1_000)  # noqa: ASYNC251 - nothing runs, as on a machine without a core
    await asyncio.sleep(2 * gateway.settings.tick / 1_000)
    assert await gateway.desk.chores.done(5)
    assert gateway.counters["stalls"] == stage.world.books.stalls >= 1
