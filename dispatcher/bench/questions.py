"""What is asked of a ledger that holds much: one door of the API with all its filters after the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from dispatcher.bench.fill import number_of
from dispatcher.bench.history import CLASSES, Shape
from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import DAY, HOUR, MINUTE, Millis, rfc3339
from dispatcher.domain.ids import make_home
from dispatcher.ledger.engine import Connection, ask

#: Address and query of one round.
Question = Callable[[Random], tuple[str, Mapping[str, str]]]
_SEEN = 200


@dataclass(frozen=True, kw_only=True)
class Past:
    """Where to ask: some messages of the last week and of before."""

    shape: Shape
    recent: Sequence[tuple[str, str]]  #: message and one of its recipients
    old: Sequence[tuple[str, str]]
    many: Sequence[tuple[str, str]]

    @classmethod
    async def seen(cls, stores: Stores, shape: Shape) -> "Past":
        """A sample of what is stored."""
        today = shape.now // DAY

        async def work(connection: Connection) -> "Past":
            async def some(more: str, *days: int) -> list[tuple[str, str]]:
                rows = await connection.fetch(
                    "SELECT message_id, user_id FROM deliveries WHERE app = 'im' AND day BETWEEN $1 AND $2 "  # noqa: S608
                    f"AND place % 7 = 3 AND {more} LIMIT {_SEEN}",
                    *days,
                )
                return [(row["message_id"], row["user_id"]) for row in rows]

            recent = await some("class = 'chat'", today - 6, today - 1)
            old = await some("class <> 'campaign'", 0, today - min(9, shape.days - 1))
            many = await some("class = 'campaign'", today - 6, today - 1)
            return cls(shape=shape, recent=recent, old=old, many=many or recent)

        return await ask(stores.engine, work)

    def user(self, dice: Random) -> str:
        """Anybody; those with much traffic more often."""
        return f"u{int(self.shape.users * dice.random() ** 2.5):07d}"

    def moment(self, dice: Random) -> Millis:
        """Some time in the past."""
        return self.shape.now - dice.randrange(DAY, (self.shape.days - 1) * DAY)

    def page(self, dice: Random) -> str:
        """A page's ``next`` from deep inside."""
        return f"{make_home(self.moment(dice), 0, 0):016x}0000"


def questions(past: Past) -> dict[str, Question]:
    """By name."""
    return {**_figures(past), **_listings(past), **_messages(past), **_people(past)}


def _figures(past: Past) -> dict[str, Question]:
    now = past.shape.now

    def since(span: Millis, **more: str) -> Question:
        return lambda dice: ("/v1/stats", {"from": rfc3339(now - span), "to": rfc3339(now), **more})

    every = "class,path,platform,strategy"
    return {
        "stats_day": since(DAY),
        "stats_3h_by_minute": since(3 * HOUR, by="time", step="1m"),
        "stats_day_by_everything": since(DAY, by=every),
        "stats_week_by_hour": since(7 * DAY, by="time,path", step="1h"),
        "stats_month_by_day_and_class": since(30 * DAY, by="time,class", step="1d"),
        "stats_month_by_everything": since(30 * DAY, by=every),
        "stats_of_a_class": since(7 * DAY, by="path", **{"class": "otp"}),
        "books": lambda dice: ("/v1/books", {}),
    }


