"""Where settings come from: a TOML file, then ``PUSHPATH_*`` variables over it; what is not known is an error.

Every key is flat and has one name: ``api_port`` in the file is ``PUSHPATH_API_PORT`` in the environment. Lists are
comma-separated there; the one table takes a double underscore (``PUSHPATH_RETENTION__CHAT=30d``). A secret may be named
by a file instead: ``secret_key_file = "/run/secrets/key"`` or ``PUSHPATH_SECRET_KEY_FILE``. An empty variable counts as
not set. Durations are texts such as ``10m`` outside and milliseconds inside.
"""

import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit

import msgspec

from dispatcher.domain.clock import Millis
from dispatcher.domain.ids import is_class
from dispatcher.domain.requests import parse_duration
from dispatcher.secret import Secret, SecretUrl
from dispatcher.settings import CONFIG_VARIABLE, MIN_KEY_BYTES, PREFIX, Settings, key_and_time
from dispatcher.settings_table import KNOWN, REQUIRED


class SettingsError(ValueError):
    """Settings that cannot be used; ``faults`` has a sentence for each, with what to do."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


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
