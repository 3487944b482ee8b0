"""What the demo stands on: a running `up`, its simulators, and three people with their phones."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import httpx

from dispatcher.client import DeviceClient, Keepsake, Msg, Sender

CLASS = "demo"
STRATEGY = "demo"
TOPIC = "com.example.im"
_PAGE = 1_000  #: entries a reply of the simulators' request logs
_CONNECT_S = 20.0


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


@dataclass(kw_only=True)
class Phone:
    """One phone: what its app calls, and what its screen has shown. *new_line* makes a client for one long connection;
    all of a phone's clients share its memory, so a message that one has shown is shown by none again."""

    device_id: str
    push_token: str
    app: DeviceClient
    new_line: Callable[[Callable[[str], None]], DeviceClient]
    screen: list[str]  #: message ids, in order


@dataclass(kw_only=True)
class People:
    """Li with an iPhone and an Android phone, Mei with an iPhone, Tom without the app."""

    li: str
    li_iphone: Phone
    li_android: Phone
    mei: str
    mei_iphone: Phone
    mei_number: str
    tom: str
    tom_number: str


class Simulators:
    """The control API of `pushpath sandbox`."""

    def __init__(self, client: httpx.AsyncClient, control_url: str) -> None:
        self._client = client
        self._url = control_url
        self._begun: dict[str, int] = {}

    async def begin(self) -> None:
        """Notes where each request log stands, so that only this run's requests are looked at."""
        for end in ("apns", "fcm", "sms"):
            last = 0
            async for entry in self._read(end, 0):
                last = entry["n"]
            self._begun[end] = last

    async def requests(self, end: str, target: str | None = None) -> list[dict[str, Any]]:
        """This run's requests at *end*, all or those to one token or number, oldest first."""
        found = self._read(end, self._begun[end])
        return [entry async for entry in found if target is None or entry["target"] == target]

    async def outbox(self, number: str) -> list[dict[str, Any]]:
        """Texts on the phone with *number*."""
        reply = await self._client.get(f"{self._url}/control/sms/outbox", params={"to": number})
        texts: list[dict[str, Any]] = reply.raise_for_status().json()["texts"]
        return texts

    @contextlib.asynccontextmanager
    async def scripted(self, end: str, errors: Sequence[Mapping[str, Any]]) -> AsyncIterator[None]:
        """*errors* in front of what is scripted already, which stands again afterwards."""
        address = f"{self._url}/control/{end}"
        before = (await self._client.get(address)).raise_for_status().json()
        kept = {name: value for name, value in before.items() if value is not None}
        script = {**kept, "errors": [*errors, *kept.get("errors", [])]}
        (await self._client.put(address, json=script)).raise_for_status()
        try:
            yield
        finally:
            (await self._client.put(address, json=kept)).raise_for_status()

    async def _read(self, end: str, after: int) -> AsyncIterator[dict[str, Any]]:
        while True:
            reply = await self._client.get(f"{self._url}/control/{end}/requests", params={"after": after})
            entries = reply.raise_for_status().json()["requests"]
            for entry in entries:
                yield entry
            if len(entries) < _PAGE:
                return
            after = entries[-1]["n"]


@dataclass(kw_only=True)
class Stage:
    """Everything a scene may use. *run*: in every id of this run, so that it works twice on kept data."""

    run: str
    sender: Sender
    api: httpx.AsyncClient  #: with the API key
    simulators: Simulators
    people: People

    async def device(self, device_id: str) -> dict[str, Any]:
        """``GET /v1/devices/{device_id}``."""
        found: dict[str, Any] = (await self.api.get(f"/v1/devices/{device_id}")).raise_for_status().json()
        return found


@contextlib.asynccontextmanager
async def open_stage(up: Mapping[str, Any]) -> AsyncIterator[Stage]:
    """Publishes the demo's strategy, makes the people and registers their phones. *up*: the document of up.json."""
    run = secrets.token_hex(4)
    # Loopback addresses: a proxy from the environment must not come in between.
    headers = {"Authorization": f"Bearer {up['api_key']}"}
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(
            httpx.AsyncClient(base_url=up["api_url"], headers=headers, timeout=20, trust_env=False)
        )
        plain = await stack.enter_async_context(httpx.AsyncClient(timeout=20, trust_env=False))
        sender = await stack.enter_async_context(Sender(up["api_url"], up["api_key"], client=plain))
        simulators = Simulators(plain, up["sandbox"]["control_url"])
        await simulators.begin()
        await publish_strategy(api)

        async def phone(user_id: str, name: str, push_token: str) -> Phone:
            return await stack.enter_async_context(_phone(up, sender, plain, user_id, f"{name}-{run}", push_token))

        li, mei, tom = f"li-{run}", f"mei-{run}", f"tom-{run}"
        people = People(
            li=li,
            li_iphone=await phone(li, "li-iphone", secrets.token_hex(32)),
            li_android=await phone(li, "li-android", f"fcm-{secrets.token_urlsafe(24)}"),
            mei=mei,
            mei_iphone=await phone(mei, "mei-iphone", secrets.token_hex(32)),
            mei_number=_number(),
            tom=tom,
            tom_number=_number(),
        )
        await _register(sender, people)
        yield Stage(run=run, sender=sender, api=api, simulators=simulators, people=people)


