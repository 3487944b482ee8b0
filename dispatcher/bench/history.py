"""A past to look at: messages, deliveries, journals and figures as months of work leave them, written by COPY.

Distinct users, devices and messages; six classes, three apps, every end and path; busy evenings, users of whom some get
hundreds of times what others get; homes of 20 to 500; messages to one, to a group and to many. What can be made by the
product's own encoders is.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from random import Random

import msgspec

from dispatcher.domain.clock import DAY, HOUR, MINUTE, SECOND, Millis
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.histogram import bucket_of
from dispatcher.domain.ids import make_home
from dispatcher.domain.journal import SORTS, Entry, Kind, receipt_entry, write_entry
from dispatcher.domain.message import Message, Priority, lane_of
from dispatcher.domain.paths import Path
from dispatcher.ports.operations import ENDS, OUTCOMES, Measure, Reached, Tier
from strategies.catalogue import FINGERPRINT, INDEX

APPS, APP_SHARES = ("im", "shop", "bank"), (90, 7, 3)
CLASSES, CLASS_SHARES = ("chat", "transactional", "campaign", "alert", "otp", "call"), (62, 14, 12, 6, 4, 2)
HOMES, HOME_SHARES = (20, 100, 500), (30, 60, 10)
#: Of a message: groups chat, campaigns go to many.
RECIPIENTS = {"chat": 5, "campaign": 50}
HOURS = (2, 1, 1, 1, 1, 2, 4, 6, 8, 9, 9, 10, 11, 10, 9, 9, 9, 10, 12, 14, 15, 13, 9, 5)
#: End, proof, path, how often; of a thousand.
FATES: tuple[tuple[End, Proof, Path | None, int], ...] = (
    (End.CONFIRMED, Proof.DELIVERED, Path.LONGCONN, 420),
    (End.CONFIRMED, Proof.DELIVERED, Path.APNS, 120),
    (End.CONFIRMED, Proof.OPENED, Path.APNS, 90),
    (End.CONFIRMED, Proof.OPENED, Path.LONGCONN, 80),
    (End.CONFIRMED, Proof.DISPLAYED, Path.FCM, 90),
    (End.CONFIRMED, Proof.DELIVERED, Path.POLL, 60),
    (End.CONFIRMED, Proof.DELIVERED, Path.SMS, 15),
    (End.EXPIRED, Proof.NONE, None, 55),
    (End.EXHAUSTED, Proof.NONE, None, 40),
    (End.SUPPRESSED, Proof.NONE, None, 25),
    (End.RECALLED, Proof.NONE, None, 5),
)
_FATE_SHARES = [share for *_, share in FATES]
PLATFORMS = ("ios", "android", "harmony")
_KEYS_FROM = 7 * DAY
_MINUTES_FROM = 3 * DAY

_message = msgspec.msgpack.Encoder().encode
_ROW = tuple([None] * len(INDEX))

COLUMNS = {
    "homes": "day home app lane size due accepted_at admitted archived_at",
    "messages": "day home place idx app message_id class recipients accepted_at due content user_ids",
    "message_keys": "app message_id content_hash home place recipients accepted_at expires_at",
    "deliveries": "day home place app user_id message_id class seq ended proof confirmed_by confirmed_at accepted_at "
    "settled_at strategy version rule platform body tracks attempted",
    "journal": "day home seq entry",
}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How much of a past. *now*: where it ends. Deterministic by day."""

    rows: int
    days: int
    users: int
    now: Millis

    def of_day(self, ago: int) -> int:
        """Deliveries of the day so many days back."""
        return self.rows // self.days + (self.rows % self.days if ago == 1 else 0)


#: As ``rollups`` has it, of the minute: app, minute, measure, class, path, platform, strategy, version, name.
Figure = tuple[str, Millis, int, str, int, str, str, int, int]


