"""Promises that hold for every document and all facts: reproducible, finite, never SMS without a limit."""

import json
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.catalogue import CATALOGUE, Type
from strategies.compile import compile_strategy
from strategies.course import RecordedDelivery, course_of
from strategies.document import parse_document
from strategies.engine import decide, next_step, plan, plan_batch
from strategies.explain import explain
from strategies.facts import FactValue, Row
from strategies.ladder import Plan
from strategies.legs import course_along, pick
from strategies.problems import StrategyInvalid
from strategies.replay import Evidence, RecordedTrack
from strategies.validate import validate

RIGHT_WHENS = [
    'message.class == "call"',
    'message.class in ["otp", "alert"]',
    'device.platform == "ios" && !device.alerts_enabled',
    "device.ack_rate.longconn < 0.5",
    "user.devices + 1 > 2",
    'device.presence != "online" || user.muted',
]
WHENS = st.sampled_from([*RIGHT_WHENS * 5, "device.typo", "device.platform", "message.age_s > 3.0"])
RIGHT_WAITS = ["1s", "10m", "7d", "auto(2s..15s)"]
RIGHT_PATHS = ["longconn", "push", "apns", "fcm", "poll", "sms"]
WAITS = st.sampled_from(RIGHT_WAITS * 8 + ["8d", "10", "auto(9s..3s)"])
PATHS = st.sampled_from(RIGHT_PATHS * 8 + ["mail"])


def mapping(required: Mapping[str, st.SearchStrategy[object]], optional: Mapping[str, st.SearchStrategy[object]]):  # type: ignore[no-untyped-def]  # Hypothesis infers it
    return st.fixed_dictionaries(dict(required), optional=dict(optional))


STEPS = st.one_of(
    mapping(
        {"path": PATHS},
        {
            "wait": WAITS,
            "until": st.sampled_from(["delivered", "displayed", "opened"]),
            "if": st.sampled_from(["user.sms_opt_in", 'message.priority == "high"', "message.age_s > 3.0", "true"]),
            "retries": st.sampled_from([0, 1, 2, 3, 10, 10, 3, 11]),
        },
    ),
    mapping({"paths": st.lists(PATHS, min_size=1, max_size=2, unique=True)}, {"wait": WAITS}),
)
RULES = mapping(
    {"name": st.sampled_from("abcdefgh"), "ladder": st.lists(STEPS, min_size=1, max_size=3), "when": WHENS}, {}
)
LAST = st.fixed_dictionaries({"name": st.just("last"), "ladder": st.lists(STEPS, min_size=1, max_size=4)})
LIMITS = st.sampled_from([*[{"sms": {"per_user": "3/1d"}}] * 6, {}, {"sms": {"max_segments": 1}}, {"push": {}}])


@st.composite
def documents(draw: st.DrawFn) -> str:
    document = {
        "strategy": "t",
        "limits": draw(LIMITS),
        "reach": draw(st.sampled_from(["any", "each"])),
        "quiet_hours": {"classes": ["alert"], "action": draw(st.sampled_from(["hold", "silent", "ignore"]))},
        "rules": [*draw(st.lists(RULES, max_size=4)), draw(LAST)],
    }
    if draw(st.integers(0, 4)) == 0:
        document["applies_to"] = draw(
            st.lists(st.sampled_from(["chat", "call", "otp", "alert"]), min_size=1, max_size=3)
        )
    return json.dumps(document)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    values: list[FactValue | None] = []
    for fact in CATALOGUE:
        match fact.type:
            case Type.BOOL:
                known: st.SearchStrategy[FactValue] = st.booleans()
            case Type.STRING:
                known = st.sampled_from(fact.values or ("", "chat", "call", "alert"))
            case Type.INT:
                known = st.integers(min_value=0, max_value=3)
            case _:
                known = st.sampled_from([0.0, 0.4, 1.0, 25.0, 9e5])
        values.append(draw(st.one_of(known, known, st.none())))
    return tuple(values)


@settings(max_examples=60, deadline=None)
@given(source=documents(), cases=st.lists(rows(), min_size=1, max_size=4))
def test_every_accepted_document_plans_the_same_finite_and_limited_ladders(source: str, cases: list[Row]) -> None:
    problems = validate(source)
    try:
        strategy = compile_strategy(parse_document(source), "t", 1)
    except StrategyInvalid as invalid:
        assert problems
        assert set(invalid.problems) <= set(problems)  # noqa: PT017
        return
    assert problems == []  # the validator accepts exactly what the compiler compiles

    again = compile_strategy(parse_document(source), "t", 1)
    for facts in cases:
        made = plan(facts, strategy)
        assert made == plan(facts, again)
        assert str(explain(made)) == str(explain(plan(facts, again)))
        _ends(made, facts)
        if any("sms" in step.paths for step in made.steps):
            assert made.ladder.sms is not None
            assert made.ladder.sms.capped
    assert plan_batch(cases * 2, strategy) == [plan(facts, again) for facts in cases * 2]


def _ends(made: Plan, facts: Row) -> None:
    at, turns = -1, 0
    while (turn := next_step(made.ladder, at, facts)).index is not None:
        assert turn.index > at
        assert turn.paths or turn.held
        assert turn.wait_ms is None or 1_000 <= turn.wait_ms <= 7 * 86_400_000
        at, turns = turn.index, turns + 1
    assert turns <= len(made.steps)


EVIDENCE = st.dictionaries(
    st.sampled_from(["longconn", "apns", "fcm", "poll", "sms", "push"]),
    st.sampled_from([None, 0, 400, 1_000, 9_000, 61_000, 10_000_000]).map(Evidence),
)
TRACKS = st.lists(st.builds(RecordedTrack, facts=rows(), evidence=EVIDENCE), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(
    source=documents(), deliveries=st.lists(TRACKS, min_size=1, max_size=6), ttl_ms=st.sampled_from([1_500, 86_400_000])
)
def test_a_simulations_prepared_legs_come_to_what_the_plain_replay_comes_to(
    source: str, deliveries: list[list[RecordedTrack]], ttl_ms: int
) -> None:
    try:
        strategy = compile_strategy(parse_document(source), "t", 1)
    except StrategyInvalid:
        return
    for tracks in deliveries:
        delivery = RecordedDelivery("d", "m", "u", tuple(tracks), sms_segments=2, ttl_ms=ttl_ms)
        plain = course_of(delivery, [decide(track.facts, strategy) for track in tracks])
        assert course_along(delivery, [pick(track.facts, strategy) for track in tracks]) == plain


@settings(max_examples=200, deadline=None)
@given(
    text=st.one_of(
        st.text(max_size=80),
        st.text(alphabet=" \n:-{}[]!&*|>'\"#,?abstrueg1.0/", max_size=120).map(lambda tail: f"strategy: t\n{tail}"),
        st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")),
    )
)
def test_any_text_is_judged_without_breaking(text: str) -> None:
    for problem in validate(text):
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.message
