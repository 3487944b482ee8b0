"""A gateway that speaks TLS itself: what its settings say and refuse."""

from pathlib import Path

import pytest

from dispatcher.settings_source import SettingsError, load_settings

BASE = {
    "PUSHPATH_LEDGER_URL": "postgresql+asyncpg://app:hunter2@db/push",
    "PUSHPATH_HOT_STORE_URL": "redis://hot:6379/0",
    "PUSHPATH_SECRET_KEY": "k" * 32,
}


def test_with_a_certificate_devices_are_sent_to_wss(tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_text("a certificate")
    settings = load_settings(None, {**BASE, "PUSHPATH_GATEWAY_TLS_CERTIFICATE": str(chain)})
    assert settings.gateways == ("wss://127.0.0.1:8081/v1/connect",)
    named = load_settings(
        None,
        {**BASE, "PUSHPATH_GATEWAY_TLS_CERTIFICATE": str(chain), "PUSHPATH_GATEWAY_URLS": "wss://gw.example.com/x"},
    )
    assert named.gateways == ("wss://gw.example.com/x",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"GATEWAY_TLS_CERTIFICATE": "/no/such.pem"}, "gateway_tls_certificate: there is no file /no/such.pem"),
        ({"GATEWAY_TLS_KEY": "/no/such.pem"}, "gateway_tls_key: goes with a gateway_tls_certificate"),
    ],
)
def test_a_certificate_that_is_not_there_is_refused_by_name(given: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(None, {**BASE, **{f"PUSHPATH_{name}": value for name, value in given.items()}})
    assert said in refused.value.faults