@dataclass
class Chunk:
    """Lines for each table, and what they add to the roll-ups."""

    lines: dict[str, list[bytes]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    figures: Counter[Figure] = field(default_factory=Counter)

    def sources(self) -> Iterator[tuple[str, BytesIO]]:
        """Table and lines, of those that have any."""
        for name, lines in self.lines.items():
            if lines:
                yield name, BytesIO(b"".join(lines))


def chunks(shape: Shape, ago: int, *, at_once: int = 20_000) -> Iterator[Chunk]:
    """The day so many days back (from 1), oldest first."""
    dice = Random(ago)
    day = shape.now // DAY - ago
    left = shape.of_day(ago)
    moments = sorted(
        day * DAY + dice.choices(range(24), HOURS)[0] * HOUR + dice.randrange(HOUR) for _ in range(left // 20 + 1)
    )
    chunk, filled = Chunk(), 0
    for number, at in enumerate(moments):
        size = min(dice.choices(HOMES, HOME_SHARES)[0], left)
        if not size:
            break
        app, klass = dice.choices(APPS, APP_SHARES)[0], dice.choices(CLASSES, CLASS_SHARES)[0]
        _fill(chunk, shape, dice, _Home(app, klass, day, make_home(at, number, number % 64), at), size)
        left -= size
        filled += size
        if filled >= at_once:
            yield chunk
            chunk, filled = Chunk(), 0
    if filled:
        yield chunk


@dataclass(frozen=True, slots=True)
class _Home:
    """What all of a home's deliveries share; they are of one class here."""

    app: str
    klass: str
    day: int
    home: int
    at: Millis

    @property
    def version(self) -> int:
        """Of the strategy that was live then."""
        return self.day % 9 + 1


#: Stands for a message's id in what is written once a home; of the same length.
_SAME_LENGTH = "#" * 20
Member = tuple[int, str, str, End, Proof, Path | None]


def _message_id(home: _Home, place: int) -> str:
    return f"{home.home:017x}{place:03x}"


def _fill(chunk: Chunk, shape: Shape, dice: Random, home: _Home, size: int) -> None:
    """One home with *size* deliveries."""
    lane, lines = lane_of(home.klass, Priority.NORMAL), chunk.lines
    app, klass, at = home.app.encode(), home.klass.encode(), home.at
    lines["homes"].append(b"%d\t%d\t%b\t%b\t%d\t%d\t%d\tt\t%d\n" % (
        home.day, home.home, app, lane.encode(), size, at, at, at + 30 * SECOND))  # fmt: skip
    body, content = _written(home)
    recent = shape.now - at < _KEYS_FROM
    many = RECIPIENTS.get(home.klass, 1)
    members: list[Member] = []
    for index, place in enumerate(range(0, size, many)):
        message_id = _message_id(home, place).encode()
        users = [b"u%07d" % (shape.users * dice.random() ** 2.5) for _ in range(min(many, size - place))]
        packed = bytes((0xDC, 0, len(users))) + b"".join(b"\xa8" + user for user in users)  # msgpack, array 16
        lines["messages"].append(b"%d\t%d\t%d\t%d\t%b\t%b\t%b\t%d\t%d\t%d\t\\\\x%b\t\\\\x%b\n" % (
            home.day, home.home, place, index, app, message_id, klass, len(users), at, at,
            content.replace(_HEXED, message_id.hex().encode()), packed.hex().encode()))  # fmt: skip
        if recent:
            lines["message_keys"].append(b"%b\t%b\t\\\\x%032x\t%d\t%d\t%d\t%d\t%d\n" % (
                app, message_id, home.home << 16 | place, home.home, place, len(users), at,
                at + _KEYS_FROM))  # fmt: skip
        own = body.replace(_PLAIN, message_id)
        for offset, user in enumerate(users):
            members.append(_delivery(lines["deliveries"], dice, home, message_id, own, user, place + offset))
    _count(chunk.figures, home, members, dice)
    for sequence, entry in enumerate(_journal(members, at, home.klass), 1):
        lines["journal"].append(b"%d\t%d\t%d\t\\\\x%b\n" % (home.day, home.home, sequence, entry.hex().encode()))


_PLAIN, _HEXED = _SAME_LENGTH.encode(), _SAME_LENGTH.encode().hex().encode()


def _written(home: _Home) -> tuple[bytes, bytes]:
    """A message's body, and its content as a hexadecimal text; both with the id's stand-in."""
    text, data = f"Are you there? It is day {home.day}.", {"conversation_id": f"c{home.home % 99991}"}
    body = (
        f'"message_id":"{_SAME_LENGTH}","class":"{home.klass}","notification":{{"title":"Wang","body":"{text}",'
        f'"badge":3}},"data":{{"conversation_id":"{data["conversation_id"]}"}},"sent_at":{home.at}'
    ).encode()
    message = Message(
        app=home.app,
        message_id=_SAME_LENGTH,
        klass=home.klass,
        priority=Priority.NORMAL,
        body=body,
        accepted_at=home.at,
        expires_at=home.at + DAY,
        notification={"title": "Wang", "body": text, "badge": 3},
        data=data,
    )
    return body, _message(message).hex().encode()


def _delivery(
    lines: list[bytes], dice: Random, home: _Home, message_id: bytes, body: bytes, user: bytes, place: int
) -> Member:
    end, proof, path, _ = _OF_A_THOUSAND[int(dice.random() * 1_000)]
    platform = "ios" if path is Path.APNS else "android" if path is Path.FCM else PLATFORMS[user[-1] % 3]
    at = home.at
    settled = at + int(40 * 2 ** (dice.random() * 12)) if path else at + HOUR
    tried = end >= End.EXPIRED and end is not End.RECALLED
    tracks = _TRACKS % (user, platform.encode(), (path or Path.APNS).encode(), _PROOFS[proof]) if tried else b"[]"
    lines.append(
        b"%d\t%d\t%d\t%b\t%b\t%b\t%b\t%d\t%d\t%d\t%d\t%b\t%d\t%d\tdefault\t%d\teveryone\t%b\t%b\t%b\t%b\n" % (
            home.day, home.home, place, home.app.encode(), user, message_id, home.klass.encode(), at * 1_000 + place,
            end, proof, path.code if path else 0, b"%d" % settled if path else b"\\N", at, settled, home.version,
            platform.encode(), b"" if end is End.RECALLED else body, tracks, b"t" if tried else b"f"))  # fmt: skip
    return place, f"{user.decode()}-d", platform, end, proof, path


_OF_A_THOUSAND = [fate for fate in FATES for _ in range(fate[3])]
_PROOFS = {proof: proof.name.lower().encode() for proof in Proof}
_TRACKS = (
    b'[{"device_id":"%b-d","platform":"%b","state":"waiting","path":"%b","step":1,"attempt":0,"proof":"%b",'
    b'"rule":"everyone"}]'
)


def _count(figures: Counter[Figure], home: _Home, members: Sequence[Member], dice: Random) -> None:
    """What the ledger's triggers would: by minute."""
    minute = home.at - home.at % MINUTE
    figures[home.app, minute, Measure.ACCEPTED, home.klass, 0, "", "", 0, 0] += len(members)
    for (platform, end, proof, path), times in Counter(member[2:] for member in members).items():
        tried = end >= End.EXPIRED and end is not End.RECALLED
        reached = Reached.OPENED if proof is Proof.OPENED else Reached.DELIVERED if proof else Reached(tried)
        code, version = path.code if path else 0, home.version
        common = (home.klass, code, platform, "default", version)
        figures[home.app, minute, Measure.ENDED, *common, end + ENDS * reached] += times
        if tried:
            attempted = (path or Path.APNS).code
            figures[home.app, minute, Measure.OUTCOME, home.klass, attempted, platform, "default", version, 1] += times
        if path is not None:
            figures[home.app, minute, Measure.PROOF, *common, bucket_of(900) + dice.randrange(4)] += times


def _journal(members: Sequence[Member], at: Millis, klass: str) -> Iterator[bytes]:
    """What the pipeline writes of such a home: planned, attempted, answered, received."""
    explanation = {"strategy": "default", "version": 1, "rule": f"everyone-{klass}", "skipped": []}
    yield write_entry(
        Entry(
            kind=Kind.PLANNED,
            at=at + 2,
            members=[(place, 0) for place, *_ in members],
            shared={"explanations": [explanation], "catalogue": FINGERPRINT},
            columns={
                "device_id": [device for _, device, *_ in members],
                "platform": [platform for _, _, platform, *_ in members],
                "explanation": [0] * len(members),
                "row": [_ROW] * len(members),
            },
        )
    )
    by_path: dict[Path, list[Member]] = {}
    for member in members:
        if member[5] is not None:
            by_path.setdefault(member[5], []).append(member)
    for path, theirs in by_path.items():
        places = [(place, 0) for place, *_ in theirs]
        yield write_entry(Entry(kind=Kind.ATTEMPTED, at=at + 4, members=places, path=path))
        yield write_entry(
            Entry(
                kind=Kind.OUTCOME,
                at=at + 40,
                members=places,
                path=path,
                shared={SORTS: [(klass, "ios", "default", 1)]},
                columns={"outcome": [OUTCOMES[0]] * len(places), "reason": [None] * len(places)},
            )
        )
        rows = [(place, 0, proof, path, False, True) for place, _, _, _, proof, _ in theirs]
        yield write_entry(receipt_entry(at + 900, rows))


def rollup_lines(figures: Counter[Figure], tier: Tier, now: Millis) -> BytesIO:
    """Of ``rollups``, as long as their tier is kept."""
    found: Counter[Figure] = Counter()
    for figure, count in figures.items():
        minute = figure[1]
        if tier is not Tier.MINUTES or minute >= now - _MINUTES_FROM:
            found[(figure[0], minute - minute % tier.step, *figure[2:])] += count
    lines = ["\t".join(map(str, (app, tier.value, *rest, count))) for (app, *rest), count in sorted(found.items())]
    return BytesIO("\n".join([*lines, ""]).encode())
