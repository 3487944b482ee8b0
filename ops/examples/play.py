"""Plays a worked example: publishes its document, makes people with phones, dispatches, and checks what became of it.

    ./ops/examples/run chat|otp|alert [--data DIR]

*DIR* is that of a running `pushpath up`; where none runs, one is started for the while. The phones are the Python
SDK's, vendors and carrier are the simulators. Exit code 0: everything came as the document says.
"""

import argparse
import asyncio
import contextlib
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from products import PLAYS

from dispatcher.client import DeviceClient, Msg, Sender

HERE = Path(__file__).parent
READY_S, SETTLED_S = 120.0, 60.0


@dataclass(kw_only=True)
class Phone:
    """A phone of one user, and what its screen has shown."""

    user_id: str
    device_id: str
    push_token: str
    app: DeviceClient
    screen: list[str] = field(default_factory=list)


class NotAsWritten(Exception):
    """Something came otherwise than the document says."""


class Product:
    """One product's backend with its users; everything goes through the doors."""

    def __init__(self, up: dict[str, Any], http: httpx.AsyncClient, say: Callable[[str], None]) -> None:
        self._up = up
        self._http = http
        self._sender = Sender(up["api_url"], up["api_key"], client=http)
        self._key = {"Authorization": f"Bearer {up['api_key']}"}
        self.run = secrets.token_hex(4)
        self.say = say

    async def publish(self, name: str) -> None:
        """The document beside this file, to everybody."""
        text = (HERE / f"{name}.yaml").read_text()
        strategy = next(line.split(":")[1].strip() for line in text.splitlines() if line.startswith("strategy:"))
        address = f"{self._up['api_url']}/v1/strategies/{strategy}"
        live = await self._http.get(address, headers=self._key)
        headers = {**self._key, "Content-Type": "application/yaml", **({"If-Match": "*"} if live.is_success else {})}
        stored = await self._http.put(f"{address}/draft", content=text, headers=headers)
        if stored.status_code == httpx.codes.PRECONDITION_REQUIRED:  # a draft that was never published
            stored = await self._http.put(f"{address}/draft", content=text, headers={**headers, "If-Match": "*"})
        stored.raise_for_status()
        published = await self._http.post(f"{address}/publish", json={}, headers=self._key)
        self.say(f"published {name}.yaml: version {published.raise_for_status().json()['version']} of {strategy}")
        await asyncio.sleep(0.6)  # workers look for new versions every half second

    async def user(self, name: str, *, number: str | None = None, **facts: Any) -> str:
        """A user of this run."""
        user_id = f"{name}-{self.run}"
        phone = {"phone": number, "phone_verified": True, "sms_opt_in": True} if number else {}
        await self._sender.put_user(user_id, **phone, **facts)
        return user_id

    @contextlib.asynccontextmanager
    async def phone(self, user_id: str, name: str = "phone") -> AsyncIterator[Phone]:
        """An iPhone with the app, not connected."""
        device_id, token, screen = f"{name}-{user_id}", secrets.token_hex(32), list[str]()

        async def mint() -> str:
            return str((await self._sender.device_token(user_id, device_id, ttl="1h"))["token"])

        async def show(message: Msg) -> None:
            screen.append(message.message_id)

        async with DeviceClient(
            self._up["api_url"],
            self._up["gateway_url"],
            user_id=user_id,
            device_id=device_id,
            token=mint,
            on_message=show,
            http=self._http,
        ) as app:
            apns = {"path": "apns", "kind": "device", "value": token, "environment": "production"}
            await app.register("ios", tokens=[{**apns, "topic": "com.example.im"}], manufacturer="Apple")
            yield Phone(user_id=user_id, device_id=device_id, push_token=token, app=app, screen=screen)

    @contextlib.asynccontextmanager
    async def on_screen(self, phone: Phone) -> AsyncIterator[None]:
        """The app is open: it holds its long connection."""
        running = asyncio.create_task(phone.app.run())
        try:
            await self.until(lambda: _is("online", phone.app.state), "the phone is online")
            yield
        finally:
            await phone.app.stop()
            await asyncio.wait({running}, timeout=5)

    async def dispatch(self, user_id: str, klass: str, title: str, body: str, **more: Any) -> str:
        """One message; its id."""
        message_id = f"{klass}-{secrets.token_hex(6)}"
        notification = {"title": title, "body": body}
        message = {"message_id": message_id, "to": {"user_ids": [user_id]}, "class": klass, **more}
        await self._sender.dispatch({**message, "notification": notification})
        self.say(f"dispatched {klass}: {title}: {body}")
        return message_id

    async def pushed(self, phone: Phone, message_id: str) -> dict[str, Any]:
        """The ids of the push that woke *phone*."""
        log = f"{self._up['sandbox']['control_url']}/control/apns/requests"

        async def arrived() -> dict[str, Any] | None:
            after = 0
            while entries := (await self._http.get(log, params={"after": after})).json()["requests"]:
                for entry in entries:
                    if entry["target"] == phone.push_token and message_id in entry["body"]:
                        ids: dict[str, Any] = json.loads(entry["body"])["pushpath"]
                        return ids
                after = entries[-1]["n"]
            return None

        found: dict[str, Any] = await self.until(arrived, "the push arrives")
        self.say(f"  {phone.device_id} got the push")
        return found

    async def receipt(self, phone: Phone, ids: dict[str, Any], event: str) -> None:
        """What the app says of a push."""
        own = {"delivery_id": ids["delivery_id"], "attempt_id": ids["attempt_id"]}
        await phone.app.receipts([{**own, "event": event, "via": "apns"}])
        self.say(f"  {phone.device_id}: {event}")

    async def texts(self, number: str) -> list[str]:
        """What lies on the phone with this number."""
        outbox = f"{self._up['sandbox']['control_url']}/control/sms/outbox"
        return [one["body"] for one in (await self._http.get(outbox, params={"to": number})).json()["texts"]]

    async def confirmed(self, message_id: str, by: str, rule: str) -> None:
        """It is proven, by that path, and planned by that rule."""

        async def ended() -> dict[str, Any] | None:
            delivery: dict[str, Any] = (await self._sender.state(message_id))["deliveries"][0]
            return delivery if delivery["state"] not in {"open", "held", "scheduled"} else None

        found = await self.until(ended, "it is settled")
        events = await self._sender.timeline(message_id)
        rules = {event["detail"].get("rule") for event in events if event["kind"] == "planned"}
        self.say(f"  {found['state']} by {found['confirmed_by']}, rule {', '.join(sorted(map(str, rules)))}")
        self.check((found["state"], found["confirmed_by"]) == ("confirmed", by), f"it is proven by {by}")
        self.check(rules == {rule}, f"the rule is {rule!r}")

    def check(self, holds: bool, what: str) -> None:
        """Says so; raises :class:`NotAsWritten`."""
        if not holds:
            raise NotAsWritten(what)
        self.say(f"  ✓ {what}")

    async def until(self, question: Callable[[], Any], what: str) -> Any:
        """The first answer that is not None."""
        end = time.monotonic() + SETTLED_S
        while (found := await question()) is None:
            if time.monotonic() > end:
                raise NotAsWritten(f"not within {SETTLED_S:g} s: {what}")
            await asyncio.sleep(0.1)
        return found


