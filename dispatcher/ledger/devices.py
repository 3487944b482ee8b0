"""Devices and their push tokens: bound to one user at a time, under an epoch that only rises.

Writers hold advisory locks on the device and on the tokens they bring, then the rows of the users concerned in order,
so that two of them never deadlock and never see half of one another.
"""

from collections.abc import Sequence
from hashlib import blake2b

from dispatcher.domain.clock import HOUR, Millis
from dispatcher.domain.device import Profile
from dispatcher.domain.paths import Path
from dispatcher.ledger.driver import Connection
from dispatcher.ledger.locks import hold, lock_key
from dispatcher.ledger.profiles import read_profiles
from dispatcher.ledger.users import touch
from dispatcher.ports.directory import Binding, DeviceRegistration

#: Ended tokens kept for each device, to look at.
HISTORY_KEPT = 8
SEEN_EVERY = HOUR

#: Primary key of devices.
_BOUND = "SELECT user_id, epoch, platform FROM devices WHERE app = $1 AND device_id = $2"
_FORMER = "DELETE FROM former_devices WHERE app = $1 AND device_hash = $2 RETURNING epoch"
_KEEP_EPOCH = """
INSERT INTO former_devices (app, device_hash, epoch, at) VALUES ($1, $2, $3, $4)
ON CONFLICT (app, device_hash) DO UPDATE SET epoch = greatest(former_devices.epoch, excluded.epoch), at = excluded.at
"""
_INSERT = """
INSERT INTO devices (app, device_id, user_id, epoch, platform, last_seen) VALUES ($1, $2, $3, $4, 'none', $5)
"""
_MOVE = "UPDATE devices SET user_id = $3, epoch = $4 WHERE app = $1 AND device_id = $2"
_DESCRIBE = """
UPDATE devices SET platform = $3, alerts_enabled = $4, app_version = $5, os_version = $6, manufacturer = $7,
    locale = $8, time_zone = $9, last_seen = greatest(last_seen, $10)
WHERE app = $1 AND device_id = $2
"""
_DELETE = "DELETE FROM devices WHERE app = $1 AND device_id = $2"
#: Primary key of device_tokens.
_END_OTHERS = """
UPDATE device_tokens t SET state = 'stale', ended_at = $6, reason = $7
WHERE app = $1 AND device_id = $2 AND state = 'active' AND NOT EXISTS (
    SELECT FROM unnest($3::text[], $4::text[], $5::bytea[]) AS kept(path, environment, value_hash)
    WHERE kept.path = t.path AND kept.environment = t.environment AND kept.value_hash = t.value_hash)
"""
#: Index device_tokens_of_value.
_ELSEWHERE = """
SELECT DISTINCT d.user_id FROM unnest($3::text[], $4::bytea[]) AS brought(path, value_hash)
JOIN device_tokens t ON t.app = $1 AND t.path = brought.path AND t.value_hash = brought.value_hash
JOIN devices d ON d.app = t.app AND d.device_id = t.device_id
WHERE t.device_id <> $2 AND t.state = 'active'
"""
_LEAVE = """
UPDATE device_tokens t SET state = 'stale', ended_at = $5, reason = 'moved'
FROM unnest($3::text[], $4::bytea[]) AS brought(path, value_hash)
WHERE t.app = $1 AND t.path = brought.path AND t.value_hash = brought.value_hash AND t.device_id <> $2
    AND t.state = 'active'
"""
_PUT_TOKENS = """
INSERT INTO device_tokens (app, device_id, path, environment, value_hash, kind, value, topic, state, registered_at)
SELECT $1, $2, brought.*, 'active', $9 FROM unnest($3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[],
    $8::text[]) AS brought
ON CONFLICT (app, device_id, path, environment, value_hash) DO UPDATE SET kind = excluded.kind, topic = excluded.topic,
    state = 'active', registered_at = excluded.registered_at, ended_at = NULL, reason = NULL
"""
_FORGET_OLD = """
DELETE FROM device_tokens WHERE app = $1 AND device_id = $2 AND (path, environment, value_hash) IN (
    SELECT path, environment, value_hash FROM device_tokens
    WHERE app = $1 AND device_id = $2 AND state <> 'active' ORDER BY ended_at DESC OFFSET $3)
"""
_KILL = """
UPDATE device_tokens SET state = 'dead', ended_at = $6, reason = $7
WHERE app = $1 AND device_id = $2 AND path = $3 AND environment = $4 AND value_hash = $5 AND state = 'active'
    AND registered_at <= $6
"""
_CONDEMNED = """
SELECT d.user_id FROM device_tokens t JOIN devices d USING (app, device_id)
WHERE t.app = $1 AND t.device_id = $2 AND t.path = $3 AND t.environment = $4 AND t.value_hash = $5
    AND t.state = 'active' AND t.registered_at <= $6
"""
_SEEN = """
UPDATE devices SET last_seen = $3::bigint WHERE app = $1 AND device_id IN (
    SELECT device_id FROM devices
    WHERE app = $1 AND device_id = ANY($2::text[]) AND last_seen <= $3::bigint - $4::bigint
    FOR UPDATE SKIP LOCKED)
"""


async def bind(connection: Connection, app: str, device_id: str, user_id: str, now: Millis) -> Binding:
    """In the caller's transaction; see :meth:`dispatcher.ports.directory.Directory.bind`."""
    await hold(connection, device_lock(app, device_id))
    binding, _ = await _bind(connection, app, device_id, user_id, now, ())
    return binding


