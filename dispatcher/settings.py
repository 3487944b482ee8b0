"""Settings of one process: a TOML file, then ``PUSHPATH_*`` variables over it; what is not known is an error.

Every key is flat and has one name: ``api_port`` in the file is ``PUSHPATH_API_PORT`` in the environment. Lists are
comma-separated there; the one table takes a double underscore (``PUSHPATH_RETENTION__CHAT=30d``). A secret may be named
by a file instead: ``secret_key_file = "/run/secrets/key"`` or ``PUSHPATH_SECRET_KEY_FILE``. An empty variable counts as
not set. Durations are texts such as ``10m`` outside and milliseconds inside.
"""

import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from enum import StrEnum
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta
from msgspec import inspect as types

from dispatcher.domain.clock import Millis
from dispatcher.domain.ids import is_class
from dispatcher.domain.keyring import Keyring, MasterKey
from dispatcher.domain.requests import parse_duration, parse_time, write_duration
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
        Meta(description="origins whose browser scripts may call the API: https://app.example.com, or *"),
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


class SettingsError(ValueError):
    """Settings that cannot be used; ``faults`` has a sentence for each, with what to do."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


Kind = Literal["text", "secret", "number", "switch", "duration", "list", "table", "choice"]


class SettingInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as docs and ``pushpath doctor`` show it."""

    name: str
    variable: str
    kind: Kind
    required: bool
    default: str | None
    description: str
    bounds: str = ""


def shown(settings: Settings) -> dict[str, Any]:
    """Every value as it may be shown: secrets masked."""
    values: dict[str, Any] = {}
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, Secret):
            value = value.masked
        elif isinstance(value, tuple):
            value = [item.masked if isinstance(item, Secret) else item for item in value]
        values[name] = value
    return values


def _kind(found: types.Type) -> Kind:
    match found:
        case types.Metadata():
            return "duration" if (found.extra or {}).get("kind") == "duration" else _kind(found.type)
        case types.UnionType():
            return _kind(next(kind for kind in found.types if not isinstance(kind, types.NoneType)))
        case types.CustomType():
            return "secret"
        case types.VarTupleType():
            return "list"
        case types.DictType():
            return "table"
        case types.BoolType():
            return "switch"
        case types.IntType() | types.FloatType():
            return "number"
        case types.EnumType():
            return "choice"
        case _:
            return "text"


def _fields() -> dict[str, tuple[Kind, types.Field]]:
    info = types.type_info(Settings)
    assert isinstance(info, types.StructType)  # noqa: S101 - tells mypy what a Struct's info is
    return {field.name: (_kind(field.type), field) for field in info.fields}


def describe_settings() -> list[SettingInfo]:
    """All settings, in the order of the file, for docs and ``pushpath doctor``."""
    hints = get_type_hints(Settings, include_extras=True)
    found = []
    for name, (kind, field) in _fields().items():
        meta = next((part for part in getattr(hints[name], "__metadata__", ())[::-1] if part.description), Meta())
        metas = getattr(hints[name], "__metadata__", ())
        low = next((part.ge for part in metas if part.ge is not None), None)
        high = next((part.le for part in metas if part.le is not None), None)
        default = None if field.required else _write(kind, _default(field))
        found.append(
            SettingInfo(
                name=name,
                variable=PREFIX + name.upper(),
                kind=kind,
                required=field.required,
                default=default,
                description=meta.description or "",
                bounds=f"{low} to {high}" if high is not None else "",
            )
        )
    return found


def _default(field: types.Field) -> Any:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def _write(kind: Kind, value: Any) -> str | None:
    if value is None:
        return None
    if kind == "duration":
        return write_duration(value)
    if kind == "list":
        return ",".join(value)
    return "true" if value is True else "false" if value is False else str(value or "")


