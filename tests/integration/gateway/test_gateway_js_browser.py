"""The JavaScript client in headless Chromium against a real gateway: the line, its heartbeat, polling instead of it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from dispatcher.gateway.rehearsal import APP
from dispatcher.ports.node_bus import BusFrame
from dispatcher.protocol.known_line import quiet_after
from dispatcher.protocol.server_session import Live

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START = """
async ({gatewayUrl, apiUrl, token, notebook}) => {
  const { DeviceClient, Keepsake } = await import("/pushpath.js");
  window.log = [];
  const tell = (...words) => window.log.push(JSON.stringify(words));
  window.client = new DeviceClient(gatewayUrl, {
    apiUrl,
    token: async () => token,
    onMessage: (message) => tell("shown", message.message_id, message.notification.body),
    onRecall: (messageId) => tell("recalled", messageId),
    onChange: (state) => tell("state", state),
    keepsake: new Keepsake(notebook),
    foreground: false,
    network: "wifi",
    dice: () => 0,
  });
  window.client.run().then((code) => tell("ended", code));
}
"""

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium")


class Site:
    """The page's origin: the module, and an API in front of the gateway's inbox that keeps receipts."""

    def __init__(self, gateway_port: int) -> None:
        self.gateway_port = gateway_port
        self.receipts: list[dict[str, Any]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].decode()
        if path.startswith("/v1/inbox"):
            theirs, ours = await asyncio.open_connection("127.0.0.1", self.gateway_port)
            token = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"authorization:"))
            ours.write(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%b\r\n\r\n" % (path.encode(), token))
            writer.write(await theirs.read())
            ours.close()
        else:
            kind, body = "text/html", b"<!doctype html><title>phone</title>"
            if path == "/pushpath.js":
                kind, body = "text/javascript", files("dispatcher.client").joinpath("js/pushpath.js").read_bytes()
            elif path == "/v1/receipts":
                size = next(
                    int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
                )
                self.receipts += json.loads(await reader.readexactly(size))["receipts"]
                kind, body = "application/json", b"{}"
            length = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%b" % (kind.encode(), length) + body)
        await writer.drain()
        writer.close()


@pytest.fixture
async def site(stage: Any) -> AsyncIterator[Site]:
    made = Site((await stage.gateway(heartbeat_s=1)).port)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


@pytest.fixture
async def page(site: Site) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = await browser.new_page()
        await opened.goto(site.url)
        yield opened
        await browser.close()


async def log(page: Page, *last: Any) -> list[Any]:
    """What happened up to *last*."""
    await page.wait_for_function("last => window.log.includes(last)", arg=_words(*last), timeout=15_000)
    return [json.loads(words) for words in await page.evaluate("window.log")]


def _words(*words: Any) -> str:
    return json.dumps(words, ensure_ascii=False, separators=(",", ":"))


async def test_a_browser_holds_the_line_beats_and_stops_when_moved(
    stage: Any, site: Site, page: Page, eventually: Any
) -> None:
    gateway = stage.gateways[-1]
    token = await stage.world.bind("li", "phone-1")
    first = await stage.world.dispatch("li", "m1", "早")
    url = f"ws://127.0.0.1:{gateway.port}/v1/connect"
    await page.evaluate(START, {"gatewayUrl": url, "apiUrl": None, "token": token, "notebook": {}})
    happened = await log(page, "state", "online")
    assert happened == [
        ["state", "connecting"],
        ["state", "syncing"],
        ["shown", "m1", "早"],
        ["state", "online"],
    ]
    await eventually(lambda: (APP, "li", first) in stage.world.books.proven)
    line = gateway.desk.hub.line(APP, "phone-1")
    # After its first second of silence it announces how long it means to be silent, and the node waits that long.
    await eventually(lambda: isinstance(line.session, Live) and line.session.quiet_ms == quiet_after(270))
    assert line.session.foreground is False
    await stage.world.wake(BusFrame(kind="recall", app=APP, user_id="li", device_id="", message_id="m1"))
    await log(page, "recalled", "m1")
    moved = BusFrame(kind="moved", app=APP, user_id="li", device_id="phone-1", epoch=2)
    await stage.world.bus.send({gateway.desk.node: [moved]})
    assert (await log(page, "ended", 4010))[-2:] == [["state", "offline"], ["ended", 4010]]
    notebook = await page.evaluate("window.client.keepsake.notebook()")
    assert notebook["seen"] == ["m1"]
    assert notebook["heartbeat"]["wifi"]["good_s"] == 1


async def test_a_browser_polls_while_the_line_does_not_hold(
    stage: Any, site: Site, page: Page, eventually: Any
) -> None:
    token = await stage.world.bind("li", "phone-1")
    first = await stage.world.dispatch("li", "m1", "polled")
    second = await stage.world.dispatch("li", "m2", "polled")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{closed.getsockname()[1]}/v1/connect"
        started = {"gatewayUrl": url, "apiUrl": site.url, "token": token, "notebook": {}}
        await page.evaluate(START, started)
        happened = await log(page, "shown", "m2", "polled")
    assert happened[-3:] == [["state", "polling"], ["shown", "m1", "polled"], ["shown", "m2", "polled"]]
    await eventually(lambda: len(site.receipts) == 2)
    assert [one["delivery_id"] for one in site.receipts] == [second, first]
    await page.evaluate("window.client.stop()")
    assert (await log(page, "ended", None))[-2:] == [["state", "offline"], ["ended", None]]


async def test_a_page_on_another_origin_polls_the_gateway_where_the_settings_name_it(
    stage: Any, site: Site, page: Page, eventually: Any
) -> None:
    token = await stage.world.bind("li", "phone-1")
    cursor = stage.world.cursor("li", stage.world.append("li", "m0").seq)
    listed, closed = await stage.gateway(cors_origins=(site.url,)), stage.gateways[0]
    poll = """
      async ({url, token}) => {
        try {
          const reply = await fetch(url, {headers: {Authorization: `Bearer ${token}`}});
          return [reply.status, (await reply.json()).messages?.map((message) => message.message_id)];
        } catch (error) {
          return [0, error.name];
        }
      }
    """

    async def polled(gateway: Any, shown: str = token) -> Any:
        url = f"http://127.0.0.1:{gateway.port}/v1/inbox?wait=30s&after={cursor}"
        return await page.evaluate(poll, {"url": url, "token": shown})

    waiting = asyncio.create_task(polled(listed))
    await eventually(lambda: listed.gauges()["parked"] == 1)
    await stage.world.dispatch("li", "m1", "polled")
    assert await waiting == [200, ["m1"]]
    assert await polled(listed, "rubbish") == [401, None]
    assert await polled(closed) == [0, "TypeError"]


async def test_heartbeats_grow_settle_and_start_over_as_the_python_clients_do(page: Page) -> None:
    found = await page.evaluate(
        """async () => {
          const { Heartbeat } = await import("/pushpath.js");
          const beat = new Heartbeat();
          const out = [beat.interval("w", false)];
          for (let step = 0; step < 3; step += 1) {
            beat.succeeded("w", beat.interval("w", false));
            out.push(beat.interval("w", false));
          }
          beat.failed("w", 450);
          out.push(beat.interval("w", false), beat.interval("w", true));
          for (let step = 0; step < 4; step += 1) beat.failed("w", 380);
          return [...out, beat.interval("w", false)];
        }"""
    )
    assert found == [270, 330, 390, 450, 380, 270, 270]
