"""Which provider serves an app's path: built from its credentials, kept until they change."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b

from dispatcher.domain.clock import SECOND, Clock, Millis, system_clock
from dispatcher.domain.outcome import Outcome, Rejected
from dispatcher.domain.paths import Path
from dispatcher.ports.carrier_health import CarrierHealth, OwnCarrierHealth
from dispatcher.ports.node_bus import NodeBus
from providers.apns.provider import HOSTS, PRODUCTION, SANDBOX, ApnsProvider
from providers.apns.signer import Signer
from providers.base import Attempt, Limits, Provider
from providers.credentials import (
    ApnsCredentials,
    BadCredentials,
    Credentials,
    FcmCredentials,
    HttpCarrierCredentials,
    SmsCarriers,
    SmsCredentials,
    named_carriers,
)
from providers.credentials import read_credentials as _read
from providers.fcm.access import AccessTokens
from providers.fcm.provider import HOST, FcmProvider
from providers.http2 import CurlTransport, Http2Transport, Identity, client_context
from providers.longconn import LongconnProvider
from providers.poll import PollProvider
from providers.sms.carriers import Carrier, Carriers
from providers.sms.http_carrier.provider import HttpCarrierProvider
from providers.sms.twilio.provider import TwilioProvider

_log = logging.getLogger(__name__)

#: Answers the JSON document of an app's credentials for a path, unsealed; None where there is none.
CredentialSource = Callable[[str, Path], Awaitable[bytes | None]]

FRESH: Millis = 10 * SECOND  #: how long credentials are taken for unchanged
RETIRED: Millis = 60 * SECOND  #: how long a replaced provider may still end what it has under way


class Misconfigured:
    """Stands in for a provider whose stored credentials cannot work: every attempt says so, and the circuit opens."""

    def __init__(self, reason: str) -> None:
        self.limits = Limits(batch=500, payload_bytes=4096, concurrent=1, deadline_ms=1_000)
        self.reason = reason

    async def send(self, attempts: Sequence[Attempt], now: Millis) -> list[Outcome]:
        """See :class:`~providers.base.Provider`."""
        return [Rejected("bad_credentials", configuration=True)] * len(attempts)

    async def close(self) -> None:
        """Nothing to end."""


class _Entry:
    __slots__ = ("checked_at", "provider", "version")

    def __init__(self, provider: Provider | None, version: bytes, checked_at: Millis) -> None:
        self.provider = provider
        self.version = version
        self.checked_at = checked_at


class Registry:
    """The providers of one process. *public_url*: of our API, for carriers' callbacks; *health*: of an app's
    carriers."""

    def __init__(
        self,
        source: CredentialSource,
        *,
        bus: NodeBus,
        public_url: str,
        health: Callable[[str], CarrierHealth] = lambda _: OwnCarrierHealth(),
        clock: Clock = system_clock,
    ) -> None:
        self._source = source
        self._public_url = public_url
        self._health = health
        self._clock = clock
        self._entries: dict[tuple[str, Path], _Entry] = {}
        self._locks: dict[tuple[str, Path], asyncio.Lock] = {}
        self._retired: list[tuple[Millis, Provider]] = []
        self._ours: dict[Path, Provider] = {Path.LONGCONN: LongconnProvider(bus), Path.POLL: PollProvider(bus)}

    async def provider(self, app: str, path: Path) -> Provider | None:
        """The provider of *app* for *path*; None where the app has no credentials for it."""
        if path in self._ours:
            return self._ours[path]
        key = (app, path)
        entry = self._entries.get(key)
        if entry is not None and self._clock() - entry.checked_at < FRESH:
            return entry.provider
        async with self._locks.setdefault(key, asyncio.Lock()):
            return await self._check(key)

    async def _check(self, key: tuple[str, Path]) -> Provider | None:
        now = self._clock()
        entry = self._entries.get(key)
        if entry is not None and now - entry.checked_at < FRESH:
            return entry.provider
        try:
            document = await self._source(*key)
        except Exception:
            # A store that cannot be asked leaves a provider that works as it is; there is none to invent.
            if entry is None:
                raise
            _log.exception("credentials could not be read again", extra={"app": key[0], "path": key[1]})
            return entry.provider
        version = b"" if document is None else blake2b(document, digest_size=16).digest()
        if entry is not None and entry.version == version:
            entry.checked_at = now
            await self._close_retired(now)
            return entry.provider
        if entry is not None and entry.provider is not None:
            self._retired.append((now + RETIRED, entry.provider))
        built = None if document is None else self._build(key, document)
        self._entries[key] = _Entry(built, version, now)
        await self._close_retired(now)
        return built

    def _build(self, key: tuple[str, Path], document: bytes) -> Provider:
        try:
            return build_provider(_read(key[1], document), self._public_url, self._health(key[0]))
        except BadCredentials as fault:
            _log.error("stored credentials cannot work", extra={"app": key[0], "path": key[1], "problem": str(fault)})
            return Misconfigured(str(fault))

    async def _close_retired(self, now: Millis) -> None:
        due = [provider for ends_at, provider in self._retired if ends_at <= now]
        self._retired = [item for item in self._retired if item[0] > now]
        for provider in due:
            await provider.close()

    async def close(self) -> None:
        """Ends every provider of the process."""
        found = [entry.provider for entry in self._entries.values() if entry.provider is not None]
        found += [provider for _, provider in self._retired]
        self._entries.clear()
        self._retired.clear()
        for provider in found:
            await provider.close()


def build_provider(credentials: Credentials, public_url: str, health: CarrierHealth | None = None) -> Provider:
    """A provider of its own, outside any registry; inside a running loop. Raises BadCredentials.

    *health*: who of several carriers rests; None: only this provider knows.
    """
    match credentials:
        case ApnsCredentials():
            return _apns(credentials)
        case FcmCredentials():
            return _fcm(credentials)
        case SmsCredentials():
            return TwilioProvider(
                transport=CurlTransport(ca_file=credentials.ca_file, connections=16, concurrent=64),
                account_sid=credentials.account_sid,
                auth_token=credentials.auth_token,
                public_url=public_url,
                from_number=credentials.from_number,
                messaging_service_sid=credentials.messaging_service_sid,
                base_url=credentials.endpoint,
            )
        case HttpCarrierCredentials():
            return HttpCarrierProvider(
                transport=CurlTransport(ca_file=credentials.ca_file, connections=16, concurrent=64),
                endpoint=credentials.endpoint,
                token=credentials.token,
                sender=credentials.sender,
                public_url=public_url,
            )
        case SmsCarriers():
            carriers = [
                Carrier(name=name, provider=build_provider(one, public_url))
                for name, one in named_carriers(credentials)
            ]
            return Carriers(carriers, health)


def _apns(credentials: ApnsCredentials) -> ApnsProvider:
    hosts = {
        PRODUCTION: (credentials.endpoint or HOSTS[PRODUCTION]).rstrip("/"),
        SANDBOX: (credentials.sandbox_endpoint or HOSTS[SANDBOX]).rstrip("/"),
    }
    identity = signer = None
    if credentials.key_pem is not None:
        signer = Signer(credentials.key_pem, credentials.key_id or "", credentials.team_id or "")
    else:
        identity = Identity(
            certificate=(credentials.certificate_pem or "").encode(),
            key=(credentials.certificate_key_pem or "").encode(),
        )
    context = _trust(credentials.ca_file, identity)
    transports = {
        name: Http2Transport(host, context=None if host.startswith("http://") else context)
        for name, host in hosts.items()
    }
    return ApnsProvider(transports=transports, topic=credentials.topic, signer=signer, hosts=hosts)


def _fcm(credentials: FcmCredentials) -> FcmProvider:
    account = credentials.account()
    host = (credentials.endpoint or HOST).rstrip("/")
    return FcmProvider(
        transport=Http2Transport(
            host, context=None if host.startswith("http://") else _trust(credentials.ca_file, None)
        ),
        access=AccessTokens(account, CurlTransport(ca_file=credentials.ca_file, connections=1)),
        project_id=account.project_id,
        host=host,
    )


def _trust(ca_file: str | None, identity: Identity | None) -> ssl.SSLContext:
    try:
        return client_context(ca_file, identity)
    except OSError as fault:  # ssl.SSLError is one
        raise BadCredentials("ca_file", f"no usable certificates: {fault.strerror or type(fault).__name__}") from None
