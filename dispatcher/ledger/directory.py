"""The directory: users and devices, each change one transaction."""

from collections.abc import Sequence

from dispatcher.domain.clock import Millis
from dispatcher.domain.device import Device, Profile
from dispatcher.domain.ids import DeliveryRef
from dispatcher.domain.paths import Path
from dispatcher.ledger import devices, erase, listing, users
from dispatcher.ledger.driver import Connection, Source, ask, ask_together
from dispatcher.ledger.profiles import read_device, read_profiles
from dispatcher.ports.directory import Binding, DeviceRegistration, UserChange, UserQuery

#: Primary key of devices.
_ERASED = "SELECT app, user_id, at FROM erasures WHERE at >= $1"
_OWNERS = "SELECT device_id, user_id FROM devices WHERE app = $1 AND device_id = ANY($2::text[])"


class SqlDirectory:
    """:class:`dispatcher.ports.directory.Directory` on PostgreSQL."""

    def __init__(self, engine: Source) -> None:
        self._engine = engine

    async def profiles(self, app: str, user_ids: Sequence[str]) -> dict[str, Profile]:
        """See the port."""

        async def work(connection: Connection) -> dict[str, Profile]:
            return await read_profiles(connection, app, user_ids)

        return await ask(self._engine, work)

    async def put_user(self, change: UserChange, now: Millis) -> tuple[Profile, bool]:
        """See the port. A user known by their devices only is not new."""

        async def work(connection: Connection) -> tuple[Profile, bool]:
            return await users.put_user(connection, change, now)

        return await ask_together(self._engine, work)

    async def in_flight(self, app: str, user_id: str, now: Millis) -> list[DeliveryRef]:
        """See the port."""

        async def work(connection: Connection) -> list[DeliveryRef]:
            return await erase.in_flight(connection, app, user_id, now)

        return await ask(self._engine, work)

    async def delete_user(
        self, app: str, user_id: str, by: str, now: Millis, *, known_as: str | None = None, in_flight: bool = False
    ) -> bool:
        """See the port; False where nothing was held."""

        async def work(connection: Connection) -> bool:
            erased = await erase.erase_user(connection, app, user_id, now, known_as=known_as, in_flight=in_flight)
            if erased:
                await users.audit_erasure(connection, app, known_as or user_id, by, now)
            return erased

        return await ask_together(self._engine, work)

    async def erased_since(self, since: Millis) -> dict[tuple[str, str], Millis]:
        """See the port."""

        async def work(connection: Connection) -> dict[tuple[str, str], Millis]:
            return {(app, user_id): at for app, user_id, at in await connection.fetch(_ERASED, since)}

        return await ask(self._engine, work)

    async def erase_again(self, since: Millis) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            await erase.erase_lately(connection, since)

        await ask(self._engine, work)

    async def list_users(self, app: str, query: UserQuery) -> list[Profile]:
        """See the port."""

        async def work(connection: Connection) -> list[Profile]:
            return await listing.users(connection, app, query)

        return await ask(self._engine, work)

    async def list_devices(
        self, app: str, *, user_id: str | None, beginning: str, after: str | None, limit: int
    ) -> list[tuple[str, Device]]:
        """See the port."""

        async def work(connection: Connection) -> list[tuple[str, Device]]:
            return await listing.devices(
                connection, app, user_id=user_id, beginning=beginning, after=after, limit=limit
            )

        return await ask(self._engine, work)

    async def bind(self, app: str, device_id: str, user_id: str, now: Millis) -> Binding:
        """See the port. A device bound again to its user changes nothing and brings no profile."""

        async def work(connection: Connection) -> Binding:
            return await devices.bind(connection, app, device_id, user_id, now)

        return await ask_together(self._engine, work)

    async def register(self, registration: DeviceRegistration, now: Millis) -> tuple[Binding, bool]:
        """See the port."""

        async def work(connection: Connection) -> tuple[Binding, bool]:
            return await devices.register(connection, registration, now)

        return await ask_together(self._engine, work)

    async def device(self, app: str, device_id: str) -> tuple[str, Device] | None:
        """See the port."""

        async def work(connection: Connection) -> tuple[str, Device] | None:
            return await read_device(connection, app, device_id)

        return await ask(self._engine, work)

    async def owners(self, app: str, device_ids: Sequence[str]) -> dict[str, str]:
        """See the port."""

        async def work(connection: Connection) -> dict[str, str]:
            rows = await connection.fetch(_OWNERS, app, list(device_ids))
            return {row["device_id"]: row["user_id"] for row in rows}

        return await ask(self._engine, work)

    async def remove_device(self, app: str, device_id: str, now: Millis) -> Binding | None:
        """See the port."""

        async def work(connection: Connection) -> Binding | None:
            return await devices.remove(connection, app, device_id, now)

        return await ask_together(self._engine, work)

    async def kill_token(
        self, app: str, device_id: str, path: Path, value: str, environment: str | None, *, since: Millis, reason: str
    ) -> Profile | None:
        """See the port; a token registered in the very millisecond of the verdict is meant by it."""

        async def work(connection: Connection) -> Profile | None:
            return await devices.kill_token(
                connection, app, device_id, path, value, environment, since=since, reason=reason
            )

        return await ask_together(self._engine, work)

    async def seen(self, app: str, device_ids: Sequence[str], now: Millis) -> None:
        """See the port; raises no revision."""

        async def work(connection: Connection) -> None:
            await devices.seen(connection, app, device_ids, now)

        await ask(self._engine, work)
