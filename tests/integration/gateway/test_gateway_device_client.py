"""The SDK's device against a real gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dispatcher.client import DeviceClient, Keepsake, MovedAway, Msg
from dispatcher.client import reconnect as reconnect_module
from dispatcher.gateway.rehearsal import APP
from dispatcher.ports.node_bus import BusFrame


class App:
    """What an app does with its messages. *refuse*: message ids whose storing fails once."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.recalled: list[str] = []
        self.states: list[str] = []
        self.refuse: set[str] = set()

    async def show(self, message: Msg) -> None:
        if message.message_id in self.refuse:
            self.refuse.discard(message.message_id)
            raise OSError("disk full")
        self.shown.append(message.message_id)

    async def recall(self, message_id: str) -> None:
        self.recalled.append(message_id)


@asynccontextmanager
async def running(stage: Any, app: App, **changed: Any) -> AsyncIterator[tuple[DeviceClient, asyncio.Task[None]]]:
    async def token() -> str:
        minted: str = stage.world.token("li", "phone-1")
        return minted

    port = stage.gateways[0].port
    named: dict[str, Any] = {
        "user_id": "li",
        "device_id": "phone-1",
        "token": token,
        "on_message": app.show,
        "on_recall": app.recall,
        "on_change": app.states.append,
        "dice": lambda: 0.0,
    } | changed
    async with DeviceClient(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}/v1/connect", **named) as client:
        task = asyncio.create_task(client.run())
        yield client, task
        await client.stop()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("subprotocol", ["pushpath.v1.json", "pushpath.v1.msgpack"])
async def test_messages_are_shown_and_proven(stage: Any, eventually: Any, subprotocol: str) -> None:
    await stage.world.bind("li", "phone-1")
    first = await stage.world.dispatch("li", "m1")
    app = App()
    async with running(stage, app, subprotocol=subprotocol) as (client, _):
        await eventually(lambda: client.state == "online")
        second = await stage.world.dispatch("li", "m2")
        await eventually(lambda: {(APP, "li", first), (APP, "li", second)} <= set(stage.world.books.proven))
        await stage.world.wake(BusFrame(kind="recall", app=APP, user_id="li", device_id="", message_id="m2"))
        await eventually(lambda: app.recalled == ["m2"])
    assert app.shown == ["m1", "m2"]
    assert app.states == ["connecting", "syncing", "online", "offline"]


async def test_a_line_that_breaks_resumes_from_the_cursor(stage: Any, eventually: Any) -> None:
    await stage.world.bind("li", "phone-1")
    app = App()
    keepsake = Keepsake()
    async with running(stage, app, keepsake=keepsake) as (client, _):
        await eventually(lambda: client.state == "online")
        await stage.world.dispatch("li", "m1")
        await eventually(lambda: app.shown == ["m1"])
        for line in list(stage.gateways[0].desk.hub):
            line.transport.abort()
        await eventually(lambda: client.state != "online")
        await stage.world.dispatch("li", "m2")
        await eventually(lambda: app.shown == ["m1", "m2"] and client.state == "online")
    assert keepsake.notebook().seen == ["m1", "m2"]


async def test_a_message_that_could_not_be_stored_comes_again(stage: Any, eventually: Any) -> None:
    await stage.world.bind("li", "phone-1")
    app = App()
    app.refuse = {"m2"}
    async with running(stage, app) as (client, _):
        await eventually(lambda: client.state == "online")
        for number in range(1, 4):
            await stage.world.dispatch("li", f"m{number}")
        await eventually(lambda: app.shown == ["m1", "m2", "m3"])


async def test_a_new_phone_object_with_the_old_notebook_shows_nothing_twice(stage: Any, eventually: Any) -> None:
    await stage.world.bind("li", "phone-1")
    app = App()
    first = Keepsake()
    async with running(stage, app, keepsake=first) as (client, _):
        await eventually(lambda: client.state == "online")
        await stage.world.dispatch("li", "m1")
        await eventually(lambda: app.shown == ["m1"])
    notebook = first.notebook()
    notebook.cursor = None  # the cursor was lost, the ids were not
    stage.world.inboxes._inboxes[APP, "li"].unproven.add(next(iter(stage.world.inboxes._inboxes[APP, "li"].seqs)))
    async with running(stage, app, keepsake=Keepsake(notebook)) as (client, _):
        await eventually(lambda: client.state == "online")
    assert app.shown == ["m1"]


async def test_a_device_that_moved_stops(stage: Any, eventually: Any) -> None:
    await stage.world.bind("li", "phone-1")
    app = App()
    async with running(stage, app) as (client, task):
        await eventually(lambda: client.state == "online")
        moved = BusFrame(kind="moved", app=APP, user_id="li", device_id="phone-1", epoch=2)
        await stage.world.bus.send({stage.gateways[0].desk.node: [moved]})
        with pytest.raises(MovedAway):
            await asyncio.wait_for(task, 5)


async def test_a_refused_token_is_fetched_anew(stage: Any, eventually: Any) -> None:
    await stage.world.bind("li", "phone-1")
    given = ["rubbish", stage.world.token("li", "phone-1")]

    async def token() -> str:
        return str(given.pop(0))

    async with running(stage, App(), token=token) as (client, _):
        await eventually(lambda: client.state == "online")
    assert given == []


async def test_a_drained_node_is_left_and_another_found_later(
    stage: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.world.bind("li", "phone-1")
    app = App()
    pauses: list[float] = []

    async def no_pause(client: DeviceClient, seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0.02)

    monkeypatch.setattr(DeviceClient, "_pause", no_pause)
    other = await stage.gateway()
    async with running(stage, app) as (client, _):
        await eventually(lambda: client.state == "online")
        client._gateway_url = f"ws://127.0.0.1:{other.port}/v1/connect"
        await stage.gateways[0].stop(2)
        await eventually(lambda: client.state == "online" and other.gauges()["lines"] == 1)
        await stage.world.dispatch("li", "m1")
        await eventually(lambda: app.shown == ["m1"])
    assert pauses[0] == 8  # as the bye said


async def test_a_phone_whose_line_will_not_hold_polls(
    stage: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.world.bind("li", "phone-1")
    await stage.world.dispatch("li", "m1")
    monkeypatch.setattr(reconnect_module, "POLL_FIRST_S", 0.2)
    app = App()
    async with running(stage, app) as (client, _):

        async def receipts(items: Any) -> dict[str, int]:
            for item in items:
                await stage.world.books.passed(APP, "li", "phone-1", [item["delivery_id"]], 0)
            return {}

        client.receipts = receipts  # type: ignore[method-assign,assignment]
        good, client._gateway_url = client._gateway_url, "ws://127.0.0.1:1/v1/connect"
        await eventually(lambda: "polling" in app.states and app.shown == ["m1"])
        client._gateway_url = good
        await eventually(lambda: client.state == "online")
    assert app.shown == ["m1"]
    assert stage.world.books.proven
