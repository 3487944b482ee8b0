"""Accepting messages: the hot path's one write to the ledger.

A single statement takes the keys and stores messages and homes of those that were free; being one statement it is one
transaction and one round trip. Keys are written in sorted order, so two processes cannot deadlock on them.
"""

from collections.abc import Sequence

import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY, Millis
from dispatcher.domain.ids import home_day
from dispatcher.ledger.engine import Connection, ask
from dispatcher.ports.messages import Acceptance, Submission, Verdict

#: How long an id stays taken, from acceptance or from the due time where that is later.
KEYS_KEPT: Millis = 7 * DAY

_STORE = """
WITH taken AS (
    INSERT INTO message_keys AS k
        (app, message_id, content_hash, home, place, recipients, accepted_at, expires_at)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::int[], $6::int[], $7::bigint[],
        $8::bigint[])
    ON CONFLICT (app, message_id) DO UPDATE SET content_hash = excluded.content_hash, home = excluded.home,
        place = excluded.place, recipients = excluded.recipients, accepted_at = excluded.accepted_at,
        expires_at = excluded.expires_at
    WHERE k.expires_at <= $16
    RETURNING home, place
), stored AS (
    INSERT INTO messages (app, message_id, home, place, recipients, accepted_at, day, idx, class, due, content,
        user_ids, device_ids)
    SELECT m.* FROM unnest($1::text[], $2::text[], $4::bigint[], $5::int[], $6::int[], $7::bigint[], $9::int[],
        $10::int[], $11::text[], $12::bigint[], $13::bytea[], $14::bytea[], $15::bytea[])
        AS m(app, message_id, home, place, recipients, accepted_at, day, idx, class, due, content, user_ids, device_ids)
    JOIN taken USING (home, place)
), housed AS (
    INSERT INTO homes AS h (home, day, app, lane, size, due, accepted_at)
    SELECT * FROM unnest($17::bigint[], $18::int[], $19::text[], $20::text[], $21::int[], $22::bigint[], $23::bigint[])
        AS given(home, day, app, lane, size, due, accepted_at)
    WHERE home IN (SELECT home FROM taken)
    ON CONFLICT (day, home) DO UPDATE SET size = greatest(h.size, excluded.size), due = least(h.due, excluded.due)
)
SELECT home, place FROM taken
"""

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
_Row = tuple[object, ...]
_Key = tuple[str, str]


async def accept(engine: AsyncEngine, submissions: Sequence[Submission], now: Millis) -> list[Acceptance | Exception]:
    """See :meth:`dispatcher.ports.messages.Messages.accept`."""
    results: dict[int, Acceptance | Exception] = {}
    firsts: dict[_Key, int] = {}
    rows: dict[int, _Row] = {}
    echoes: list[tuple[int, int]] = []
    for number, submission in enumerate(submissions):
        key = (submission.message.app, submission.message.message_id)
        first = firsts.setdefault(key, number)
        if first != number:
            echoes.append((number, first))
            continue
        try:
            rows[number] = _row(submission, now)
        except (ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:
            results[number] = error
    group = sorted(rows, key=lambda number: (rows[number][0], rows[number][1]))
    results |= await _store(engine, submissions, rows, group, now)
    for number, first in echoes:
        results[number] = _echo(submissions[number], submissions[first], results[first])
    return [results[number] for number in range(len(submissions))]


async def _store(
    engine: AsyncEngine, submissions: Sequence[Submission], rows: dict[int, _Row], group: list[int], now: Millis
) -> dict[int, Acceptance | Exception]:
    """The group in one transaction; where a row spoils it, its halves."""
    if not group:
        return {}

    async def work(connection: Connection) -> dict[int, Acceptance | Exception]:
        return await _take(connection, submissions, rows, group, now)

    try:
        return await ask(engine, work)
    except _SPOILT as error:
        if len(group) == 1:
            return {group[0]: error}
    half = len(group) // 2
    first = await _store(engine, submissions, rows, group[:half], now)
    return first | await _store(engine, submissions, rows, group[half:], now)


async def _take(
    connection: Connection, submissions: Sequence[Submission], rows: dict[int, _Row], group: list[int], now: Millis
) -> dict[int, Acceptance | Exception]:
    columns = zip(*(rows[number] for number in group), strict=True)
    homes = zip(*_homes([submissions[number] for number in group]), strict=True)
    records = await connection.fetch(_STORE, *columns, now, *homes)
    taken = {(record[0], record[1]) for record in records}
    results: dict[int, Acceptance | Exception] = {}
    others = []
    for number in group:
        submission = submissions[number]
        if (submission.home, submission.place) in taken:
            results[number] = _acceptance(submission, Verdict.NEW)
        else:
            others.append(number)
    if others:
        results |= await _stood_before(connection, submissions, others)
    if vanished := [number for number in others if number not in results]:  # a key dropped for its age in between
        results |= await _take(connection, submissions, rows, vanished, now)
    return results


async def _stood_before(
    connection: Connection, submissions: Sequence[Submission], others: list[int]
) -> dict[int, Acceptance | Exception]:
    messages = [submissions[number].message for number in others]
    records = await connection.fetch(
        _STANDING, [message.app for message in messages], [message.message_id for message in messages]
    )
    standing = {(record["app"], record["message_id"]): record for record in records}
    results: dict[int, Acceptance | Exception] = {}
    for number in others:
        submission = submissions[number]
        record = standing.get((submission.message.app, submission.message.message_id))
        if record is None:
            continue
        if record["content_hash"] != submission.content_hash:
            verdict = Verdict.CONFLICT
        elif (record["home"], record["place"]) == (submission.home, submission.place):
            verdict = Verdict.NEW  # our own, from a try whose answer was lost
        else:
            verdict = Verdict.DUPLICATE
        results[number] = Acceptance(
            verdict=verdict,
            accepted_at=record["accepted_at"],
            home=record["home"],
            place=record["place"],
            recipients=record["recipients"],
        )
    return results


def _row(submission: Submission, now: Millis) -> _Row:
    """One submission as $1 to $15 of the statement have it."""
    message = submission.message
    return (
        message.app,
        message.message_id,
        submission.content_hash,
        submission.home,
        submission.place,
        len(submission.user_ids),
        message.accepted_at,
        max(now, submission.due) + KEYS_KEPT,
        home_day(submission.home),
        submission.index,
        message.klass,
        submission.due,
        _encode(message),
        _encode(submission.user_ids),
        None if submission.device_ids is None else _encode(submission.device_ids),
    )


def _homes(submissions: Sequence[Submission]) -> list[_Row]:
    """One row a home; its size reaches past the last place given out, holes included."""
    homes: dict[int, list[Submission]] = {}
    for submission in submissions:
        homes.setdefault(submission.home, []).append(submission)
    return [
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


def _acceptance(submission: Submission, verdict: Verdict) -> Acceptance:
    return Acceptance(
        verdict=verdict,
        accepted_at=submission.message.accepted_at,
        home=submission.home,
        place=submission.place,
        recipients=len(submission.user_ids),
    )


def _echo(submission: Submission, first: Submission, result: Acceptance | Exception) -> Acceptance | Exception:
    """The second one of the same id within a call, judged by the first and by what became of that."""
    if isinstance(result, Exception):
        return result
    same = submission.content_hash == first.content_hash
    if not same and result.verdict is Verdict.CONFLICT:
        return result
    return Acceptance(
        verdict=Verdict.DUPLICATE if same and result.verdict is not Verdict.CONFLICT else Verdict.CONFLICT,
        accepted_at=result.accepted_at,
        home=result.home,
        place=result.place,
        recipients=result.recipients,
    )
