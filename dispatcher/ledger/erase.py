"""Erasing a user: what the ledger holds about them goes; counts and other people's messages stay.

What is in flight forgets its user at once, here and in the hot store. What was just being accepted or planned may be
written a moment later, under the user's id: so the erasure is remembered for a while, and :func:`erase_leftovers`
repeats it from the upkeep. Reservations keep their row, or a second SMS could go: without number and user.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from dispatcher.domain.clock import DAY, MINUTE, Millis
from dispatcher.domain.ids import NOBODY, DeliveryRef, home_day
from dispatcher.domain.journal import read_entry, without_devices, write_entry
from dispatcher.domain.message import Message
from dispatcher.domain.paths import Path as DeliveryPath
from dispatcher.ledger.devices import device_lock, drop_device
from dispatcher.ledger.driver import Connection
from dispatcher.ledger.locks import hold

#: The longest way of what was being accepted or planned at the moment of the erasure; all else forgets at once.
REMEMBERED = 2 * DAY
#: How long before an erasure a message may have been on its way into the ledger, and be in it only after.
UNDER_WAY = 10 * MINUTE
_AT_ONCE = 500

_DEVICES = "SELECT device_id, epoch FROM devices WHERE app = $1 AND user_id = $2"
_USER = "SELECT true FROM users WHERE app = $1 AND user_id = $2 FOR UPDATE"
_DELETE_USER = "DELETE FROM users WHERE app = $1 AND user_id = $2"
_REMEMBER = """
INSERT INTO erasures (app, user_id, at) VALUES ($1, $2, $3)
ON CONFLICT (app, user_id) DO UPDATE SET at = greatest(erasures.at, excluded.at)
"""
#: Index deliveries_of_user. The empty text is nobody's id.
_BLANK_DELIVERIES = """
WITH theirs AS (
    SELECT day, home, place FROM deliveries WHERE app = $1 AND user_id = $2 AND accepted_at <= $3 LIMIT $4
)
UPDATE deliveries d SET user_id = '', body = '', tracks = '[]' FROM theirs
WHERE d.day = theirs.day AND d.home = theirs.home AND d.place = theirs.place
RETURNING d.day, d.home, d.place
"""
_ALONE = """
SELECT m.day, m.home, m.place, m.content FROM messages m
JOIN unnest($1::int[], $2::bigint[], $3::int[]) AS at(day, home, place) USING (day, home, place)
WHERE m.recipients = 1
"""
#: Indexes homes_open, then messages by primary key; only for messages to this user alone.
_OPEN_ALONE = """
SELECT m.day, m.home, m.place, m.content FROM homes h JOIN messages m USING (day, home)
WHERE h.archived_at IS NULL AND h.app = $1 AND m.app = $1 AND m.recipients = 1 AND m.user_ids = $2
    AND m.accepted_at <= $3 AND m.accepted_at >= $4 AND m.recalled_at IS NULL
"""
_BLANK_MESSAGES = """
UPDATE messages m SET content = at.content, user_ids = coalesce($5, m.user_ids), device_ids = NULL,
    recalled_at = coalesce(m.recalled_at, $6)
FROM unnest($1::int[], $2::bigint[], $3::int[], $4::bytea[]) AS at(day, home, place, content)
WHERE m.day = at.day AND m.home = at.home AND m.place = at.place
"""
#: Messages that cover these places, whoever else they are for.
_COVERING = """
SELECT m.day, m.home, m.place, m.user_ids, m.device_ids FROM messages m WHERE (m.day, m.home, m.place) IN (
    SELECT c.day, c.home, c.place FROM unnest($1::int[], $2::bigint[], $3::int[]) AS at(day, home, place)
    JOIN messages c ON c.day = at.day AND c.home = at.home AND at.place >= c.place
        AND at.place < c.place + c.recipients)
ORDER BY m.day, m.home, m.place FOR UPDATE
"""
#: Indexes homes_open, then messages by primary key. $2: the id as it stands in user_ids.
_OPEN_NAMING = """
SELECT m.day, m.home, m.place, m.user_ids, m.device_ids FROM homes h JOIN messages m USING (day, home)
WHERE h.archived_at IS NULL AND h.app = $1 AND m.app = $1 AND position($2::bytea IN m.user_ids) > 0
    AND m.accepted_at <= $3 AND m.accepted_at >= $4
