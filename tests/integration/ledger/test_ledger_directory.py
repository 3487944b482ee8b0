"""Users and devices: one owner at a time, tokens that die only of their own verdict, revisions that only rise."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY, HOUR, MINUTE
from dispatcher.domain.delivery import End
from dispatcher.domain.device import Device, Platform, Profile, PushToken, TokenState
from dispatcher.domain.ids import make_home
from dispatcher.domain.paths import Path
from dispatcher.ledger.audit import SqlAudit
from dispatcher.ledger.deliveries import SqlDeliveries
from dispatcher.ledger.directory import SqlDirectory
from dispatcher.ledger.engine import Connection, ask
from dispatcher.ledger.messages import SqlMessages
from dispatcher.ledger.upkeep import upkeep
from dispatcher.ports.directory import Binding, DeviceRegistration, UserChange
from dispatcher.ports.messages import SettledDelivery, Submission

NOW = 1_800_000_000_000
APP = "im"


def apns(value: str, environment: str = "production") -> PushToken:
    return PushToken(path=Path.APNS, kind="device", value=value, environment=environment, topic="com.example.im")


def fcm(value: str) -> PushToken:
    return PushToken(path=Path.FCM, kind="registration", value=value)


def registration(user: str, device: str, *tokens: PushToken) -> DeviceRegistration:
    return DeviceRegistration(
        app=APP,
        user_id=user,
        device_id=device,
        platform=Platform.IOS,
        tokens=tokens,
        alerts_enabled=True,
        app_version="8.1.0",
        os_version="19.1",
        manufacturer="Apple",
        locale="zh-CN",
        time_zone="Asia/Shanghai",
    )


def change(user: str, **values: object) -> UserChange:
    return UserChange(app=APP, user_id=user, values=values, changed_phone_usable_from=NOW + 10 * MINUTE, by="backend")


def states(profile: Profile | None, device: str = "d1") -> dict[str, str]:
    assert profile is not None
    found = profile.device(device)
    return {} if found is None else {token.value: token.state.value for token in found.tokens}


def of(binding: Binding, user: str) -> Profile:
    (found,) = (profile for profile in binding.profiles if profile.user_id == user)
    return found


async def test_a_device_comes_back_as_it_was_registered(engine: AsyncEngine) -> None:
    directory = SqlDirectory(engine)
    binding, new = await directory.register(registration("li", "d1", apns("aa" * 32), fcm("f" * 4000)), NOW)
    assert (new, binding.user_id, binding.epoch, binding.moved_from) == (True, "li", 1, None)
    device = Device(
        device_id="d1",
        epoch=1,
        platform=Platform.IOS,
        tokens=(
            PushToken(
                path=Path.APNS,
                kind="device",
                value="aa" * 32,
                environment="production",
                topic="com.example.im",
                registered_at=NOW,
            ),
            PushToken(path=Path.FCM, kind="registration", value="f" * 4000, registered_at=NOW),
        ),
        alerts_enabled=True,
        app_version="8.1.0",
        os_version="19.1",
        manufacturer="Apple",
        locale="zh-CN",
        time_zone="Asia/Shanghai",
        last_seen=NOW,
    )
    assert of(binding, "li").devices == (device,)
    assert await directory.device(APP, "d1") == ("li", device)
    assert await directory.profiles(APP, ["li", "nobody"]) == {"li": of(binding, "li")}
    assert await directory.owners(APP, ["d1", "d2"]) == {"d1": "li"}
    assert await directory.device("other", "d1") is None
    _, new = await directory.register(registration("li", "d1"), NOW + 1)
    assert not new


async def test_a_token_that_is_not_named_again_is_stale_and_may_come_back(engine: AsyncEngine) -> None:
    directory = SqlDirectory(engine)
    await directory.register(registration("li", "d1", apns("old")), NOW)
    binding, _ = await directory.register(registration("li", "d1", apns("new")), NOW + 1)
    assert states(of(binding, "li")) == {"old": "stale", "new": "active"}
    binding, _ = await directory.register(registration("li", "d1", apns("old")), NOW + 2)
    assert states(of(binding, "li")) == {"old": "active", "new": "stale"}
    for number in range(20):
        binding, _ = await directory.register(registration("li", "d1", apns(f"t{number}")), NOW + 3 + number)
    assert len(states(of(binding, "li"))) == 9


async def test_a_token_seen_on_another_device_leaves_that_one(engine: AsyncEngine) -> None:
    directory = SqlDirectory(engine)
    await directory.register(registration("li", "d1", apns("shared"), fcm("shared")), NOW)
    binding, _ = await directory.register(registration("wang", "d2", apns("shared")), NOW + 1)
    assert states(of(binding, "wang"), "d2") == {"shared": "active"}
    tokens = of(binding, "li").devices[0].tokens
    assert {(token.path, token.state) for token in tokens} == {
        (Path.APNS, TokenState.STALE),
        (Path.FCM, TokenState.ACTIVE),
    }


async def test_binding_to_another_user_raises_the_epoch_and_ends_the_tokens(engine: AsyncEngine) -> None:
    directory = SqlDirectory(engine)
    await directory.register(registration("li", "d1", apns("t")), NOW)
    same = await directory.bind(APP, "d1", "li", NOW + 1)
    assert (same.epoch, same.moved_from, list(same.profiles)) == (1, None, [])
    moved = await directory.bind(APP, "d1", "wang", NOW + 2)
    assert (moved.epoch, moved.moved_from) == (2, "li")
    assert of(moved, "li").devices == ()
    assert states(of(moved, "wang")) == {"t": "stale"}
    back, _ = await directory.register(registration("li", "d1", apns("t")), NOW + 3)
    assert (back.epoch, back.moved_from) == (3, "wang")
    assert states(of(back, "li")) == {"t": "active"}


async def test_the_epoch_goes_on_rising_after_logout(engine: AsyncEngine) -> None:
    directory = SqlDirectory(engine)
    await directory.register(registration("li", "d1", apns("t")), NOW)
    gone = await directory.remove_device(APP, "d1", NOW + 1)
    assert gone is not None
    assert of(gone, "li").devices == ()
    assert await directory.remove_device(APP, "d1", NOW + 1) is None
    assert await directory.device(APP, "d1") is None
    assert (await directory.bind(APP, "d1", "li", NOW + 2)).epoch == 2
    await directory.remove_device(APP, "d1", NOW + 3)
    await upkeep(engine, NOW + DAY)
    assert (await directory.bind(APP, "d1", "wang", NOW + DAY)).epoch == 3


@pytest.mark.parametrize(
    ("path", "value", "environment", "since", "killed"),
    [
        (Path.APNS, "t", "production", NOW + 1, True),
        (Path.APNS, "t", "production", NOW, True),
        (Path.APNS, "t", "production", NOW - 1, False),  # registered after the verdict's moment
        (Path.APNS, "t", "sandbox", NOW + 1, False),
        (Path.APNS, "u", "production", NOW + 1, False),
        (Path.FCM, "t", None, NOW + 1, False),
    ],
)
async def test_a_verdict_ends_its_own_token_only(
    engine: AsyncEngine, path: Path, value: str, environment: str | None, since: int, killed: bool
) -> None:
    directory = SqlDirectory(engine)
    await directory.register(registration("li", "d1", apns("t")), NOW)
    profile = await directory.kill_token(APP, "d1", path, value, environment, since=since, reason="Unregistered")
    assert (profile is not None) == killed
    assert states((await directory.profiles(APP, ["li"]))["li"]) == {"t": "dead" if killed else "active"}
    if killed:
        binding, _ = await directory.register(registration("li", "d1", apns("t")), NOW + 5)
        assert states(of(binding, "li")) == {"t": "active"}
        assert await directory.kill_token(APP, "d1", path, value, environment, since=NOW + 2, reason="late") is None


async def test_revisions_only_rise_also_through_an_erasure(engine: AsyncEngine) -> None:
    directory = SqlDirectory(engine)
    revisions = [(await directory.put_user(change("li"), NOW))[0].rev]
    revisions.append(of((await directory.register(registration("li", "d1", apns("t")), NOW))[0], "li").rev)
    killed = await directory.kill_token(APP, "d1", Path.APNS, "t", "production", since=NOW, reason="r")
    assert killed is not None
    revisions.append(killed.rev)
    await directory.delete_user(APP, "li", "backend", NOW)
    revisions.append((await directory.put_user(change("li"), NOW))[0].rev)
    assert revisions == sorted(set(revisions))


async def test_a_user_keeps_what_a_change_does_not_name(engine: AsyncEngine) -> None:
    directory = SqlDirectory(engine)
    profile, new = await directory.put_user(
        change("li", locale="zh-CN", quiet_from="22:00", quiet_to="07:00", muted_classes=["campaign"]), NOW
    )
    assert new
    profile, new = await directory.put_user(change("li", sms_opt_in=True, quiet_to="08:00"), NOW)
    assert not new
    assert (profile.locale, profile.quiet_from, profile.quiet_to) == ("zh-CN", "22:00", "08:00")
    assert (profile.sms_opt_in, profile.muted_classes) == (True, ("campaign",))
    with pytest.raises(ValueError, match="rev"):
        await directory.put_user(change("li", rev=7), NOW)
    entries = await SqlAudit(engine).entries(APP, before=None, limit=10)
    assert [(entry.action, entry.who, entry.subject) for _, entry in entries] == [("user.update", "backend", "li")] * 2
    assert entries[0][1].detail == {"fields": ["quiet_to", "sms_opt_in"]}


async def test_a_changed_number_waits_and_is_unverified_a_first_one_is_usable_at_once(engine: AsyncEngine) -> None:
    directory = SqlDirectory(engine)

    async def put(**values: object) -> tuple[int, bool]:
        profile, _ = await directory.put_user(change("li", **values), NOW)
        return profile.phone_usable_from, profile.phone_verified

    waits = NOW + 10 * MINUTE
    assert await put(phone=b"seal 1", phone_hash=b"h1", phone_verified=True) == (NOW, True)
    assert await put(phone=b"seal 1, sealed again", phone_hash=b"h1") == (NOW, True)
    assert await put(phone=b"seal 2", phone_hash=b"h2") == (waits, False)
    assert await put(phone=None, phone_hash=None) == (waits, False)
    profile, _ = await directory.put_user(
        UserChange(
            app=APP,
            user_id="li",
            values={"phone": b"seal 3", "phone_hash": b"h3"},
            changed_phone_usable_from=waits + 1,
        ),
        NOW,
    )
    assert profile.phone_usable_from == waits + 1


async def test_devices_are_seen_at_most_once_an_hour(engine: AsyncEngine) -> None:
    directory = SqlDirectory(engine)
    await directory.register(registration("li", "d1"), NOW)
    seen = []
    for at in (NOW + HOUR - 1, NOW + HOUR, NOW + HOUR + 5, NOW + 2 * HOUR):
        await directory.seen(APP, ["d1", "unknown"], at)
        found = await directory.device(APP, "d1")
        assert found is not None
        seen.append(found[1].last_seen - NOW)
    assert seen == [0, HOUR, HOUR, 2 * HOUR]


async def test_racing_writers_leave_one_owner_and_one_holder_of_the_token(engine: AsyncEngine) -> None:
    directory = SqlDirectory(engine)
    users = [f"u{number}" for number in range(6)]
    work: list[Coroutine[Any, Any, object]] = []
    for round_ in range(4):
        for number, user in enumerate(users):
            work.append(directory.register(registration(user, f"d{(number + round_) % 3}", apns("shared")), NOW))
            work.append(directory.bind(APP, f"d{number % 3}", users[(number + round_) % 6], NOW))
            work.append(directory.put_user(change(user, locale="zh"), NOW))
            work.append(
                directory.kill_token(
                    APP, f"d{number % 3}", Path.APNS, "shared", "production", since=NOW - 1, reason="r"
                )
            )
    await asyncio.gather(*work)
    profiles = await directory.profiles(APP, users)
    owned = [device.device_id for profile in profiles.values() for device in profile.devices]
    assert sorted(owned) == ["d0", "d1", "d2"]
    holders = [
        token
        for profile in profiles.values()
        for device in profile.devices
        for token in device.tokens
        if token.state == "active"
    ]
    assert len(holders) <= 1


async def test_an_erased_user_leaves_nothing_to_read(
    engine: AsyncEngine, submit: Callable[..., Submission], settle: Callable[..., SettledDelivery]
) -> None:
    directory, messages, deliveries = SqlDirectory(engine), SqlMessages(engine), SqlDeliveries(engine)
    await directory.put_user(change("li", phone=b"sealed", phone_hash=b"h"), NOW)
    await directory.register(registration("li", "d1", apns("secret-token")), NOW)
    archived, open_home = make_home(NOW, 1, 1), make_home(NOW, 2, 2)
    await messages.accept(
        [
            submit(archived, 0, message_id="alone"),
            submit(archived, 1, message_id="both", to=["wang", "li"]),
            submit(open_home, 0, message_id="flying"),
        ],
        NOW,
    )
    await deliveries.archive(
        [
            settle(archived, 0, message_id="alone"),
            settle(archived, 1, user="wang", message_id="both"),
            settle(archived, 2, message_id="both"),
        ],
        [archived],
    )
    assert await directory.delete_user(APP, "li", "backend", NOW + 5)
    await deliveries.archive([settle(open_home, 0, message_id="flying", end=End.RECALLED)], [open_home])
    await upkeep(engine, NOW + HOUR)

    assert await directory.profiles(APP, ["li"]) == {}
    assert await directory.device(APP, "d1") is None
    assert await deliveries.history(APP, "li", before=None, after_time=0, before_time=NOW + DAY, limit=9) == []
    for message_id in ("alone", "flying"):
        found = await messages.find(APP, message_id)
        assert found is not None
        assert (found.message.body, found.message.notification, found.user_ids) == (b"", None, [""])
        assert found.recalled
    both = await messages.find(APP, "both")
    assert both is not None
    assert both.message.notification is not None
    kept = await deliveries.of_message(archived, 0, 3)
    assert [(row.user_id, row.body, row.tracks) for row in kept if row.ref.place != 1] == [("", b"", b"[]")] * 2
    assert kept[1].user_id == "wang"
    assert await _tables_with(engine, "secret-token") == []
    assert await _tables_with(engine, "Asia/Shanghai") == []
    assert not await directory.delete_user(APP, "li", "backend", NOW + DAY)
    assert not await directory.delete_user(APP, "nobody", "backend", NOW)
    entries = await SqlAudit(engine).entries(APP, before=None, limit=1)
    assert [(entry.action, entry.subject) for _, entry in entries] == [("user.erase", "li")]


async def _tables_with(engine: AsyncEngine, text: str) -> list[str]:
    """Tables with a row that shows *text* anywhere."""

    async def work(connection: Connection) -> list[str]:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        found = []
        for (table,) in tables:
            query = f"SELECT EXISTS (SELECT FROM {table} AS t WHERE t::text LIKE $1)"  # noqa: S608
            if await connection.fetchval(query, f"%{text}%"):
                found.append(table)
        return found

    return await ask(engine, work)


async def test_a_user_that_comes_back_keeps_what_comes_after_the_erasure(
    engine: AsyncEngine, settle: Callable[..., SettledDelivery]
) -> None:
    directory, deliveries = SqlDirectory(engine), SqlDeliveries(engine)
    before, after = make_home(NOW, 1, 1), make_home(NOW + HOUR, 2, 2)
    await deliveries.archive([settle(before)], [])
    assert await directory.delete_user(APP, "li", "backend", NOW + 1)
    await deliveries.archive([settle(after)], [])
    await upkeep(engine, NOW + DAY)
    (kept,) = await deliveries.history(APP, "li", before=None, after_time=NOW - DAY, before_time=NOW + DAY, limit=9)
    assert kept.ref.home == after
    report = await upkeep(engine, NOW + 60 * DAY)
    assert report.erased == 1
    assert (await upkeep(engine, NOW + 60 * DAY)).erased == 0
