"""Registers many users with a phone each by COPY: what is measured begins when their pushes do."""

from collections.abc import Iterable

from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import Millis
from dispatcher.domain.device import PushToken
from dispatcher.ledger.devices import value_hash
from dispatcher.ledger.engine import Connection, ask_together
from dispatcher.ports.directory import DeviceRegistration


async def register_all(stores: Stores, phones: Iterable[DeviceRegistration], now: Millis) -> None:
    """Distinct users and devices that nobody registered before, as the directory's own door would have left them."""
    users: list[tuple[object, ...]] = []
    devices: list[tuple[object, ...]] = []
    tokens: list[tuple[object, ...]] = []
    for phone in phones:
        users.append((phone.app, phone.user_id, now))
        devices.append(_device(phone, now))
        tokens += [_token(phone, token, now) for token in phone.tokens]

    async def work(connection: Connection) -> None:
        await connection.copy_records_to_table("users", records=users, columns=("app", "user_id", "changed_at"))
        await connection.copy_records_to_table("devices", records=devices, columns=_DEVICE)
        await connection.copy_records_to_table("device_tokens", records=tokens, columns=_TOKEN)
        await connection.execute("ANALYZE users, devices, device_tokens")

    await ask_together(stores.engine, work)


_DEVICE = (
    *("app", "device_id", "user_id", "epoch", "platform", "alerts_enabled", "app_version", "os_version"),
    *("manufacturer", "locale", "time_zone", "last_seen"),
)
_TOKEN = ("app", "device_id", "path", "environment", "value_hash", "kind", "value", "state", "registered_at")


def _device(phone: DeviceRegistration, now: Millis) -> tuple[object, ...]:
    return (
        *(phone.app, phone.device_id, phone.user_id, 1, phone.platform.value, phone.alerts_enabled, phone.app_version),
        *(phone.os_version, phone.manufacturer, phone.locale, phone.time_zone, now),
    )


def _token(phone: DeviceRegistration, token: PushToken, now: Millis) -> tuple[object, ...]:
    return (
        *(phone.app, phone.device_id, token.path.value, token.environment or "", value_hash(token.value), token.kind),
        *(token.value, "active", now),
    )
