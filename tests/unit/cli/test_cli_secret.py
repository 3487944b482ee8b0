import tomllib

import pytest
from click.testing import CliRunner

from dispatcher.cli import pushpath
from dispatcher.settings_source import load_settings

PRESENT = 'a "quoted" \\ secret of more than thirty-two bytes'
STORES = {"ledger_url": "postgresql+asyncpg://p@h/p", "hot_store_url": "redis://h"}


def printed(*arguments: str) -> str:
    environ = {f"PUSHPATH_{name.upper()}": value for name, value in {**STORES, "secret_key": PRESENT}.items()}
    ended = CliRunner(env=environ).invoke(pushpath, ["secret", "next", *arguments])
    assert ended.exit_code == 0, ended.output
    return ended.output


def test_what_is_printed_is_settings_with_the_present_secret_as_forerunner() -> None:
    settings = load_settings(None, {}, {**STORES, **tomllib.loads(printed("--in", "10m"))})
    ring = settings.keyring()
    until = ring.until(1)
    assert until is not None
    assert ring.secrets[1].decode() == PRESENT
    assert (ring.in_use(until - 1), ring.in_use(until)) == (1, 0)
    assert len(ring.secrets[0]) >= 48


def test_every_call_makes_another_secret() -> None:
    first, second = (tomllib.loads(printed())["secret_key"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("ahead", ["soon", "10", "-1m"])
def test_a_time_that_is_none_is_refused(ahead: str) -> None:
    ended = CliRunner(
        env={f"PUSHPATH_{name.upper()}": text for name, text in {**STORES, "secret_key": PRESENT}.items()}
    )
    result = ended.invoke(pushpath, ["secret", "next", f"--in={ahead}"])
    assert result.exit_code == 2
    assert "a duration is" in result.output