ORDER BY m.day, m.home, m.place
"""
_HELD = " FOR UPDATE OF m"
_RENAME = """
UPDATE messages m SET user_ids = at.user_ids, device_ids = at.device_ids
FROM unnest($1::int[], $2::bigint[], $3::int[], $4::bytea[], $5::bytea[])
    AS at(day, home, place, user_ids, device_ids)
WHERE m.day = at.day AND m.home = at.home AND m.place = at.place
"""
_FORGET_PINS = "DELETE FROM learning_pins WHERE app = $1 AND key = ANY($2::text[])"
#: Index audit_of_app. Who changed what, and when, stays; of whom is told only to who knows the id.
_FORGET_SUBJECT = """
UPDATE audit SET subject = $3 WHERE app = $1 AND subject = ANY($2::text[]) AND (
    action LIKE 'user.%' OR action LIKE 'device.%' OR action LIKE 'unmask.%' OR action LIKE 'learning.%')
"""
_BLANK_SMS = """
UPDATE sms_reservations SET user_id = ' ' || attempt_id, number_hash = '', coalesce_key = NULL
WHERE app = $1 AND user_id = $2 AND reserved_at <= $3
"""
_BLANK_JOINED = "DELETE FROM sms_joined WHERE app = $1 AND user_id = $2 AND at <= $3"
_FORGET_LEARNED = "DELETE FROM learned WHERE app = $1 AND key = $2"
#: Primary key of journal.
_JOURNAL = "SELECT day, home, seq, entry FROM journal WHERE day = ANY($1::int[]) AND home = ANY($2::bigint[])"
_REWRITE = "UPDATE journal SET entry = $4 WHERE day = $1 AND home = $2 AND seq = $3"
#: Index erasures_by_age.
_REMEMBERED_SINCE = "SELECT app, user_id, at FROM erasures WHERE at >= $1"
_REMEMBERED = "SELECT app, user_id, at FROM erasures"
_FORGET = "DELETE FROM erasures WHERE at < $1"

#: Paths whose learned values may be pinned for a device.
_PINNED = (DeliveryPath.LONGCONN, DeliveryPath.APNS, DeliveryPath.FCM, DeliveryPath.POLL)

_users = msgspec.msgpack.Decoder(list[str]).decode
_devices = msgspec.msgpack.Decoder(dict[str, list[str]]).decode
_decode = msgspec.msgpack.Decoder(Message).decode
_encode = msgspec.msgpack.Encoder().encode


async def in_flight(connection: Connection, app: str, user_id: str, now: Millis) -> list[DeliveryRef]:
    """Their deliveries in messages that are not archived whole, scheduled ones too."""
    rows = await connection.fetch(_OPEN_NAMING, app, _encode(user_id), now, 0)
    return [
        DeliveryRef(home, place + offset)
        for _, home, place, users, _ in rows
        for offset, name in enumerate(_users(users))
        if name == user_id
    ]


async def erase_user(
    connection: Connection, app: str, user_id: str, now: Millis, *, known_as: str | None = None, in_flight: bool = False
) -> bool:
    """In the caller's transaction: False where the ledger held nothing of this user, and nothing was on its way.

    *known_as*: what stands for them and their devices in the audit from now on; None: their names.
    """
    devices = await connection.fetch(_DEVICES, app, user_id)
    await hold(connection, *(device_lock(app, row["device_id"]) for row in devices))
    known = await connection.fetchval(_USER, app, user_id)
    held = await connection.fetch(_DEVICES, app, user_id)
    for row in held:
        await drop_device(connection, app, row["device_id"], row["epoch"], now)
    names = [row["device_id"] for row in held]
    pins = [f"d:{path}:{name}" for name in names for path in _PINNED]
    await connection.execute(_FORGET_PINS, app, pins)
    if known_as is not None:
        await connection.execute(_FORGET_SUBJECT, app, [user_id, *names, *pins], known_as)
    await connection.execute(_DELETE_USER, app, user_id)
    found = await _erase_traffic(connection, app, user_id, now, since=0)
    await connection.execute(_FORGET_LEARNED, app, f"u:{user_id}")
    if known or found or in_flight:
        await connection.execute(_REMEMBER, app, user_id, now)
    return bool(known) or found or in_flight


async def erase_lately(connection: Connection, since: Millis) -> None:
    """Repeats the erasures since then: what was in flight may have been archived meanwhile."""
    for app, user_id, at in await connection.fetch(_REMEMBERED_SINCE, since):
        async with connection.transaction():
            await _erase_traffic(connection, app, user_id, at, since=at - UNDER_WAY)


async def erase_leftovers(connection: Connection, now: Millis) -> int:
    """Repeats remembered erasures for what was archived since; forgets the oldest. Number of those repeated."""
    rows = await connection.fetch(_REMEMBERED)
    for app, user_id, at in rows:
        async with connection.transaction():
            await _erase_traffic(connection, app, user_id, at, since=at - UNDER_WAY)
    await connection.execute(_FORGET, now - REMEMBERED)
    return len(rows)


async def _erase_traffic(connection: Connection, app: str, user_id: str, until: Millis, *, since: Millis) -> bool:
    """Of messages accepted until then; of those that are not archived, only what was accepted *since*."""
    found = False
    while blanked := await connection.fetch(_BLANK_DELIVERIES, app, user_id, until, _AT_ONCE):
        found = True
        columns = list(zip(*blanked, strict=True))
        await _blank(connection, await connection.fetch(_ALONE, *columns), until, archived=True)
        await _rename(connection, await connection.fetch(_COVERING, *columns), user_id)
        await _blank_journal(connection, [(row["home"], row["place"]) for row in blanked])
    open_ones = await connection.fetch(_OPEN_ALONE, app, _encode([user_id]), until, since)
    await _blank(connection, open_ones, until, archived=False)
    naming = await connection.fetch(_OPEN_NAMING + _HELD, app, _encode(user_id), until, since)
    found = await _rename(connection, naming, user_id) or found
    await connection.execute(_BLANK_SMS, app, user_id, until)
    await connection.execute(_BLANK_JOINED, app, user_id, until)
    return found or bool(open_ones)


async def _rename(connection: Connection, rows: Sequence[Any], user_id: str) -> bool:
    """Nobody stands where they stood among the recipients: places stay whole, and what is admitted there ends."""
    changed = []
    for day, home, place, users, devices in rows:
        names = _users(users)
        if user_id not in names:
            continue
        named = None if devices is None else {name: ids for name, ids in _devices(devices).items() if name != user_id}
        left = [NOBODY if name == user_id else name for name in names]
        changed.append((day, home, place, _encode(left), _encode(named) if named else None))
    if changed:
        await connection.execute(_RENAME, *map(list, zip(*changed, strict=True)))
    return bool(changed)


async def _blank_journal(connection: Connection, places: list[tuple[int, int]]) -> None:
    """Plans forget whose device it was; what remains of an entry tells of nobody."""
    theirs: dict[int, set[int]] = defaultdict(set)
    for home, place in places:
        theirs[home].add(place)
    homes = sorted(theirs)
    rows = await connection.fetch(_JOURNAL, sorted({home_day(home) for home in homes}), homes)
    for day, home, seq, raw in rows:
        entry = read_entry(raw)
        blanked = without_devices(entry, theirs[home])
        if blanked != entry:
            await connection.execute(_REWRITE, day, home, seq, write_entry(blanked))


async def _blank(
    connection: Connection, rows: list[tuple[int, int, int, bytes]], at: Millis, *, archived: bool
) -> None:
    """Empties messages and marks them recalled: rebuilt after a lost hot store they end at once.

    Who open ones were for is taken out by :func:`_rename`.
    """
    if rows:
        days, homes, places, contents = zip(*rows, strict=True)
        nobody = _encode([NOBODY]) if archived else None
        await connection.execute(
            _BLANK_MESSAGES, days, homes, places, [_emptied(content) for content in contents], nobody, at
        )


def _emptied(content: bytes) -> bytes:
    return _encode(_decode(content).emptied())