def _listings(past: Past) -> dict[str, Question]:
    def listed(**given: Callable[[Random], str] | str) -> Question:
        return lambda dice: (
            "/v1/deliveries",
            {name.rstrip("_"): value(dice) if callable(value) else value for name, value in given.items()},
        )

    def letters(**given: Callable[[Random], str] | str) -> Question:
        asked = listed(**given)
        return lambda dice: ("/v1/dead-letters", asked(dice)[1])

    def between(span: Millis, **given: Callable[[Random], str] | str) -> Question:
        asked = listed(**given)

        def question(dice: Random) -> tuple[str, Mapping[str, str]]:
            at = past.moment(dice)
            return "/v1/deliveries", {"from": rfc3339(at), "to": rfc3339(at + span), **asked(dice)[1]}

        return question

    def klass(dice: Random) -> str:
        return dice.choice(CLASSES)

    return {
        "deliveries": listed(limit="50"),
        "deliveries_open": listed(state="open", limit="50"),
        "deliveries_open_200": listed(state="open", limit="200"),
        "deliveries_held": listed(state="held,scheduled"),
        "deliveries_confirmed": listed(state="confirmed"),
        "deliveries_recalled": listed(state="recalled", limit="200"),
        "deliveries_of_class": listed(class_=klass),
        "deliveries_of_no_class": listed(class_="nothing"),
        "deliveries_class_and_state": listed(class_=klass, state="expired,exhausted"),
        "deliveries_deep": listed(before=past.page),
        "deliveries_deep_200": listed(before=past.page, limit="200"),
        "deliveries_deep_class_state": listed(before=past.page, class_=klass, state="suppressed"),
        "deliveries_of_user": listed(user_id=past.user),
        "deliveries_of_busiest_user": listed(user_id="u0000000", limit="200"),
        "deliveries_of_busiest_user_rare": listed(user_id="u0000000", class_="call", state="recalled"),
        "deliveries_of_busiest_user_deep": listed(user_id="u0000000", before=past.page),
        "deliveries_of_nobody": listed(user_id="nobody"),
        "deliveries_of_device": listed(device_id=lambda dice: f"{past.user(dice)}-d"),
        "deliveries_of_device_and_class": listed(device_id="u0000000-d", class_="otp", state="exhausted"),
        "deliveries_5_minutes": between(5 * MINUTE),
        "deliveries_5_minutes_class_state": between(5 * MINUTE, class_=klass, state="exhausted"),
        "deliveries_day_of_user": between(DAY, user_id=past.user),
        "deliveries_hour_open": between(HOUR, state="open"),
        "dead_letters": letters(),
        "dead_letters_of_class": letters(class_=klass),
        "dead_letters_of_user": letters(user_id=past.user),
        "dead_letters_deep": letters(before=past.page, limit="200"),
    }


def _messages(past: Past) -> dict[str, Question]:
    def open_one(dice: Random) -> str:
        return f"open-{dice.randrange(10_000)}"

    def message(sample: Sequence[tuple[str, str]]) -> Question:
        return lambda dice: (f"/v1/messages/{dice.choice(sample)[0]}", {})

    def timeline(sample: Sequence[tuple[str, str]]) -> Question:
        def question(dice: Random) -> tuple[str, Mapping[str, str]]:
            name, user = dice.choice(sample)
            return f"/v1/messages/{name}/timeline", {"user_id": user}

        return question

    return {
        "message_recent": message(past.recent),
        "message_old": message(past.old),
        "message_of_many": message(past.many),
        "message_open": lambda dice: (f"/v1/messages/{open_one(dice)}", {}),
        "timeline_recent": timeline(past.recent),
        "timeline_old": timeline(past.old),
        "timeline_of_many": timeline(past.many),
        "timeline_open": lambda dice: (f"/v1/messages/{open_one(dice)}/timeline", {}),
    }


def _people(past: Past) -> dict[str, Question]:
    def inbox(window: str, limit: int = 50) -> Question:
        return lambda dice: ("/v1/inbox", {"user_id": past.user(dice), "window": window, "limit": str(limit)})

    def number(dice: Random) -> str:
        return number_of(dice.randrange(past.shape.users))

    def users(query: Callable[[Random], str]) -> Question:
        return lambda dice: ("/v1/users", {"query": query(dice)})

    return {
        "inbox_recent": inbox("recent"),
        "inbox_month": inbox("month"),
        "inbox_archive": inbox("archive"),
        "inbox_of_busiest_user": lambda dice: (
            "/v1/inbox", {"user_id": "u0000000", "window": "month", "limit": "200"},
        ),
        "users": lambda dice: ("/v1/users", {"limit": "200"}),
        "users_by_beginning": users(lambda dice: past.user(dice)[:5]),
        "users_by_number": users(number),
        "users_by_device": users(lambda dice: f"{past.user(dice)}-d"),
        "users_none": users(lambda dice: "zz"),
        "users_deep": lambda dice: ("/v1/users", {"before": past.user(dice), "limit": "200"}),
        "devices": lambda dice: ("/v1/devices", {"limit": "200"}),
        "devices_of_user": lambda dice: ("/v1/devices", {"user_id": past.user(dice)}),
        "audit": lambda dice: ("/v1/audit", {}),
    }  # fmt: skip