async def _is(wanted: str, state: str) -> bool | None:
    return True if state == wanted else None


@contextlib.contextmanager
def running_up(data: Path) -> Iterator[dict[str, Any]]:
    """The `up` of *data*, or one of our own."""
    with contextlib.ExitStack() as stack:
        if not (data / "up.json").exists():
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pushpath-example-"))) / "data"
            data.parent.chmod(0o711)  # as root the servers' account has to pass through
            command = [sys.executable, "-c", "from dispatcher.cli import main; main()", "up", "--ports", "auto"]
            up = subprocess.Popen([*command, "--data", str(data)], stdout=subprocess.DEVNULL)
            stack.callback(up.wait)
            stack.callback(up.terminate)
            end = time.monotonic() + READY_S
            while not (data / "up.json").exists():
                if up.poll() is not None or time.monotonic() > end:
                    raise SystemExit("pushpath up did not start")
                time.sleep(0.2)
        yield json.loads((data / "up.json").read_text())


async def play(name: str, up: dict[str, Any]) -> None:
    """One example; raises :class:`NotAsWritten`."""
    async with httpx.AsyncClient(timeout=20, trust_env=False) as http:
        product = Product(up, http, print)
        await product.publish(name)
        await PLAYS[name](product)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Plays a worked example.")
    parser.add_argument("name", choices=sorted(PLAYS))
    parser.add_argument("--data", type=Path, default=Path(".data"), help="of a running `pushpath up`")
    asked = parser.parse_args()
    with running_up(asked.data) as up:
        try:
            asyncio.run(play(asked.name, up))
        except NotAsWritten as fault:
            raise SystemExit(f"  ✗ {fault}") from None
    print("Everything came as the document says.")


if __name__ == "__main__":
    main()
