"""Listing users and devices, page by page in the order of their ids."""

from dispatcher.domain.device import Device, Profile
from dispatcher.ledger.driver import Connection
from dispatcher.ledger.profiles import read_devices, read_profiles
from dispatcher.ports.directory import UserQuery

#: Above every id that begins with a text: ids are visible ASCII.
_ABOVE = "\x7f"
#: Index users_listed.
_BY_ID = """
SELECT user_id FROM users
WHERE app = $1 AND user_id COLLATE "C" > $2 AND user_id COLLATE "C" >= $3 AND user_id COLLATE "C" < $4
ORDER BY user_id COLLATE "C" LIMIT $5
"""
#: Index users_of_number.
_BY_NUMBER = """
SELECT user_id FROM users WHERE app = $1 AND user_id COLLATE "C" > $2 AND phone_hash = $3
ORDER BY user_id COLLATE "C" LIMIT $4
"""
#: Primary key of devices.
_BY_DEVICE = """
SELECT d.user_id FROM devices d JOIN users u USING (app, user_id)
WHERE d.app = $1 AND d.user_id COLLATE "C" > $2 AND d.device_id = $3
"""
#: Index devices_listed.
_DEVICES = """
SELECT device_id FROM devices
WHERE app = $1 AND device_id COLLATE "C" > $2 AND device_id COLLATE "C" >= $3 AND device_id COLLATE "C" < $4
ORDER BY device_id COLLATE "C" LIMIT $5
"""
#: Index devices_of_user.
_DEVICES_OF = """
SELECT device_id FROM devices
WHERE app = $1 AND device_id COLLATE "C" > $2 AND device_id COLLATE "C" >= $3 AND device_id COLLATE "C" < $4
    AND user_id = $6
ORDER BY device_id COLLATE "C" LIMIT $5
"""


async def users(connection: Connection, app: str, query: UserQuery) -> list[Profile]:
    """See :meth:`dispatcher.ports.directory.Directory.list_users`."""
    after = query.after or ""
    if query.phone_hash is not None:
        rows = await connection.fetch(_BY_NUMBER, app, after, query.phone_hash, query.limit)
    elif query.device_id is not None:
        rows = await connection.fetch(_BY_DEVICE, app, after, query.device_id)
    else:
        above = query.beginning + _ABOVE
        rows = await connection.fetch(_BY_ID, app, after, query.beginning, above, query.limit)
    ids = [row["user_id"] for row in rows]
    profiles = await read_profiles(connection, app, ids)
    return [profiles[user_id] for user_id in ids if user_id in profiles]


async def devices(
    connection: Connection, app: str, *, user_id: str | None, beginning: str, after: str | None, limit: int
) -> list[tuple[str, Device]]:
    """See :meth:`dispatcher.ports.directory.Directory.list_devices`."""
    bounds = (app, after or "", beginning, beginning + _ABOVE, limit)
    if user_id is None:
        rows = await connection.fetch(_DEVICES, *bounds)
    else:
        rows = await connection.fetch(_DEVICES_OF, *bounds, user_id)
    ids = [row["device_id"] for row in rows]
    found = await read_devices(connection, app, ids)
    return [found[device_id] for device_id in ids if device_id in found]
