"""Credentials say what is wrong with them and never show themselves."""

import json
from typing import Any

import pytest

from dispatcher.domain.outcome import Rejected
from dispatcher.domain.paths import Path
from providers.apns.provider import ApnsProvider
from providers.credentials import BadCredentials, read_credentials
from providers.registry import FRESH, RETIRED, Misconfigured, Registry
from providers.sandbox import SandboxCredentials, ensure_credentials


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SandboxCredentials:
    return ensure_credentials(tmp_path_factory.mktemp("made"), "http://127.0.0.1:1/token")


def documents(made: SandboxCredentials) -> dict[Path, dict[str, Any]]:
    apns = {"topic": "t", "key_pem": made.apns.key_pem, "key_id": "K", "team_id": "T"}
    sms = {"account_sid": made.sms.account_sid, "auth_token": made.sms.auth_token, "from_number": "+15005550006"}
    return {Path.APNS: apns, Path.FCM: {"service_account": dict(made.fcm)}, Path.SMS: sms}


@pytest.mark.parametrize("path", [Path.APNS, Path.FCM, Path.SMS])
def test_good_ones_are_read_and_hide_their_secrets(made: SandboxCredentials, path: Path) -> None:
    credentials = read_credentials(path, json.dumps(documents(made)[path]).encode())
    shown = repr(credentials) + str(credentials)
    assert "PRIVATE" not in shown
    assert made.sms.auth_token not in shown


def test_the_service_account_may_be_its_text(made: SandboxCredentials) -> None:
    read_credentials(Path.FCM, json.dumps({"service_account": json.dumps(made.fcm)}).encode())


@pytest.mark.parametrize(
    ("path", "changes", "field"),
    [
        (Path.APNS, {"key_pem": "AuthKey_ABC.p8"}, "key_pem"),
        (Path.APNS, {"key_pem": None}, "key_pem"),
        (Path.APNS, {"key_id": None}, "key_id"),
        (Path.APNS, {"team_id": ""}, "team_id"),
        (Path.APNS, {"topic": " "}, "topic"),
        (Path.APNS, {"endpoint": "ftp://x"}, "endpoint"),
        (Path.APNS, {"endpoint": "https://x:99999"}, "endpoint"),
        (Path.APNS, {"key_pem": None, "certificate_pem": "no"}, "certificate_pem"),
        (Path.APNS, {"unheard_of": 1}, ""),
        (Path.FCM, {"service_account": "{}"}, "service_account"),
        (Path.FCM, {"service_account": "no json"}, "service_account"),
        (
            Path.FCM,
            {"service_account": {"project_id": "p", "client_email": "e", "private_key": "x"}},
            "service_account",
        ),
        (Path.SMS, {"from_number": None}, "from_number"),
        (Path.SMS, {"account_sid": "../x"}, "account_sid"),
        (Path.SMS, {"auth_token": ""}, "auth_token"),
        (Path.SMS, {"auth_token": 7}, ""),
        (Path.POLL, {}, ""),
    ],
)
def test_bad_ones_are_refused_by_field(
    made: SandboxCredentials, path: Path, changes: dict[str, Any], field: str
) -> None:
    document = {**documents(made).get(path, {}), **changes}
    with pytest.raises(BadCredentials) as caught:
        read_credentials(path, json.dumps(document).encode())
    assert caught.value.field == field
    assert made.sms.auth_token not in str(caught.value)
    assert "AuthKey_ABC" not in str(caught.value)


class Store:
    """Credentials as the directory would answer them."""

    def __init__(self, found: dict[tuple[str, Path], bytes]) -> None:
        self.found = found
        self.asked = 0

    async def __call__(self, app: str, path: Path) -> bytes | None:
        self.asked += 1
        return self.found.get((app, path))


class NoBus:
    async def send(self, frames: object) -> None: ...

    async def receive(self, node: str, *, limit: int, block_s: float) -> list[Any]:
        return []


async def test_a_provider_is_built_once_and_rebuilt_when_its_credentials_change(made: SandboxCredentials) -> None:
    moment = 0
    document = documents(made)[Path.APNS]
    store = Store({("app", Path.APNS): json.dumps(document).encode()})
    registry = Registry(store, bus=NoBus(), public_url="http://x", clock=lambda: moment)
    first = await registry.provider("app", Path.APNS)
    assert isinstance(first, ApnsProvider)
    assert await registry.provider("app", Path.APNS) is first
    assert store.asked == 1
    moment += FRESH
    assert await registry.provider("app", Path.APNS) is first
    assert store.asked == 2
    store.found["app", Path.APNS] = json.dumps({**document, "topic": "other"}).encode()
    moment += FRESH
    second = await registry.provider("app", Path.APNS)
    assert second is not first
    moment += RETIRED
    await registry.provider("app", Path.APNS)
    assert registry._retired == []
    await registry.close()


async def test_a_store_that_cannot_be_asked_leaves_the_provider_as_it_is(made: SandboxCredentials) -> None:
    moment = 0
    found: dict[tuple[str, Path], bytes] = {("app", Path.SMS): json.dumps(documents(made)[Path.SMS]).encode()}

    async def source(app: str, path: Path) -> bytes | None:
        if not found:
            raise ConnectionError
        return found.get((app, path))

    registry = Registry(source, bus=NoBus(), public_url="http://x", clock=lambda: moment)
    first = await registry.provider("app", Path.SMS)
    found.clear()
    moment += FRESH
    assert await registry.provider("app", Path.SMS) is first
    with pytest.raises(ConnectionError):
        await registry.provider("other", Path.SMS)
    await registry.close()


async def test_apps_without_credentials_have_no_provider_but_lines_and_polls(made: SandboxCredentials) -> None:
    registry = Registry(Store({}), bus=NoBus(), public_url="http://x", clock=lambda: 0)
    assert [await registry.provider("app", path) is None for path in Path] == [False, True, True, False, True]
    await registry.close()


async def test_credentials_that_cannot_work_fail_as_configuration(make_attempt: Any, now: int) -> None:
    registry = Registry(
        Store({("app", Path.APNS): b'{"topic":"t","key_pem":"secret words"}'}),
        bus=NoBus(),
        public_url="http://x",
        clock=lambda: 0,
    )
    provider = await registry.provider("app", Path.APNS)
    assert isinstance(provider, Misconfigured)
    assert await provider.send([make_attempt()], now) == [Rejected("bad_credentials", configuration=True)]
    assert "secret words" not in provider.reason
    await registry.close()
