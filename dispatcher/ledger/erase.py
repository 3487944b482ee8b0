"""Erasing a user: what the ledger holds about them goes; counts and other people's messages stay.

What was in flight at that moment is archived later, under the user's id. So the erasure is remembered for a while and
:func:`erase_leftovers` repeats it from the upkeep. Reservations keep their row, or a second SMS could go: without
number and user.
"""

import msgspec

from dispatcher.domain.clock import DAY, Millis
from dispatcher.domain.ids import home_day
from dispatcher.domain.journal import Kind, read_entry, write_entry
from dispatcher.domain.message import Message
from dispatcher.ledger.devices import device_lock, drop_device
from dispatcher.ledger.driver import Connection
from dispatcher.ledger.locks import hold

#: The longest way of a message: scheduled 30 days ahead, then its ttl.
REMEMBERED = 45 * DAY
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
    AND m.accepted_at <= $3 AND m.recalled_at IS NULL
"""
_BLANK_MESSAGES = """
UPDATE messages m SET content = at.content, user_ids = coalesce($5, m.user_ids), device_ids = NULL,
    recalled_at = coalesce(m.recalled_at, $6)
FROM unnest($1::int[], $2::bigint[], $3::int[], $4::bytea[]) AS at(day, home, place, content)
WHERE m.day = at.day AND m.home = at.home AND m.place = at.place
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

_decode = msgspec.msgpack.Decoder(Message).decode
_encode = msgspec.msgpack.Encoder().encode


async def erase_user(connection: Connection, app: str, user_id: str, now: Millis, *, in_flight: bool = False) -> bool:
    """In the caller's transaction: False where the ledger held nothing of this user, and nothing was on its way."""
    devices = await connection.fetch(_DEVICES, app, user_id)
    await hold(connection, *(device_lock(app, row["device_id"]) for row in devices))
    known = await connection.fetchval(_USER, app, user_id)
    for row in await connection.fetch(_DEVICES, app, user_id):
        await drop_device(connection, app, row["device_id"], row["epoch"], now)
    await connection.execute(_DELETE_USER, app, user_id)
    found = await _erase_traffic(connection, app, user_id, now)
    await connection.execute(_FORGET_LEARNED, app, f"u:{user_id}")
    if known or found or in_flight:
        await connection.execute(_REMEMBER, app, user_id, now)
    return bool(known) or found or in_flight


async def erase_lately(connection: Connection, since: Millis) -> None:
    """Repeats the erasures since then: what was in flight may have been archived meanwhile."""
    for app, user_id, at in await connection.fetch(_REMEMBERED_SINCE, since):
        async with connection.transaction():
            await _erase_traffic(connection, app, user_id, at)


async def erase_leftovers(connection: Connection, now: Millis) -> int:
    """Repeats remembered erasures for what was archived since; forgets the oldest. Number of those repeated."""
    rows = await connection.fetch(_REMEMBERED)
    for app, user_id, at in rows:
        async with connection.transaction():
            await _erase_traffic(connection, app, user_id, at)
    await connection.execute(_FORGET, now - REMEMBERED)
    return len(rows)


async def _erase_traffic(connection: Connection, app: str, user_id: str, until: Millis) -> bool:
    found = False
    while blanked := await connection.fetch(_BLANK_DELIVERIES, app, user_id, until, _AT_ONCE):
        found = True
        columns = list(zip(*blanked, strict=True))
        await _blank(connection, await connection.fetch(_ALONE, *columns), until, archived=True)
        await _blank_journal(connection, [(row["home"], row["place"]) for row in blanked])
    open_ones = await connection.fetch(_OPEN_ALONE, app, _encode([user_id]), until)
    await _blank(connection, open_ones, until, archived=False)
    await connection.execute(_BLANK_SMS, app, user_id, until)
    await connection.execute(_BLANK_JOINED, app, user_id, until)
    return found or bool(open_ones)


async def _blank_journal(connection: Connection, places: list[tuple[int, int]]) -> None:
    """Plans forget whose device it was; what remains of an entry tells of nobody."""
    theirs = set(places)
    homes = sorted({home for home, _ in places})
    rows = await connection.fetch(_JOURNAL, sorted({home_day(home) for home in homes}), homes)
    for day, home, seq, raw in rows:
        entry = read_entry(raw)
        devices = entry.columns.get("device_id")
        if entry.kind is not Kind.PLANNED or devices is None:
            continue
        blanked = [
            None if (home, place) in theirs else device
            for (place, _), device in zip(entry.members, devices, strict=True)
        ]
        if blanked != devices:
            columns = {**entry.columns, "device_id": blanked}
            written = write_entry(msgspec.structs.replace(entry, columns=columns))
            await connection.execute(_REWRITE, day, home, seq, written)


async def _blank(
    connection: Connection, rows: list[tuple[int, int, int, bytes]], at: Millis, *, archived: bool
) -> None:
    """Empties messages and marks them recalled: rebuilt after a lost hot store they end at once.

    Open ones keep their recipient, for their places must stay whole; they lose it once archived.
    """
    if rows:
        days, homes, places, contents = zip(*rows, strict=True)
        nobody = _encode([""]) if archived else None
        await connection.execute(
            _BLANK_MESSAGES, days, homes, places, [_emptied(content) for content in contents], nobody, at
        )


def _emptied(content: bytes) -> bytes:
    return _encode(_decode(content).emptied())
