"""Recorded traffic by the million, written the way the pipeline leaves it: for simulations to read.

Homes of 200 deliveries with their messages and journal (planned with the whole catalogue, attempts, outcomes, receipts,
escalations). Distinct users and facts; every fifth delivery is for two phones, six in ten attempts prove it, every
eighth goes as far as an SMS. What a simulation does not read (keys, settled rows) is not written.
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec

from dispatcher.domain.clock import DAY, SECOND, Millis
from dispatcher.domain.delivery import Proof
from dispatcher.domain.ids import home_day, make_home
from dispatcher.domain.journal import SORTS, Entry, Kind, receipt_entry, write_entry
from dispatcher.domain.message import Message, Priority
from dispatcher.domain.paths import Path
from dispatcher.domain.plan import AT_ONCE
from dispatcher.ledger.engine import Connection
from dispatcher.ledger.partitions import make_partitions
from strategies.bench import devices
from strategies.catalogue import FINGERPRINT, INDEX, WRITTEN_PATHS
from strategies.facts import Row

HOME_SIZE = 200
_POOL = 5_000
_AT_ONCE = 50  #: homes a COPY
_COLUMNS = {
    "homes": ("day", "home", "app", "lane", "size", "due", "accepted_at", "admitted", "archived_at"),
    "messages": (
        *("day", "home", "place", "idx", "app", "message_id", "class", "recipients", "accepted_at", "due"),
        *("content", "user_ids"),
    ),
    "journal": ("day", "home", "seq", "entry"),
}
_VARIED = [INDEX[f"device.p95_s.{path}"] for path in WRITTEN_PATHS] + [INDEX["device.last_seen_s"]]
_PRESENCE, _PLATFORM = INDEX["device.presence"], INDEX["device.platform"]
_pack = msgspec.msgpack.Encoder().encode
Rows = dict[str, list[tuple[Any, ...]]]


async def fill(connection: Connection, app: str, deliveries: int, until: Millis) -> Millis:
    """Writes so many deliveries, spread over the day that ends with *until*; answers when the first was accepted."""
    homes = max(deliveries // HOME_SIZE, 1)
    since = until - DAY
    dice = random.Random(5)
    await make_partitions(connection, since - DAY)
    pool = devices(_POOL)
    for first in range(0, homes, _AT_ONCE):
        rows: Rows = defaultdict(list)
        for number in range(first, min(first + _AT_ONCE, homes)):
            _home(rows, app, number, since + number * DAY // homes, pool, dice)
        for table, records in rows.items():
            await connection.copy_records_to_table(table, records=records, columns=_COLUMNS[table])
    await connection.execute("ANALYZE homes, messages, journal")
    return since


def _home(rows: Rows, app: str, number: int, now: Millis, pool: list[Row], dice: random.Random) -> None:
    home = make_home(now, number, number % 8)
    day = home_day(home)
    rows["homes"].append((day, home, app, "interactive", HOME_SIZE, now, now, True, now + 3_600 * SECOND))
    members: list[tuple[int, int]] = []
    facts: list[Row] = []
    for place in range(HOME_SIZE):
        user = f"u{number * HOME_SIZE + place}"
        message = _message(app, f"sim-{number}-{place}", now, number * HOME_SIZE + place)
        rows["messages"].append(
            (day, home, place, place, app, message.message_id, "chat", 1, now, now, _pack(message), _pack([user]))
        )
        for track in range(2 if place % 5 == 4 else 1):
            members.append((place, track))
            facts.append(_varied(dice.choice(pool), dice))
    entries = [_planned(now + 20, members, facts, dice), *_happened(now + 30, members, facts, dice)]
    rows["journal"] += [(day, home, sequence, write_entry(entry)) for sequence, entry in enumerate(entries)]


def _message(app: str, message_id: str, now: Millis, number: int) -> Message:
    notification = {"title": "Wang", "body": f"Are you there? This is message {number} of the recorded day."}
    body = msgspec.json.encode({"message_id": message_id, "class": "chat", "notification": notification})[1:-1]
    return Message(
        app=app,
        message_id=message_id,
        klass="chat",
        priority=Priority.NORMAL,
        body=body,
        accepted_at=now,
        expires_at=now + DAY,
        notification=notification,
        data={"conversation_id": f"c{number % 50_000}"},
        collapse_key=f"c{number % 50_000}",
    )


def _varied(row: Row, dice: random.Random) -> Row:
    values = list(row)
    for place in _VARIED:
        values[place] = dice.random() * 60
    return tuple(values)


def _planned(at: Millis, members: list[tuple[int, int]], facts: list[Row], dice: random.Random) -> Entry:
    explanations = [
        {"strategy": "default", "version": 1, "rule": f"r{one}", "because": "it held", "facts": {}, "skipped": []}
        for one in range(10)
    ]
    return Entry(
        kind=Kind.PLANNED,
        at=at,
        members=members,
        shared={"explanations": explanations, "catalogue": FINGERPRINT},
        columns={
            "device_id": [f"device-{place}-{track}-{dice.randrange(10**9)}" for place, track in members],
            "platform": [row[_PLATFORM] for row in facts],
            "explanation": [dice.randrange(10) for _ in members],
            "row": facts,
        },
    )


def _happened(at: Millis, members: list[tuple[int, int]], facts: list[Row], dice: random.Random) -> Iterator[Entry]:
    """Climbs the same ladder with all: longconn, the vendor's path, poll, sms; each proves six in ten."""
    left = list(zip(members, facts, strict=True))
    for rung, wait in enumerate((10 * SECOND, 30 * SECOND, 1_800 * SECOND, 120 * SECOND)):
        groups: dict[Path, list[tuple[tuple[int, int], Row]]] = defaultdict(list)
        for member, row in left:
            path = _path(rung, row)
            if path is not None:
                groups[path].append((member, row))
        gone = []
        for path, tried in groups.items():
            step, where = rung * AT_ONCE, [member for member, _ in tried]
            yield Entry(kind=Kind.ATTEMPTED, at=at, members=where, path=path, step=step)
            yield Entry(
                kind=Kind.OUTCOME,
                at=at + 40,
                members=where,
                path=path,
                step=step,
                shared={SORTS: [["chat", "android", "default", 1]]},
                columns={"outcome": ["handed_over"] * len(where), "reason": [None] * len(where)},
            )
            proven = [member for member in where if dice.random() < 0.6]
            for start in range(0, len(proven), 10):  # receipts come a few at a time
                some = proven[start : start + 10]
                moment = at + 50 + dice.randrange(wait)
                yield receipt_entry(moment, [(*one, Proof.DELIVERED, path, False, True) for one in some])
            gone += [(member, path) for member in where if member not in set(proven)]
        if gone:
            yield Entry(
                kind=Kind.ESCALATED,
                at=at + wait,
                members=[member for member, _ in gone],
                columns={
                    "step": [rung * AT_ONCE] * len(gone),
                    "path": [path for _, path in gone],
                    "reason": ["timeout"] * len(gone),
                },
            )
        kept = {member for member, _ in gone}
        left = [case for case in left if case[0] in kept or _path(rung, case[1]) is None]
        at += wait


def _path(rung: int, row: Row) -> Path | None:
    match rung:
        case 0:
            return Path.LONGCONN if row[_PRESENCE] == "online" else None
        case 1:
            return {"ios": Path.APNS, "android": Path.FCM}.get(str(row[_PLATFORM]))
        case 2:
            return Path.POLL
        case _:
            return Path.SMS
