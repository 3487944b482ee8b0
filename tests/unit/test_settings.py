"""Settings: where they come from, what they refuse, and what they never show."""

from pathlib import Path

import pytest

from dispatcher.secret import Secret, SecretUrl
from dispatcher.settings import LogFormat, Settings, celery_form
from dispatcher.settings_source import SettingsError, configured, load_settings
from dispatcher.settings_table import describe_settings, shown

KEY = "k" * 32
BASE = {
    "PUSHPATH_LEDGER_URL": "postgresql+asyncpg://app:hunter2@db/push",
    "PUSHPATH_HOT_STORE_URL": "redis://:hunter3@hot:6379/0",
    "PUSHPATH_SECRET_KEY": KEY,
}


def load(path: Path | None = None, **more: str) -> Settings:
    return load_settings(path, {**BASE, **more})


def faults(path: Path | None = None, **more: str) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        load_settings(path, {**BASE, **more})
    return refused.value.faults


def test_defaults_are_those_of_the_contract() -> None:
    settings = load()
    assert (settings.api_host, settings.api_port, settings.gateway_port) == ("127.0.0.1", 8080, 8081)
    assert (settings.rate_per_key, settings.rate_per_address, settings.connections_per_address) == (2_000, 2_000, 5_000)
    assert (settings.hot_shards, settings.phone_change_cooldown) == (8, 600_000)
    assert settings.gateways == ("ws://127.0.0.1:8081/v1/connect",)
    assert settings.celery_broker == SecretUrl("redis://:hunter3@hot:6379/0")


def test_variables_stand_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "pushpath.toml"
    file.write_text('api_port = 9000\nhot_shards = 16\nlog_format = "text"\ntrusted_proxies = ["10.0.0.0/8"]\n')
    settings = load_settings(file, {**BASE, "PUSHPATH_API_PORT": "9001"}, {"hot_shards": 4, "gateway_port": 9100})
    assert (settings.api_port, settings.hot_shards, settings.gateway_port) == (9001, 16, 9100)
    assert (settings.log_format, settings.trusted_proxies) == (LogFormat.TEXT, ("10.0.0.0/8",))


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "pushpath.toml"
    file.write_text("api_port = 9000\n")
    assert load(PUSHPATH_CONFIG=str(file)).api_port == 9000


def test_lists_tables_switches_and_durations_are_read_from_texts() -> None:
    settings = load(
        PUSHPATH_GATEWAY_URLS="wss://a/v1/connect, wss://b/v1/connect",
        PUSHPATH_RETENTION__CHAT="30d",
        PUSHPATH_RETENTION__OTP="1h",
        PUSHPATH_RATE_LIMITS="false",
        PUSHPATH_PHONE_CHANGE_COOLDOWN="1m",
        PUSHPATH_PREVIOUS_SECRET_KEYS="a" * 32 + "," + "b" * 32,
    )
    assert settings.gateways == ("wss://a/v1/connect", "wss://b/v1/connect")
    assert settings.retention_of("chat") == 30 * 86_400_000
    assert settings.retention_of("otp") == 3_600_000
    assert settings.retention_of("call") is None
    assert settings.retention_of("alert") == 90 * 86_400_000
    assert (settings.rate_limits, settings.phone_change_cooldown) == (False, 60_000)
    assert settings.keyring().secrets == (KEY.encode(), b"a" * 32, b"b" * 32)


def test_a_table_in_the_file_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "pushpath.toml"
    file.write_text('[retention]\nchat = "7d"\ncampaign = "1d"\n')
    assert load(file, PUSHPATH_RETENTION__CHAT="8d").retention == {"chat": 691_200_000, "campaign": 86_400_000}