async def publish_strategy(api: httpx.AsyncClient) -> None:
    """Publishes the demo's strategy under its own name, unless it is live already."""
    text = files(__package__).joinpath("strategy.yaml").read_text()
    accept = {"Accept": "application/yaml"}
    live = await api.get(f"/v1/strategies/{STRATEGY}", headers=accept)
    if live.is_success and live.text == text:
        return
    draft = {"Content-Type": "application/yaml"} | ({"If-Match": "*"} if live.is_success else {})
    stored = await api.put(f"/v1/strategies/{STRATEGY}/draft", content=text, headers=draft)
    if stored.status_code == httpx.codes.PRECONDITION_REQUIRED:  # a draft that was never published
        draft["If-Match"] = "*"
        stored = await api.put(f"/v1/strategies/{STRATEGY}/draft", content=text, headers=draft)
    if not stored.is_success:
        raise DemoFailed(f"the demo's strategy was refused: {stored.text}")
    published = await api.post(f"/v1/strategies/{STRATEGY}/publish", json={})
    if not published.is_success:
        raise DemoFailed(f"the demo's strategy could not be published: {published.text}")
    await asyncio.sleep(0.6)  # workers look for new versions every half second


@contextlib.asynccontextmanager
async def line_of(phone: Phone) -> AsyncIterator[None]:
    """The phone's long connection, held as an app in the foreground holds it; live when the block begins."""
    live = asyncio.Event()

    def changed(state: str) -> None:
        if state == "online":
            live.set()

    async with phone.new_line(changed) as client:
        running = asyncio.create_task(client.run())
        waiting = asyncio.create_task(live.wait())
        try:
            await asyncio.wait({running, waiting}, timeout=_CONNECT_S, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
            if not live.is_set():
                raise DemoFailed(f"{phone.device_id} could not connect to the gateway")
            yield
        finally:
            waiting.cancel()
            await client.stop()
            await asyncio.wait({running}, timeout=5)


@contextlib.asynccontextmanager
async def _phone(
    up: Mapping[str, Any], sender: Sender, http: httpx.AsyncClient, user_id: str, device_id: str, push_token: str
) -> AsyncIterator[Phone]:
    screen: list[str] = []
    keepsake = Keepsake()

    async def token() -> str:
        minted = await sender.device_token(user_id, device_id, ttl="1h")
        return str(minted["token"])

    async def show(message: Msg) -> None:
        screen.append(message.message_id)

    def new_line(changed: Callable[[str], None] | None = None) -> DeviceClient:
        return DeviceClient(
            up["api_url"],
            up["gateway_url"],
            user_id=user_id,
            device_id=device_id,
            token=token,
            on_message=show,
            on_change=changed,
            keepsake=keepsake,
            http=http,
        )

    async with new_line() as app:
        yield Phone(device_id=device_id, push_token=push_token, app=app, new_line=new_line, screen=screen)


async def _register(sender: Sender, people: People) -> None:
    await sender.put_user(people.li, locale="zh-CN", time_zone="Asia/Shanghai")
    await sender.put_user(people.mei, phone=people.mei_number, phone_verified=True, sms_opt_in=True)
    await sender.put_user(people.tom, phone=people.tom_number, phone_verified=True, sms_opt_in=True)
    for phone in (people.li_iphone, people.mei_iphone):
        apns = {
            "path": "apns",
            "kind": "device",
            "value": phone.push_token,
            "environment": "production",
            "topic": TOPIC,
        }
        await phone.app.register("ios", tokens=[apns], manufacturer="Apple", os_version="19.1", app_version="8.1.0")
    android = people.li_android
    fcm = {"path": "fcm", "kind": "registration", "value": android.push_token}
    await android.app.register("android", tokens=[fcm], manufacturer="Xiaomi", os_version="16", app_version="8.1.0")


def _number() -> str:
    """A number that nobody has: 555-01xx is kept for fiction, with a random area."""
    return f"+1{secrets.randbelow(700) + 201}555{secrets.randbelow(100) + 100:04d}"
