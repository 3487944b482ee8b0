"""Accepting messages: the hot path's one write to the ledger.

A single statement takes the keys and stores messages and homes of those that were free; being one statement it is one
transaction and one round trip. Keys are written in sorted order, so two processes cannot deadlock on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec

from dispatcher.domain.clock import DAY, Millis
from dispatcher.domain.ids import home_day
from dispatcher.ledger.columns import as_integers, as_texts, integers, optional_bytes, texts
from dispatcher.ledger.driver import Connection, Source, ask
from dispatcher.ports.messages import Acceptance, Submission, Verdict

#: How long an id stays taken, from acceptance or from the due time where that is later.
KEYS_KEPT: Millis = 7 * DAY

_STORE = f"""
WITH taken AS (
    INSERT INTO message_keys AS k
        (app, message_id, content_hash, home, place, recipients, accepted_at, expires_at)
    SELECT * FROM unnest({as_texts(1)}, {as_texts(2)}, $3::bytea[], {as_integers(4)}, {as_integers(5, "int")},
        {as_integers(6, "int")}, {as_integers(7)}, {as_integers(8)})
    ON CONFLICT (app, message_id) DO UPDATE SET content_hash = excluded.content_hash, home = excluded.home,
        place = excluded.place, recipients = excluded.recipients, accepted_at = excluded.accepted_at,
        expires_at = excluded.expires_at
    WHERE k.expires_at <= $16
    RETURNING home, place
), stored AS (
    INSERT INTO messages (app, message_id, home, place, recipients, accepted_at, day, idx, class, due, content,
        user_ids, device_ids)
    SELECT m.* FROM unnest({as_texts(1)}, {as_texts(2)}, {as_integers(4)}, {as_integers(5, "int")},
        {as_integers(6, "int")}, {as_integers(7)}, {as_integers(9, "int")}, {as_integers(10, "int")}, {as_texts(11)},
        {as_integers(12)}, $13::bytea[], $14::bytea[], $15::bytea[])
        AS m(app, message_id, home, place, recipients, accepted_at, day, idx, class, due, content, user_ids, device_ids)
    JOIN taken USING (home, place)
), housed AS (
    INSERT INTO homes AS h (home, day, app, lane, size, due, accepted_at)
    SELECT * FROM unnest($17::bigint[], $18::int[], $19::text[], $20::text[], $21::int[], $22::bigint[], $23::bigint[])
        AS given(home, day, app, lane, size, due, accepted_at)
    WHERE home IN (SELECT home FROM taken)
    ON CONFLICT (day, home) DO UPDATE SET size = greatest(h.size, excluded.size), due = least(h.due, excluded.due)
)
SELECT count(*) FROM taken
"""  # noqa: S608

#: Primary key of message_keys.
_STANDING = """
SELECT k.app, k.message_id, k.content_hash, k.home, k.place, k.recipients, k.accepted_at
FROM unnest($1::text[], $2::text[]) AS asked(app, message_id) JOIN message_keys k USING (app, message_id)
"""

#: A row's own fault, found by the server or while it was encoded. Anything else fails the whole call.
_SPOILT = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    ValueError,
    TypeError,
    OverflowError,
)

_encode = msgspec.msgpack.Encoder().encode
_Verdicts = dict[int, Acceptance | Exception]


@dataclass(frozen=True, slots=True)
class _Packed:
    """A submission with its contents as the ledger keeps them; ``number``: where it stands in the call."""

    number: int
    submission: Submission
    content: bytes
    user_ids: bytes
    device_ids: bytes | None


async def accept(engine: Source, submissions: Sequence[Submission], now: Millis) -> list[Acceptance | Exception]:
    """See :meth:`dispatcher.ports.messages.Messages.accept`."""
    verdicts: _Verdicts = {}
    waiting = list(enumerate(submissions))
    while waiting:  # again only for ids that stand in the call more than once: the later ones meet the first's key
        group: dict[tuple[str, str], _Packed] = {}
        later = []
        for number, submission in waiting:
            key = _key(submission)
            if key in group:
                later.append((number, submission))
                continue
            try:
                group[key] = _pack(number, submission)
            except (ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:
                verdicts[number] = error
        verdicts |= await _store(engine, [group[key] for key in sorted(group)], now)
        waiting = later
    return [verdicts[number] for number in range(len(submissions))]


async def _store(engine: Source, group: list[_Packed], now: Millis) -> _Verdicts:
    """The group, sorted by key, in one transaction; where a row spoils it, its halves."""
    if not group:
        return {}

    async def work(connection: Connection) -> _Verdicts:
        return await _take(connection, group, now)

    try:
        return await ask(engine, work)
    except _SPOILT as error:
        if len(group) == 1:
            return {group[0].number: error}
    half = len(group) // 2
    return await _store(engine, group[:half], now) | await _store(engine, group[half:], now)


async def _take(connection: Connection, group: list[_Packed], now: Millis) -> _Verdicts:
    taken = await connection.fetchval(_STORE, *_columns(group, now), now, *_homes(group))
    if taken == len(group):
        return {packed.number: _new(packed.submission) for packed in group}
    verdicts = await _standing(connection, group)
    if vanished := [packed for packed in group if packed.number not in verdicts]:  # a key dropped for its age just now
        verdicts |= await _take(connection, vanished, now)
    return verdicts


async def _standing(connection: Connection, group: list[_Packed]) -> _Verdicts:
    """Whose the keys are now: ours, since just now or since a try whose answer was lost, or another's."""
    messages = [packed.submission.message for packed in group]
    records = await connection.fetch(
        _STANDING, [message.app for message in messages], [message.message_id for message in messages]
    )
    standing = {(record["app"], record["message_id"]): record for record in records}
    found = ((packed, standing.get(_key(packed.submission))) for packed in group)
    return {packed.number: _verdict(packed.submission, record) for packed, record in found if record is not None}