def test_a_secret_may_be_named_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("f" * 40 + "\n")
    environ = {**BASE, "PUSHPATH_SECRET_KEY_FILE": str(tmp_path / "key")}
    del environ["PUSHPATH_SECRET_KEY"]
    assert load_settings(None, environ).secret_key.reveal() == "f" * 40
    assert "cannot read" in faults(PUSHPATH_SECRET_KEY_FILE=str(tmp_path / "none"))[0]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PUSHPATH_API_PRT", "1", "unknown setting PUSHPATH_API_PRT (environment); near it: api_port"),
        ("PUSHPATH_XYZZY", "1", "unknown setting PUSHPATH_XYZZY (environment)"),
        ("PUSHPATH_API_PORT_FILE", "/x", "unknown setting PUSHPATH_API_PORT_FILE"),
        ("PUSHPATH_API_PORT__X", "1", "write PUSHPATH_API_PORT"),
        ("PUSHPATH_RETENTION", "1d", "write PUSHPATH_RETENTION__NAME"),
        ("PUSHPATH_RETENTION__CHAT", "1", "retention: a duration is"),
        ("PUSHPATH_RETENTION__Ch-at", "1d", "retention: 'ch-at' is no class name"),
        ("PUSHPATH_API_PORT", "65536", "api_port: Expected `int` <= 65535"),
        ("PUSHPATH_API_PORT", "http", "api_port"),
        ("PUSHPATH_HOT_SHARDS", "65", "hot_shards: Expected `int` <= 64"),
        ("PUSHPATH_DRAIN", "4", "drain: a duration is"),
        ("PUSHPATH_LOG_LEVEL", "loud", "log_level"),
        ("PUSHPATH_RATE_LIMITS", "perhaps", "rate_limits"),
        ("PUSHPATH_SECRET_KEY", "short", "secret_key: at least 32 bytes"),
        ("PUSHPATH_PREVIOUS_SECRET_KEYS", "short", "previous_secret_keys: at least 32 bytes"),
        ("PUSHPATH_TRUSTED_PROXIES", "10.0.0.1/8,x", "trusted_proxies"),
        ("PUSHPATH_LEDGER_URL", "localhost", "ledger_url: write a URL"),
        ("PUSHPATH_PUBLIC_URL", "ftp://x", "public_url"),
        ("PUSHPATH_CONFIG", "/no/such/file.toml", "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(variable: str, value: str, said: str) -> None:
    told = faults(None, **{variable: value})
    assert any(said in fault for fault in told), told


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(None, {"PUSHPATH_API_PORT": "x", "PUSHPATH_DRAIN": "y"})
    text = str(refused.value)
    for name in ("ledger_url", "hot_store_url", "secret_key", "api_port", "drain"):
        assert name in text


def test_an_unknown_key_in_the_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "pushpath.toml"
    file.write_text("api_prt = 1\n")
    assert f"unknown setting api_prt ({file}); near it: api_port" in faults(file)[0]
    file.write_text("api_port = [\n")
    assert "cannot be read" in faults(file)[0]


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load(PUSHPATH_API_PORT="").api_port == 8080
    assert "api_port" not in configured(None, {**BASE, "PUSHPATH_API_PORT": ""})


def test_secrets_never_show() -> None:
    settings = load(PUSHPATH_PREVIOUS_SECRET_KEYS="p" * 32)
    for text in (
        repr(settings),
        str(settings),
        str(shown(settings)),
        f"{settings.secret_key}",
        repr(settings.ledger_url),
    ):
        for secret in (KEY, "hunter2", "hunter3", "p" * 32):
            assert secret not in text
    assert shown(settings)["ledger_url"] == "postgresql+asyncpg://app:***@db/push"
    assert Secret("a") == Secret("a") != Secret("b")


def test_a_faulty_secret_is_not_repeated_in_its_error() -> None:
    assert "tooshort" not in str(faults(PUSHPATH_SECRET_KEY="tooshort"))


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("redis://h:6379/2", "redis://h:6379/2"),
        ("unix:///run/v.sock?db=1", "redis+socket:///run/v.sock?virtual_host=1"),
        ("redis+socket:///run/v.sock", "redis+socket:///run/v.sock"),
        ("valkeys://u:p@h/0", "rediss://u:p@h/0"),
    ],
)
def test_the_broker_is_the_hot_store_in_celerys_spelling(url: str, broker: str) -> None:
    assert celery_form(url) == broker
    assert load(PUSHPATH_HOT_STORE_URL=url).celery_broker.reveal() == broker
    assert load(PUSHPATH_BROKER_URL="amqp://mq").celery_broker.reveal() == "amqp://mq"


def test_every_setting_is_described_with_its_default() -> None:
    described = {info.name: info for info in describe_settings()}
    assert set(described) == set(Settings.__struct_fields__)
    assert all(info.description for info in described.values())
    assert (described["phone_change_cooldown"].default, described["phone_change_cooldown"].kind) == ("10m", "duration")
    assert [info.name for info in described.values() if info.required] == ["ledger_url", "hot_store_url", "secret_key"]
    assert described["hot_shards"].bounds == "1 to 64"
    assert described["api_port"].variable == "PUSHPATH_API_PORT"
