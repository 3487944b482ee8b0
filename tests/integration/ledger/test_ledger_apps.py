"""Apps, keys and credentials."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.paths import Path
from dispatcher.ledger.apps import SqlApps, shipped_strategy
from dispatcher.ledger.engine import Connection, ask
from dispatcher.ledger.strategies import SqlStrategyStore
from dispatcher.ports.directory import App

NOW = 1_800_000_000_000
IM = App(app_id="im", name="IM", time_zone="Asia/Shanghai", settings={"default_locale": "zh-CN"})


async def test_a_new_app_has_the_shipped_strategy_live(engine: AsyncEngine) -> None:
    apps, strategies = SqlApps(engine), SqlStrategyStore(engine)
    await apps.create_app(IM, NOW)
    await apps.create_app(App(app_id="a", name="A"), NOW, strategy="strategy: default")
    assert await apps.app("im") == IM
    assert await apps.app("none") is None
    assert [app.app_id for app in await apps.apps()] == ["a", "im"]
    (shipped,) = await strategies.published("im")
    assert (shipped.name, shipped.version, shipped.state) == ("default", 1, "live")
    assert shipped.document == shipped_strategy()
    assert (await strategies.published("a"))[0].document == "strategy: default"


async def test_an_app_id_is_taken_once_and_a_refused_app_changes_nothing(engine: AsyncEngine) -> None:
    apps, strategies = SqlApps(engine), SqlStrategyStore(engine)
    await apps.create_app(IM, NOW, strategy="first")
    with pytest.raises(KeyError):
        await apps.create_app(App(app_id="im", name="Other"), NOW, strategy="second")
    assert await apps.app("im") == IM
    assert [one.document for one in await strategies.published("im")] == ["first"]


async def test_a_key_opens_until_it_is_revoked(engine: AsyncEngine) -> None:
    apps = SqlApps(engine)
    await apps.create_app(IM, NOW, strategy="")
    key, secret = await apps.create_key("im", "backend", ["send", "read"], NOW)
    assert secret.startswith(f"pp_{key.key_id}_")
    assert await apps.key_by_secret(secret) == key
    assert await apps.keys("im") == [key]
    assert not await apps.revoke_key("other", key.key_id, NOW)
    assert await apps.revoke_key("im", key.key_id, NOW + 1)
    assert not await apps.revoke_key("im", key.key_id, NOW + 2)
    assert await apps.key_by_secret(secret) is None
    assert [one.revoked_at for one in await apps.keys("im")] == [NOW + 1]
    with pytest.raises(KeyError):
        await apps.create_key("none", "backend", [], NOW)


async def test_what_is_no_key_opens_nothing(engine: AsyncEngine) -> None:
    apps = SqlApps(engine)
    await apps.create_app(IM, NOW, strategy="")
    _, one = await apps.create_key("im", "one", ["send"], NOW)
    _, other = await apps.create_key("im", "other", ["send"], NOW)
    stranger = "_".join([*one.split("_", 2)[:2], other.split("_", 2)[2]])
    for text in ("", "pp", "pp__", "pp_x", "pp_x_y", one[:-1], one + "x", one.upper(), "x" + one, stranger, "pp_\0_y"):
        assert await apps.key_by_secret(text) is None
    for text in ("pp_ü_y", "pp_x_\ud800", "pp_" + "x" * 10_000 + "_y"):
        assert await apps.key_by_secret(text) is None


async def test_the_secret_itself_is_nowhere_in_the_ledger(engine: AsyncEngine) -> None:
    apps = SqlApps(engine)
    await apps.create_app(IM, NOW, strategy="")
    _, text = await apps.create_key("im", "backend", ["send"], NOW)
    secret = text.split("_", 2)[2]

    async def work(connection: Connection) -> int:
        return int(await connection.fetchval("SELECT count(*) FROM api_keys k WHERE k::text LIKE $1", f"%{secret}%"))

    assert await ask(engine, work) == 0


async def test_credentials_are_kept_sealed_by_app_and_path(engine: AsyncEngine) -> None:
    apps = SqlApps(engine)
    await apps.create_app(IM, NOW, strategy="")
    await apps.set_credentials("im", Path.APNS, b"first", NOW)
    await apps.set_credentials("im", Path.APNS, b"second", NOW + 1)
    assert await apps.credentials("im", Path.APNS) == b"second"
    assert await apps.credentials("im", Path.FCM) is None