async def register(connection: Connection, registration: DeviceRegistration, now: Millis) -> tuple[Binding, bool]:
    """In the caller's transaction; see :meth:`dispatcher.ports.directory.Directory.register`.

    The list of tokens is whole: those the device had and does not name any more are stale from now on.
    """
    app, device_id = registration.app, registration.device_id
    tokens = {(token.path, token.environment or "", value_hash(token.value)): token for token in registration.tokens}
    paths = [path.value for path, _, _ in tokens]
    environments = [environment for _, environment, _ in tokens]
    hashes = [hashed for _, _, hashed in tokens]
    token_locks = (lock_key("token", app, path, hashed.hex()) for path, hashed in zip(paths, hashes, strict=True))
    await hold(connection, device_lock(app, device_id), *token_locks)
    losers = [row[0] for row in await connection.fetch(_ELSEWHERE, app, device_id, paths, hashes)]
    known = await connection.fetchrow(_BOUND, app, device_id)
    new = known is None or known["platform"] == "none"  # a minted token binds a device that nobody described yet
    binding, _ = await _bind(connection, app, device_id, registration.user_id, now, losers, touched=True)
    await connection.execute(
        _DESCRIBE,
        app,
        device_id,
        registration.platform.value,
        registration.alerts_enabled,
        registration.app_version,
        registration.os_version,
        registration.manufacturer,
        registration.locale,
        registration.time_zone,
        now,
    )
    await connection.execute(_LEAVE, app, device_id, paths, hashes, now)
    await connection.execute(_END_OTHERS, app, device_id, paths, environments, hashes, now, "replaced")
    kinds, values, topics = ([getattr(token, name) for token in tokens.values()] for name in ("kind", "value", "topic"))
    await connection.execute(_PUT_TOKENS, app, device_id, paths, environments, hashes, kinds, values, topics, now)
    await connection.execute(_FORGET_OLD, app, device_id, HISTORY_KEPT)
    concerned = {registration.user_id, *losers, *([binding.moved_from] if binding.moved_from else [])}
    profiles = await read_profiles(connection, app, concerned)
    whole = Binding(
        user_id=binding.user_id,
        epoch=binding.epoch,
        moved_from=binding.moved_from,
        profiles=list(profiles.values()),
    )
    return whole, new


async def _bind(
    connection: Connection,
    app: str,
    device_id: str,
    user_id: str,
    now: Millis,
    losers: Sequence[str],
    *,
    touched: bool = False,
) -> tuple[Binding, bool]:
    """The binding under the device's lock, and whether the device is new. *touched*: more will change."""
    row = await connection.fetchrow(_BOUND, app, device_id)
    same = row is not None and row["user_id"] == user_id
    if same and not touched:
        return Binding(user_id=user_id, epoch=row["epoch"], moved_from=None, profiles=()), False
    moved_from = None if row is None or same else row["user_id"]
    await touch(connection, app, {*losers, *([moved_from] if moved_from else [])}, now, known=user_id)
    if row is None:
        former = await connection.fetchval(_FORMER, app, _device_hash(device_id))
        epoch = (former or 0) + 1
        await connection.execute(_INSERT, app, device_id, user_id, epoch, now)
    elif same:
        epoch = row["epoch"]
    else:
        epoch = row["epoch"] + 1
        await connection.execute(_MOVE, app, device_id, user_id, epoch)
        await connection.execute(_END_OTHERS, app, device_id, [], [], [], now, "moved")
    concerned = {user_id, *([moved_from] if moved_from else [])}
    profiles = () if touched else list((await read_profiles(connection, app, concerned)).values())
    return Binding(user_id=user_id, epoch=epoch, moved_from=moved_from, profiles=profiles), row is None


async def remove(connection: Connection, app: str, device_id: str, now: Millis) -> Binding | None:
    """Logout, in the caller's transaction. The epoch in the answer is the one that ended."""
    await hold(connection, device_lock(app, device_id))
    row = await connection.fetchrow(_BOUND, app, device_id)
    if row is None:
        return None
    user_id, epoch, _ = row
    await touch(connection, app, [user_id], now)
    await drop_device(connection, app, device_id, epoch, now)
    profiles = await read_profiles(connection, app, [user_id])
    return Binding(user_id=user_id, epoch=epoch, moved_from=user_id, profiles=list(profiles.values()))


async def drop_device(connection: Connection, app: str, device_id: str, epoch: int, now: Millis) -> None:
    """Deletes a device and its tokens; what remains is a hash of its id with its last epoch."""
    await connection.execute(_DELETE, app, device_id)
    await connection.execute(_KEEP_EPOCH, app, _device_hash(device_id), epoch, now)


async def kill_token(
    connection: Connection,
    app: str,
    device_id: str,
    path: Path,
    value: str,
    environment: str | None,
    *,
    since: Millis,
    reason: str,
) -> Profile | None:
    """In the caller's transaction; None where the verdict came too late, or for nobody (invariant 6)."""
    await hold(connection, device_lock(app, device_id))
    token = (app, device_id, path.value, environment or "", value_hash(value), since)
    user_id = await connection.fetchval(_CONDEMNED, *token)
    if user_id is None:
        return None
    await touch(connection, app, [user_id], since)
    await connection.execute(_KILL, *token, reason)
    return (await read_profiles(connection, app, [user_id])).get(user_id)


async def seen(connection: Connection, app: str, device_ids: Sequence[str], now: Millis) -> None:
    """Whoever is just being written by another is left out: they will be seen again."""
    await connection.execute(_SEEN, app, list(device_ids), now, SEEN_EVERY)


def value_hash(value: str) -> bytes:
    """A token as the indexes know it: values may be longer than an index row."""
    return blake2b(value.encode(), digest_size=16).digest()


def _device_hash(device_id: str) -> bytes:
    return blake2b(device_id.encode(), digest_size=16).digest()


def device_lock(app: str, device_id: str) -> int:
    """The advisory lock under which a device and its tokens are written."""
    return lock_key("device", app, device_id)