def _verdict(submission: Submission, record: Any) -> Acceptance:
    if record["content_hash"] != submission.content_hash:
        verdict = Verdict.CONFLICT
    elif (record["home"], record["place"]) == (submission.home, submission.place):
        verdict = Verdict.NEW
    else:
        verdict = Verdict.DUPLICATE
    return Acceptance(
        verdict=verdict,
        accepted_at=record["accepted_at"],
        home=record["home"],
        place=record["place"],
        recipients=record["recipients"],
    )


def _new(submission: Submission) -> Acceptance:
    return Acceptance(
        verdict=Verdict.NEW,
        accepted_at=submission.message.accepted_at,
        home=submission.home,
        place=submission.place,
        recipients=len(submission.user_ids),
    )


def _key(submission: Submission) -> tuple[str, str]:
    return submission.message.app, submission.message.message_id


def _pack(number: int, submission: Submission) -> _Packed:
    devices = submission.device_ids
    return _Packed(
        number,
        submission,
        _encode(submission.message),
        _encode(submission.user_ids),
        None if devices is None else _encode(devices),
    )


def _columns(group: list[_Packed], now: Millis) -> list[object]:
    """$1 to $15 of the statement."""
    submissions = [packed.submission for packed in group]
    messages = [submission.message for submission in submissions]
    days = {home: home_day(home) for home in {submission.home for submission in submissions}}
    return [
        texts([message.app for message in messages]),
        texts([message.message_id for message in messages]),
        [submission.content_hash for submission in submissions],
        integers([submission.home for submission in submissions]),
        integers([submission.place for submission in submissions]),
        integers([len(submission.user_ids) for submission in submissions]),
        integers([message.accepted_at for message in messages]),
        integers([max(now, submission.due) + KEYS_KEPT for submission in submissions]),
        integers([days[submission.home] for submission in submissions]),
        integers([submission.index for submission in submissions]),
        texts([message.klass for message in messages]),
        integers([submission.due for submission in submissions]),
        [packed.content for packed in group],
        [packed.user_ids for packed in group],
        optional_bytes([packed.device_ids for packed in group]),
    ]


def _homes(group: list[_Packed]) -> list[list[object]]:
    """$17 to $23: one row a home. Its size reaches past the last place given out, holes included."""
    homes: dict[int, list[Submission]] = {}
    for packed in group:
        homes.setdefault(packed.submission.home, []).append(packed.submission)
    rows = [
        (
            home,
            home_day(home),
            members[0].message.app,
            members[0].message.lane.value,
            max(member.place + len(member.user_ids) for member in members),
            min(member.due for member in members),
            min(member.message.accepted_at for member in members),
        )
        for home, members in homes.items()
    ]
    return [list(column) for column in zip(*rows, strict=True)]
