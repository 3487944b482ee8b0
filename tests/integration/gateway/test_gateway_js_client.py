"""The JavaScript client against a real gateway, in Node where one with a WebSocket is at hand."""

import asyncio
import json
import shutil
import subprocess
from importlib.resources import files
from typing import Any

import pytest

from dispatcher.gateway.rehearsal import APP
from dispatcher.ports.node_bus import BusFrame

NODE = shutil.which("node")
FLAGS = ["--experimental-websocket", "--no-warnings", "--input-type=module"]
SCRIPT = """
const { DeviceClient, Keepsake, pauseAfter } = await import(process.argv[1]);
const tell = (...words) => console.log(JSON.stringify(words));
tell("pauses", [[1001, {retry_after_s: 7}, 1], [1006, null, 1], [1013, null, 1], [4001, null, 1], [4010, null, 1]]
  .map(([code, bye, failures]) => pauseAfter(code, bye, failures, () => 0.5)));
let refused = false;
const client = new DeviceClient(process.argv[2], {
  token: async () => process.argv[3],
  onMessage: async (message) => {
    if (message.message_id === "m2" && !refused) { refused = true; throw new Error("disk full"); }
    tell("shown", message.message_id);
  },
  onRecall: (messageId) => tell("recalled", messageId),
  onChange: (state) => tell("state", state),
  dice: () => 0,
});
tell("ended", await client.run());
tell("notebook", client.keepsake.notebook().seen);
process.exit(0);
"""


def has_websocket() -> bool:
    if NODE is None:
        return False
    ask = [NODE, *FLAGS, "-e", "process.exit(globalThis.WebSocket ? 0 : 1)"]
    return subprocess.run(ask, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not has_websocket(), reason="no Node with a WebSocket")
async def test_the_javascript_client_resumes_shows_nothing_twice_and_stops_when_moved(
    stage: Any, eventually: Any
) -> None:
    assert NODE is not None
    token = await stage.world.bind("li", "phone-1")
    module = files("dispatcher.client").joinpath("js/pushpath.js")
    url = f"ws://127.0.0.1:{stage.gateways[0].port}/v1/connect"
    child = await asyncio.create_subprocess_exec(
        NODE, *FLAGS, "-e", SCRIPT, str(module), url, token, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None

    async def hear(*words: Any) -> None:
        assert child.stdout is not None
        line = await asyncio.wait_for(child.stdout.readline(), 30)
        assert json.loads(line) == list(words)

    try:
        await hear("pauses", [7_500, 625, 2_500, 0, None])
        for state in ("connecting", "syncing", "online"):
            await hear("state", state)
        first = await stage.world.dispatch("li", "m1", "早")
        await hear("shown", "m1")
        await eventually(lambda: (APP, "li", first) in stage.world.books.proven)
        await stage.world.dispatch("li", "m2")  # could not be stored: the line is closed, it comes again
        for state in ("offline", "connecting", "syncing"):
            await hear("state", state)
        await hear("shown", "m2")
        await hear("state", "online")
        await stage.world.wake(BusFrame(kind="recall", app=APP, user_id="li", device_id="", message_id="m1"))
        await hear("recalled", "m1")
        moved = BusFrame(kind="moved", app=APP, user_id="li", device_id="phone-1", epoch=2)
        await stage.world.bus.send({stage.gateways[0].desk.node: [moved]})
        await hear("state", "offline")
        await hear("ended", 4010)
        await hear("notebook", ["m2", "m1"])
        assert await asyncio.wait_for(child.wait(), 5) == 0
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