def configured(path: Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """What is set, by key, unread: file first, variables over it. Raises :class:`SettingsError` for unknown keys."""
    faults: list[str] = []
    values: dict[str, Any] = {}
    for source, key, value in [*_from_file(path, environ, faults), *_from_environ(environ)]:
        name, _, member = key.partition("__")
        target = name.removesuffix("_file") if name not in KNOWN and name.endswith("_file") else name
        if target not in KNOWN or (target != name and KNOWN[target] != "secret"):
            close = get_close_matches(name, KNOWN, n=3, cutoff=0.6)
            wrote = PREFIX + key.upper() if source == "environment" else key
            faults.append(f"unknown setting {wrote} ({source})" + (f"; near it: {', '.join(close)}" if close else ""))
        elif target != name:
            try:
                values[target] = Path(value).read_text().strip()
            except (OSError, TypeError, UnicodeDecodeError) as error:
                faults.append(f"{name}: cannot read {value!r}: {type(error).__name__}")
        elif member or (KNOWN[name] == "table" and source == "environment"):
            if not member or KNOWN[name] != "table":
                faults.append(f"{PREFIX}{key.upper()}: write {PREFIX}{name.upper()}" + ("" if member else "__NAME"))
                continue
            values[name] = {**values.get(name, {}), member: value}
        else:
            values[name] = value
    if faults:
        raise SettingsError(faults)
    return values


def _from_file(path: Path | None, environ: Mapping[str, str], faults: list[str]) -> Iterator[tuple[str, str, Any]]:
    chosen = path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if chosen is None:
        return
    try:
        table = tomllib.loads(chosen.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        faults.append(f"the settings file {chosen} cannot be read: {error}")
        return
    for key, value in table.items():
        yield str(chosen), key, value


def _from_environ(environ: Mapping[str, str]) -> Iterator[tuple[str, str, Any]]:
    for variable, value in sorted(environ.items()):
        if variable.startswith(PREFIX) and variable != CONFIG_VARIABLE and value:
            yield "environment", variable.removeprefix(PREFIX).lower(), value


def load_settings(path: Path | None, environ: Mapping[str, str], defaults: Mapping[str, Any] | None = None) -> Settings:
    """Settings from the file at *path* (else ``PUSHPATH_CONFIG``) and *environ*, over *defaults* (unread values by key:
    what ``up`` made itself). Raises :class:`SettingsError` with every fault found."""
    raw = {**(defaults or {}), **configured(path, environ)}
    hints = get_type_hints(Settings, include_extras=True)
    faults = [f"{name} is required: set {PREFIX}{name.upper()}" for name in REQUIRED if name not in raw]
    values: dict[str, Any] = {}
    for name, value in raw.items():
        try:
            values[name] = msgspec.convert(_read(name, value), hints[name], strict=False)
        except (ValueError, msgspec.ValidationError) as error:
            faults.append(f"{name}: {error}")
    faults.extend(_judge(values))
    if faults:
        raise SettingsError(faults)
    return Settings(**values)


def _read(name: str, value: Any) -> Any:
    """*value* as its type wants it, from TOML or from a text; ValueError says what to write."""
    kind = KNOWN[name]
    if kind == "duration":
        return _read_duration(value)
    if kind == "table":
        if not isinstance(value, Mapping):
            raise ValueError(f"write a table: [{name}]")
        return {member: _read_duration(text) for member, text in value.items()}
    if kind == "list":
        items = [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else list(value)
        return tuple(Secret(item) for item in items) if name == "previous_secret_keys" else items
    if kind == "secret":
        if not isinstance(value, str) or not value:
            raise ValueError("write a text")
        return SecretUrl(value) if name.endswith("_url") else Secret(value)
    return value


def _read_duration(value: Any) -> Millis:
    if not isinstance(value, str):
        raise ValueError("write a duration with its unit: 30s, 10m, 90d")
    return parse_duration(value)


def _judge(values: Mapping[str, Any]) -> Iterator[str]:
    """What types cannot say."""
    newest: Secret | None = values.get("secret_key")
    secrets = [("secret_key", newest.reveal().encode())] if newest is not None else []
    secrets += [("previous_secret_keys", key_and_time(key).secret) for key in values.get("previous_secret_keys", ())]
    for name, secret in secrets:
        if len(secret) < MIN_KEY_BYTES:
            yield f"{name}: at least {MIN_KEY_BYTES} bytes; make one with: openssl rand -base64 48"
    yield from _judge_telemetry(values.get("otlp_endpoint"))
    for network in values.get("trusted_proxies", ()):
        try:
            ip_network(network)
        except ValueError:
            yield f"trusted_proxies: {network!r} is no network such as 10.0.0.0/8"
    for origin in values.get("cors_origins", ()):
        parts = urlsplit(origin)
        if origin != "*" and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/")):
            yield f"cors_origins: {origin!r} is no origin such as https://app.example.com"
    if values.get("gateway_tls_key") and not values.get("gateway_tls_certificate"):
        yield "gateway_tls_key: goes with a gateway_tls_certificate"
    for name in ("gateway_tls_certificate", "gateway_tls_key"):
        if values.get(name) and not Path(values[name]).is_file():
            yield f"{name}: there is no file {values[name]}"
    for klass in values.get("retention", {}):
        if not is_class(klass):
            yield f"retention: {klass!r} is no class name"
    for name in ("ledger_url", "hot_store_url", "broker_url"):
        url = values.get(name)
        if url is not None and "://" not in url.reveal():
            yield f"{name}: write a URL with its scheme"


def _judge_telemetry(endpoint: str | None) -> Iterator[str]:
    """Asked only where tracing is on: whether there is anything to trace with."""
    if endpoint is None:
        return
    parts = urlsplit(endpoint)
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or parts.username is not None
        or parts.query
        or parts.fragment
    ):
        yield "otlp_endpoint: an http(s) URL without user name and query; tokens go into OTEL_EXPORTER_OTLP_HEADERS"
    try:
        missing = find_spec("opentelemetry.sdk") is None or find_spec("opentelemetry.exporter.otlp.proto.http") is None
    except ModuleNotFoundError:
        missing = True
    if missing:
        yield "otlp_endpoint is set, but OpenTelemetry is not installed: pip install 'pushpath[telemetry]'"


#: Kind by key.
KNOWN: dict[str, Kind] = {name: kind for name, (kind, _) in _fields().items()}
REQUIRED = tuple(name for name, (_, field) in _fields().items() if field.required)
