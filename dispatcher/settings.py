"""Settings of one process: every one of them with its type, its bounds and what it says."""

from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from dispatcher.domain.clock import Millis
from dispatcher.domain.keyring import Keyring, MasterKey
from dispatcher.domain.requests import parse_time
from dispatcher.secret import Secret, SecretUrl

PREFIX = "PUSHPATH_"
CONFIG_VARIABLE = "PUSHPATH_CONFIG"
MIN_KEY_BYTES = 32


class LogFormat(StrEnum):
    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


#: Milliseconds inside, ``10m`` outside.
Duration = Annotated[Millis, Meta(ge=0, extra={"kind": "duration"})]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Rate = Annotated[int, Meta(ge=1, le=1_000_000)]

#: Classes whose history leaves at their ttl unless ``retention`` says otherwise.
SHORT_LIVED = frozenset({"otp", "call"})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings. The text after each field is its help."""

    ledger_url: Annotated[SecretUrl, Meta(description="PostgreSQL: postgresql+asyncpg://user:password@host/database")]
    hot_store_url: Annotated[
        SecretUrl, Meta(description="Redis or Valkey: redis://host:6379/0 or redis+socket:///path")
    ]
    secret_key: Annotated[
        Secret, Meta(description="master secret, at least 32 bytes: ids, device tokens, sealing of numbers and keys")
    ]
    previous_secret_keys: Annotated[
        tuple[Secret, ...],
        Meta(
            description="earlier master secrets, newest first, each as SECRET@TIME: in use until then, read ever after"
        ),
    ] = ()
    broker_url: Annotated[SecretUrl | None, Meta(description="Celery's broker; the hot store where left out")] = None
    ledger_pool: Annotated[int, Meta(ge=1, le=200, description="ledger connections a process")] = 10

    public_url: Annotated[
        str, Meta(pattern="^https?://", description="how carriers reach this API: signed callbacks are built with it")
    ] = "http://127.0.0.1:8080"
    gateway_urls: Annotated[
        tuple[str, ...], Meta(description="gateways that device tokens name; the local one where left out")
    ] = ()
    api_host: Annotated[str, Meta(description="address the API listens on")] = "127.0.0.1"
    api_port: Annotated[Port, Meta(description="0 takes any free one")] = 8080
    gateway_host: Annotated[str, Meta(description="address the gateway listens on")] = "127.0.0.1"
    gateway_port: Annotated[Port, Meta(description="0 takes any free one")] = 8081
    gateway_tls_certificate: Annotated[
        str, Meta(description="PEM chain: the gateway speaks TLS itself; read again whenever it changes")
    ] = ""
    gateway_tls_key: Annotated[str, Meta(description="PEM key, where it is not in the certificate's file")] = ""
    node: Annotated[str, Meta(description="this gateway's name among gateways; made up where left out")] = ""
    trusted_proxies: Annotated[
        tuple[str, ...], Meta(description="networks whose X-Forwarded-For is believed: 10.0.0.0/8")
    ] = ()

    cors_origins: Annotated[
        tuple[str, ...],
        Meta(description="origins whose browser scripts may call API and gateway: https://app.example.com, or *"),
    ] = ()

    rate_limits: Annotated[bool, Meta(description="whether callers are limited at all")] = True
    rate_per_key: Annotated[Rate, Meta(description="requests a second an API key")] = 2_000
    rate_per_address: Annotated[Rate, Meta(description="requests a second an address")] = 2_000
    rate_per_device: Annotated[Rate, Meta(description="requests a second a device")] = 500
    connections_per_address: Annotated[Rate, Meta(description="new long connections a second an address")] = 5_000
    api_max_in_flight: Annotated[
        int, Meta(ge=1, le=100_000, description="requests at once a process; beyond it the answer is 503")
    ] = 5_000
    drain: Annotated[Duration, Meta(description="how long a stopping API waits for requests under way")] = 4_000

    operator_session: Annotated[
        Duration, Meta(description="how long an operator's token lasts; it can be renewed up to 12 times as long")
    ] = 3_600_000

    hot_shards: Annotated[int, Meta(ge=1, le=64, description="hot-store shards in use; never lower it")] = 8
    background_pushes_per_hour: Annotated[
        int,
        Meta(ge=0, le=3_600, description="pushes that show nothing to an iPhone an hour, as Apple allows; 0: no cap"),
    ] = 3
    phone_change_cooldown: Annotated[Duration, Meta(description="no SMS to a changed number for so long")] = 600_000
    otp_exempt_from_sms_hold: Annotated[
        bool, Meta(description="one-time codes go out by SMS even while receipts are not trusted")
    ] = True
    retention_default: Annotated[Duration, Meta(description="how long settled messages stay readable")] = 7_776_000_000
    retention: Annotated[
        dict[str, Duration], Meta(description="the same by class; otp and call leave within a day unless named here")
    ] = {}
    worker_concurrency: Annotated[int, Meta(ge=1, le=256, description="Celery threads a worker process")] = 8
    webhook_private_targets: Annotated[bool, Meta(description="whether webhooks may go to private addresses")] = False

    console_host: Annotated[str, Meta(description="address the console listens on")] = "127.0.0.1"
    console_port: Annotated[Port, Meta(description="the console's port")] = 8082
    console_api_url: Annotated[
        str | None, Meta(description="how the console reaches the API; public_url where left out")
    ] = None
    console_sandbox_url: Annotated[str | None, Meta(description="control URL of the simulators, for the phone lab")] = (
        None
    )
    console_dir: Annotated[str, Meta(description="where the console keeps its cookie secret and preferences")] = (
        ".pushpath/console"
    )
    console_secure_cookies: Annotated[bool, Meta(description="console cookies over HTTPS only")] = False

    metrics_dir: Annotated[
        str | None, Meta(description="directory shared by this machine's processes, so that /metrics shows all of them")
    ] = None
    otlp_endpoint: Annotated[
        str | None,
        Meta(description="OpenTelemetry collector (OTLP/HTTP) that gets traces; off where left out"),
    ] = None
    otlp_sample_ratio: Annotated[
        float, Meta(ge=0, le=1, description="share of dispatches that are traced where the caller does not say")
    ] = 1.0
    log_level: Annotated[LogLevel, Meta(description="debug, info, warning or error")] = LogLevel.INFO
    log_format: Annotated[LogFormat, Meta(description="json or text")] = LogFormat.JSON

    def keyring(self) -> Keyring:
        """Master secrets, newest first, with the times at which earlier ones were followed."""
        earlier = [key_and_time(key) for key in self.previous_secret_keys]
        return Keyring([MasterKey(self.secret_key.reveal().encode()), *earlier])

    def retention_of(self, klass: str) -> Millis | None:
        """How long history of *klass* lasts; None: it leaves at the message's ttl."""
        if klass in self.retention:
            return self.retention[klass]
        return None if klass in SHORT_LIVED else self.retention_default

    @property
    def gateways(self) -> tuple[str, ...]:
        """Where devices connect."""
        scheme = "wss" if self.gateway_tls_certificate else "ws"
        return self.gateway_urls or (f"{scheme}://{self.gateway_host}:{self.gateway_port}/v1/connect",)

    @property
    def celery_broker(self) -> SecretUrl:
        """The broker's URL in Celery's spelling."""
        return self.broker_url if self.broker_url is not None else SecretUrl(celery_form(self.hot_store_url.reveal()))


def key_and_time(key: Secret) -> MasterKey:
    """An earlier master secret: ``SECRET@2026-11-22T18:00:00Z``, or the secret alone where nobody wrote down the time.
    A tail that is no time belongs to the secret."""
    secret, _, tail = key.reveal().rpartition("@")
    try:
        return MasterKey(secret.encode(), parse_time(tail))
    except ValueError:
        return MasterKey(key.reveal().encode())


def celery_form(url: str) -> str:
    """A hot-store URL as kombu spells it: ``redis+socket:///path?virtual_host=1`` for ``unix:///path?db=1``."""
    parts = urlsplit(url)
    scheme = {"unix": "redis+socket", "valkey": "redis", "valkeys": "rediss"}.get(parts.scheme, parts.scheme)
    query = parts.query
    if scheme == "redis+socket":
        query = "&".join(
            f"virtual_host={pair[3:]}" if pair.startswith("db=") else pair for pair in query.split("&") if pair
        )
    # urlunsplit would drop the empty host of redis+socket:///path
    return f"{scheme}://{parts.netloc}{parts.path}{'?' if query else ''}{query}"
