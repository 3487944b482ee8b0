"""All simulators in one process: composition, start, stop, and ``serve`` for the command line."""

import asyncio
import itertools
import random
import signal
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from providers.sandbox.apns import Apns
from providers.sandbox.apns_auth import ProviderTokens
from providers.sandbox.certificate import CertificateFiles, ensure_certificate
from providers.sandbox.control import Control, Controlled
from providers.sandbox.credentials import SandboxCredentials, ensure_credentials
from providers.sandbox.end import End, Switch, Vendor
from providers.sandbox.fcm import OAUTH_PATH, Fcm
from providers.sandbox.oauth import OAuth
from providers.sandbox.request_log import RequestLog
from providers.sandbox.script import Script
from providers.sandbox.settings import SandboxSettings
from providers.sandbox.sms import Twilio
from providers.sandbox.sms_callbacks import Callbacks
from providers.sandbox.sms_message import Texts
from providers.sandbox.wire.listener import Listener

FIRST_APNS_STREAMS = 1
"""Apple allows one stream until a request with a valid provider token was seen."""


class Sandbox:
    """Running simulators. ``apns_url`` takes both environments; ``apns_sandbox_url`` is Apple's second host, for
    tests that script which environment a token belongs to. ``fcm_url`` is clear text (HTTP/1.1, and HTTP/2 with
    prior knowledge), ``fcm_tls_url`` offers both by ALPN under the certificate of ``ca_file``."""

    control_url: str
    apns_url: str
    apns_sandbox_url: str
    fcm_url: str
    fcm_tls_url: str
    oauth_url: str
    sms_url: str
    ca_file: Path
    credentials: SandboxCredentials

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._callbacks: Callbacks | None = None

    @classmethod
    async def start(
        cls,
        settings: SandboxSettings,
        *,
        clock: Callable[[], float] = time.time,
        dice: random.Random | None = None,
    ) -> Self:
        """Listen on all ports; OSError when one is taken. *clock* gives seconds since the epoch."""
        sandbox = cls()
        try:
            sandbox._compose(settings, clock, dice or random.Random())
        except BaseException:
            await sandbox.stop()
            raise
        return sandbox

    async def stop(self) -> None:
        """Close every port and connection; scripts, logs and texts are gone."""
        await asyncio.gather(*(listener.stop() for listener in self._listeners))
        self._listeners.clear()
        if self._callbacks is not None:
            await self._callbacks.stop()
            self._callbacks = None

    def _compose(self, settings: SandboxSettings, clock: Callable[[], float], dice: random.Random) -> None:
        settings.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate = ensure_certificate(settings.directory, settings.host)
        self.ca_file = certificate.authority
        apns, fcm, sms = (Controlled(Switch(), RequestLog(settings.log_limit)) for _ in range(3))
        texts = Texts(settings.log_limit)
        ports = self._bind(settings, certificate, apns.switch, fcm.switch)
        credentials = self.credentials = ensure_credentials(settings.directory, self.oauth_url)
        self._callbacks = Callbacks(credentials.sms.auth_token, clock)

        def end(vendor: Vendor, of: Controlled, first_streams: int | None = None) -> End:
            return End(vendor, lambda: of.switch.script, of.log, clock, dice, first_streams)

        def apns_script() -> Script:
            return apns.switch.script

        tokens = ProviderTokens(credentials.apns)
        for environment, port in (("production", ports.apns), ("sandbox", ports.apns_sandbox)):
            vendor = Apns(credentials.apns, tokens, apns_script, clock, environment)
            port.start(end(vendor, apns, FIRST_APNS_STREAMS))
        oauth = OAuth(credentials.fcm, clock, lambda: fcm.switch.script.oauth_ttl_s)
        fcm_end = end(Fcm(credentials.fcm, oauth, lambda: fcm.switch.script, clock), fcm)
        ports.fcm.start(fcm_end)
        ports.fcm_tls.start(fcm_end)
        twilio = Twilio(credentials.sms, texts, self._callbacks, lambda: sms.switch.script, clock)
        ports.sms.start(end(twilio, sms))
        ports.control.start(Control({"apns": apns, "fcm": fcm, "sms": sms}, texts))

    def _bind(self, settings: SandboxSettings, certificate: CertificateFiles, apns: Switch, fcm: Switch) -> "_Ports":
        apple, google = _tls(certificate, "h2"), _tls(certificate, "h2", "http/1.1")
        apns_numbers, fcm_numbers = itertools.count(1), itertools.count(1)

        def apns_delay() -> float:
            return apns.script.tls_delay_s

        ports = _Ports(
            control=Listener(),
            apns=Listener(numbers=apns_numbers, tls=apple, http2_only=True, handshake_delay=apns_delay),
            apns_sandbox=Listener(numbers=apns_numbers, tls=apple, http2_only=True, handshake_delay=apns_delay),
            fcm=Listener(numbers=fcm_numbers),
            fcm_tls=Listener(numbers=fcm_numbers, tls=google, handshake_delay=lambda: fcm.script.tls_delay_s),
            sms=Listener(),
        )
        self._listeners += ports
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.control_url = f"http://{host}:{ports.control.bind(settings.host, settings.control_port)}"
        self.apns_url = f"https://{host}:{ports.apns.bind(settings.host, settings.apns_port)}"
        self.apns_sandbox_url = f"https://{host}:{ports.apns_sandbox.bind(settings.host, settings.apns_sandbox_port)}"
        self.fcm_url = f"http://{host}:{ports.fcm.bind(settings.host, settings.fcm_port)}"
        self.fcm_tls_url = f"https://{host}:{ports.fcm_tls.bind(settings.host, settings.fcm_tls_port)}"
        self.oauth_url = self.fcm_url + OAUTH_PATH
        self.sms_url = f"http://{host}:{ports.sms.bind(settings.host, settings.sms_port)}"
        return ports


class _Ports(NamedTuple):
    control: Listener
    apns: Listener
    apns_sandbox: Listener
    fcm: Listener
    fcm_tls: Listener
    sms: Listener


def _tls(certificate: CertificateFiles, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate.chain, certificate.key)
    context.set_alpn_protocols(list(protocols))
    return context


async def serve(settings: SandboxSettings, started: Callable[[Sandbox], None] | None = None) -> None:
    """Run until SIGTERM or SIGINT; *started* is called once all ports listen."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        sandbox = await Sandbox.start(settings)
        try:
            if started is not None:
                started(sandbox)
            await stopping.wait()
        finally:
            await sandbox.stop()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
