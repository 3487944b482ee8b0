"""A hello keeps a device's push tokens from going stale, and costs next to nothing."""

from typing import Any

import msgspec

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
