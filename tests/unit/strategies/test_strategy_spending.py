"""A simulation's SMS stay inside the limits of the strategy that is tried, and what a limit held is counted apart."""

from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.compile import Strategy, compile_strategy
from strategies.course import RecordedDelivery
from strategies.document import SmsLimits, parse_document
from strategies.facts import row_from
from strategies.limits import Rate
from strategies.replay import Evidence, RecordedTrack
from strategies.simulate import Simulation, simulate
from strategies.spending import Spending, Whom

MINUTE = 60_000
FACTS = row_from(
    {"message.class": "chat", "device.platform": "none", "user.has_phone": True, "user.phone_verified": True}
)
PROVEN_BY_SMS = RecordedTrack(FACTS, {"sms": Evidence(1_000)})


def strategy(limits: str, version: int = 1) -> Strategy:
    source = f"strategy: t\nlimits: {{sms: {{{limits}}}}}\nrules: [{{name: all, ladder: [{{path: sms}}]}}]"
    return compile_strategy(parse_document(source), "t", version)


def deliveries(count: int, *, users: int, apart_ms: int = 100, segments: int = 1) -> list[RecordedDelivery]:
    return [
        RecordedDelivery(f"d{n}", f"m{n}", f"u{n % users}", (PROVEN_BY_SMS,), segments, planned_ms=n * apart_ms)
        for n in range(count)
    ]


def test_a_draft_that_would_send_more_than_its_budget_shows_at_most_the_budget() -> None:
    free, tight = strategy("budget: 1000000 segments/1d"), strategy("budget: 1000 segments/1d", 2)

    result = simulate(free, tight, deliveries(20_000, users=20_000))

    assert result["sms_segments"] == {"old": 20_000, "new": 1_000}
    assert result["sms_limited"] == {"old": 0, "new": 19_000, "by": [{"limit": "budget", "old": 0, "new": 19_000}]}
    assert result["confirmed"] == {"old": 20_000, "new": 1_000}
    assert result["changes"][0]["new"]["sms_limited"] == "budget"
    assert result["changes"][0]["new"]["paths"] == []


def test_a_budget_counts_segments_and_fills_again_with_time() -> None:
    result = simulate(
        strategy("budget: 9 segments/1m"),
        strategy("per_user: 1/1m"),
        deliveries(100, users=50, apart_ms=6_000, segments=2),
    )

    # ten minutes of 10 SMS each: 4 of two segments fit into a minute's budget of 9
    assert 9 * 4 * 2 <= result["sms_segments"]["old"] <= 11 * 4 * 2
    assert result["sms_limited"]["old"] == 100 - result["sms_segments"]["old"] // 2
    assert result["sms_limited"]["new"] == 0


def test_users_numbers_and_prefixes_are_capped_each_by_their_own() -> None:
    simulation = Simulation(
        strategy("per_user: 2/1d"), strategy("per_number: 3/1d, per_prefix: 5/1d, budget: 900 segments/1d", 2)
    )
    assert simulation.asks_numbers
    for delivery in deliveries(40, users=4):
        number = delivery.user_id in {"u0", "u1"}
        simulation.feed(delivery, Whom(delivery.user_id, "shared" if number else delivery.user_id, "+861380"))
    result = simulation.result()

    assert result["sms_segments"] == {"old": 8, "new": 5}
    by = {row["limit"]: (row["old"], row["new"]) for row in result["sms_limited"]["by"]}
    assert by["per_user"] == (32, 0)
    assert by["per_number"][1] + by["per_prefix"][1] == 35
    assert by["per_prefix"][1] > 0


def test_a_recorded_empty_budget_does_not_stop_a_draft_with_a_budget_of_its_own() -> None:
    facts = row_from(
        {
            "message.class": "chat",
            "device.platform": "none",
            "user.has_phone": True,
            "user.phone_verified": True,
            "budget.sms_left": 0,
        }
    )
    delivery = RecordedDelivery("d", "m", "u", (RecordedTrack(facts, {"sms": Evidence(1_000)}),))

    result = simulate(strategy("per_user: 1/1d"), strategy("budget: 10 segments/1d", 2), [delivery])

    assert result["sms_segments"] == {"old": 0, "new": 1}


TAKEN = st.lists(
    st.tuples(st.integers(0, 600_000), st.integers(-90_000, 0), st.integers(1, 3), st.sampled_from("ab")),
    max_size=120,
).map(lambda rows: [(start + late, segments, user) for start, late, segments, user in sorted(rows)])


@settings(max_examples=200, deadline=None)
@given(asked=TAKEN, count=st.integers(1, 6), budget=st.integers(3, 20), window_s=st.sampled_from([1, 7, 60, 300]))
def test_no_window_holds_more_than_its_caps_whatever_the_order(
    asked: list[tuple[int, int, str]], count: int, budget: int, window_s: int
) -> None:
    window = window_s * 1_000
    spending = Spending(SmsLimits(per_user=Rate(count, window), budget=Rate(budget, window)))
    went = [
        (at, segments, user) for at, segments, user in asked if spending.refusal(Whom(user), "", segments, at) is None
    ]
    for until, _, user in went:
        inside = [(segments, whose) for at, segments, whose in went if until - window < at <= until]
        assert sum(segments for segments, _ in inside) <= budget
        assert sum(whose == user for _, whose in inside) <= count


@settings(max_examples=100, deadline=None)
@given(moments=st.lists(st.integers(0, 100_000), max_size=60).map(sorted), count=st.integers(1, 4))
def test_in_order_a_cap_lets_through_exactly_what_the_guard_does(moments: list[int], count: int) -> None:
    spending = Spending(SmsLimits(per_user=Rate(count, 10_000)))
    went: list[int] = []
    for at in moments:
        fits = sum(other > at - 10_000 for other in went) < count
        assert (spending.refusal(Whom("li"), "", 1, at) is None) is fits
        if fits:
            went.append(at)
