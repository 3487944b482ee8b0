"""``pushpath device``: a phone in a terminal."""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from dispatcher.cli.client.address import API_KEY, GATEWAY_URL, Address, address_options, find_address, is_local
from dispatcher.cli.options import json_option
from dispatcher.client import DeviceClient, MovedAway, Msg, PushpathError, Sender
from dispatcher.protocol.effects import Effect, Reply
from dispatcher.protocol.frames import Ack

KEYS = "Keys: q ends · s silent on and off (messages are shown, not acknowledged) · b background and foreground"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the command line asks for."""

    user: str
    device: str
    platform: str
    token: str | None
    apns_token: str | None
    fcm_token: str | None
    silent: bool
    poll: bool
    once: bool
    seconds: float | None
    as_json: bool


@click.command()
@click.option("--user", required=True, help="Whose phone it is.")
@click.option("--device", "device_id", help="The install's id; made of the user's name where left out.")
@click.option("--platform", type=click.Choice(["ios", "android", "harmony", "web"]), default="ios", show_default=True)
@click.option("--apns-token", help="Register with this APNs device token (hexadecimal).")
@click.option("--fcm-token", help="Register with this FCM registration token.")
@click.option(
    "--token", envvar="PUSHPATH_DEVICE_TOKEN", help=f"A device token; left out: minted with {API_KEY} or `up`."
)
@click.option("--gateway-url", help=f"Else {GATEWAY_URL}, else what the minted token names, else that of `up`.")
@click.option("--silent", is_flag=True, help="Show messages without acknowledging them: they stay unproven.")
@click.option("--poll", is_flag=True, help="Do not connect: pull the inbox, long-polling.")
@click.option("--once", is_flag=True, help="End after the first message (with --poll: after one pull).")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="End after so long.")
@address_options
@json_option
def device(
    user: str,
    device_id: str | None,
    platform: str,
    apns_token: str | None,
    fcm_token: str | None,
    token: str | None,
    gateway_url: str | None,
    silent: bool,
    poll: bool,
    once: bool,
    seconds: float | None,
    api_url: str | None,
    api_key: str | None,
    data: Path,
    as_json: bool,
) -> None:
    """Be a phone: register, hold the long connection, show messages, acknowledge them.

    Ends with Ctrl-C or `q`. With --json every message is one line on standard output. Exit code 0: ended as asked;
    1: refused; 3: --once, and no message came within --seconds.
    """
    address = find_address(data, api_url=api_url, api_key=api_key, gateway_url=gateway_url, needs_key=token is None)
    wish = Wish(
        user=user,
        device=device_id or f"terminal-{user}",
        platform=platform,
        token=token,
        apns_token=apns_token,
        fcm_token=fcm_token,
        silent=silent,
        poll=poll,
        once=once,
        seconds=seconds,
        as_json=as_json,
    )
    try:
        sys.exit(asyncio.run(Handset(address, wish).use()))
    except MovedAway:
        raise click.ClickException("Another connection or another user took this device over.") from None
    except PushpathError as error:
        raise click.ClickException(f"{address.api_url}: {error}") from None


class _Phone(DeviceClient):
    """A device that can keep its acknowledgements to itself, as a phone does whose app was killed while it slept."""

    silent = False

    async def _apply(self, effects: Sequence[Effect]) -> None:
        if self.silent:
            effects = [each for each in effects if not (isinstance(each, Reply) and isinstance(each.frame, Ack))]
        await super()._apply(effects)
        if self.silent:
            self.keepsake.cursor = None  # a later cursor would prove what came before it

    async def _prove(self, messages: Sequence[Msg]) -> None:
        if not self.silent:
            await super()._prove(messages)


class Handset:
    """One run of the command."""

    def __init__(self, address: Address, wish: Wish) -> None:
        self._address = address
        self._wish = wish
        self._silent = wish.silent
        self._foreground = True
        self._shown = 0
        self._over = asyncio.Event()
        self._gateway = address.gateway_url
        self._client: _Phone
        self._tasks: set[asyncio.Task[None]] = set()

    async def use(self) -> int:
        """Until it is over; the exit code."""
        import httpx

        url = self._address.api_url or ""
        local = is_local(url)
        async with contextlib.AsyncExitStack() as stack:
            http = await stack.enter_async_context(httpx.AsyncClient(timeout=30, trust_env=not local))
            key = self._address.api_key
            self._sender = Sender(url, key, client=http) if key is not None else None
            first = await self._token()
            if self._gateway is None and not self._wish.poll:
                raise click.UsageError(f"Where is the gateway? Set {GATEWAY_URL}, or give --gateway-url or --poll.")
            self._first: str | None = first
            self._client = await stack.enter_async_context(
                _Phone(
                    url,
                    self._gateway or "",
                    user_id=self._wish.user,
                    device_id=self._wish.device,
                    token=self._next_token,
                    on_message=self._show,
                    on_recall=self._recalled,
                    on_change=self._changed,
                    http=http,
                )
            )
            self._client.silent = self._silent
            await self._client.register(self._wish.platform, tokens=self._tokens())
            self._say(f"{self._wish.device} of {self._wish.user} is registered ({self._wish.platform}).")
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, self._over.set)
            with self._keys():
                await self._live()
        return 3 if self._wish.once and not self._shown else 0

    async def _live(self) -> None:
        working = asyncio.create_task(self._poll() if self._wish.poll else self._client.run())
        over = asyncio.create_task(self._over.wait())
        await asyncio.wait({working, over}, timeout=self._wish.seconds, return_when=asyncio.FIRST_COMPLETED)
        if self._wish.once:
            await asyncio.sleep(0.2)  # the ack of the message leaves
        over.cancel()
        if working.done():
            await working
            return
        await self._client.stop()
        working.cancel()
        await asyncio.wait({working}, timeout=3)

    async def _poll(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            after_s = await self._client.pull(wait_s=5)
            if self._wish.once:
                return
            if time.monotonic() - began < 1:  # the API did not park us
                await asyncio.sleep(min(after_s, 5.0))

    async def _token(self) -> str:
        if self._sender is None:
            return self._wish.token or ""
        if self._wish.token is not None:
            return self._wish.token
        minted = await self._sender.device_token(self._wish.user, self._wish.device)
        if self._gateway is None and minted["gateways"]:
            self._gateway = minted["gateways"][0]
        return str(minted["token"])

    async def _next_token(self) -> str:
        """The token minted at the start, then a fresh one each time."""
        token, self._first = self._first, None
        if token is None and self._wish.token is not None:
            raise PushpathError(401, "unauthorized", "the device token was refused: it may have ended")
        return token if token is not None else await self._token()

    def _tokens(self) -> list[dict[str, str]]:
        found = []
        if self._wish.apns_token:
            found.append({"path": "apns", "kind": "device", "value": self._wish.apns_token})
        if self._wish.fcm_token:
            found.append({"path": "fcm", "kind": "registration", "value": self._wish.fcm_token})
        return found

    async def _show(self, message: Msg) -> None:
        self._shown += 1
        if self._wish.as_json:
            document = {
                "message_id": message.message_id,
                "delivery_id": message.delivery_id,
                "class": message.klass,
                "notification": message.notification,
                "data": message.data,
                "sent_at": message.sent_at,
                "acknowledged": not self._silent,
            }
            click.echo(json.dumps(document, ensure_ascii=False))
        else:
            shown = message.notification or {}
            text = ": ".join(part for part in (shown.get("title"), shown.get("body")) if part) or "(no notification)"
            more = f"  {json.dumps(message.data, ensure_ascii=False)}" if message.data else ""
            click.echo(f"{message.sent_at}  [{message.klass}] {text}{more}  ({message.message_id})")
        if self._wish.once:
            self._over.set()

    async def _recalled(self, message_id: str) -> None:
        self._say(f"recalled: {message_id}")

    def _changed(self, state: str) -> None:
        self._say(f"{state}" + (" (silent)" if self._silent and state == "online" else ""))

    def _say(self, text: str) -> None:
        """To the person; standard output belongs to messages."""
        click.echo(text, err=True)

    @contextlib.contextmanager
    def _keys(self) -> Any:
        """Single keys on a terminal."""
        if not sys.stdin.isatty() or self._wish.as_json:
            yield
            return
        import termios
        import tty

        self._say(KEYS)
        loop, fd = asyncio.get_running_loop(), sys.stdin.fileno()
        before = termios.tcgetattr(fd)
        tty.setcbreak(fd)
        loop.add_reader(fd, self._pressed)
        try:
            yield
        finally:
            loop.remove_reader(fd)
            termios.tcsetattr(fd, termios.TCSADRAIN, before)

    def _pressed(self) -> None:
        match sys.stdin.read(1):
            case "q":
                self._over.set()
            case "s":
                self._silent = self._client.silent = not self._silent
                self._say("silent: messages stay unproven" if self._silent else "acknowledging again")
            case "b":
                self._foreground = not self._foreground
                task = asyncio.get_running_loop().create_task(self._client.set_foreground(self._foreground))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                self._say("foreground" if self._foreground else "background")
