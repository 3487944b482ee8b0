"""The Python code made of an expression answers exactly as CEL does, also where facts are missing."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.catalogue import CATALOGUE, INDEX, Fact, Type
from strategies.expressions import ExpressionFault, ExpressionInvalid, compile_expression
from strategies.facts import Row
from strategies.predicates import chain, is_false, is_simple

USED = [
    fact
    for fact in CATALOGUE
    if fact.name
    in {
        "message.class",
        "message.priority",
        "user.devices",
        "user.local_hour",
        "user.muted",
        "user.sms_opt_in",
        "device.platform",
        "device.os_version",
        "device.ack_rate.longconn",
        "device.p95_s.push",
    }
]
TEXTS = ["", "ios", "android", "chat", "otp", "8.1", "中", "high"]
INTS = [-1, 0, 1, 21, 2**63 - 1]
DOUBLES = [0.0, 0.5, 1.0, -2.5, 1e300]


def literal(kind: Type) -> st.SearchStrategy[str]:
    match kind:
        case Type.STRING:
            return st.sampled_from([f'"{text}"' for text in TEXTS])
        case Type.INT:
            return st.sampled_from([str(number) for number in INTS])
        case Type.DOUBLE:
            return st.sampled_from([repr(number) for number in DOUBLES])
    return st.sampled_from(["true", "false"])


def operand(kind: Type) -> st.SearchStrategy[str]:
    return st.one_of(st.sampled_from([fact.name for fact in USED if fact.type is kind]), literal(kind))


def comparison(kind: Type) -> st.SearchStrategy[str]:
    operators = ["==", "!=", "<", "<=", ">", ">="]
    compared = st.tuples(operand(kind), st.sampled_from(operators), operand(kind)).map(" ".join)
    member = st.tuples(operand(kind), st.lists(literal(kind), min_size=1, max_size=3)).map(
        lambda parts: f"{parts[0]} in [{', '.join(parts[1])}]"
    )
    if kind is not Type.STRING:
        return st.one_of(compared, member)
    test = st.tuples(operand(kind), st.sampled_from(["startsWith", "endsWith", "contains"]), operand(kind)).map(
        lambda parts: f"{parts[0]}.{parts[1]}({parts[2]})"
    )
    return st.one_of(compared, member, test)


ATOMS = st.one_of(
    *(comparison(kind) for kind in Type),
    st.sampled_from([fact.name for fact in USED if fact.type is Type.BOOL]),
    st.sampled_from(["user.devices + 1 > 1", "size(device.os_version) > 2", "1 / user.devices == 1"]),
)
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda expression: f"!({expression})"),
        st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} ? {parts[1]} : {parts[2]})"),
    ),
    max_leaves=6,
)


def value(fact: Fact) -> st.SearchStrategy[object]:
    match fact.type:
        case Type.STRING:
            known: st.SearchStrategy[object] = st.sampled_from(TEXTS)
        case Type.INT:
            known = st.sampled_from(INTS)
        case Type.DOUBLE:
            known = st.sampled_from([*DOUBLES, math.nan, math.inf])
        case _:
            known = st.booleans()
    return st.one_of(st.none(), known)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    row: list[object] = [None] * len(CATALOGUE)
    for fact in USED:
        row[INDEX[fact.name]] = draw(value(fact))
    return tuple(row)  # type: ignore[arg-type]  # drawn by each fact's own type


@settings(max_examples=200, deadline=None)
@given(expression=EXPRESSIONS, cases=st.lists(rows(), min_size=1, max_size=5))
def test_python_and_cel_give_the_same_answer(expression: str, cases: list[Row]) -> None:
    try:
        condition = compile_expression(expression)
    except ExpressionInvalid:
        return  # for example a platform compared with a word that no platform is
    matches, fails = chain([condition]), is_false(condition)
    for row in cases:
        answer = condition.judge(row)
        assert (matches(row) == 0) is (answer is True), (expression, row)
        assert bool(fails(row)) is (answer is False), (expression, row)


@pytest.mark.parametrize(
    ("expression", "simple"),
    [
        ('device.platform == "ios" && !device.alerts_enabled', True),
        ('message.class in ["chat", "otp"] || device.ack_rate.longconn < 0.5', True),
        ('device.app_version.startsWith("8.")', True),
        ("user.muted ? user.sms_opt_in : user.has_phone", True),
        ("user.devices + 1 > 2", False),
        ('device.os_version.matches("^8")', False),
    ],
)
def test_plain_conditions_need_no_cel_at_run_time(expression: str, simple: bool) -> None:
    assert is_simple(compile_expression(expression)) is simple


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(st.text(max_size=60), st.text(alphabet="()[]{}!-.?:,\"'<>=&|+ ainot10", max_size=200)))
def test_no_text_breaks_the_compiler(text: str) -> None:
    faults: tuple[ExpressionFault, ...] | None = None
    try:
        compile_expression(text)
    except ExpressionInvalid as invalid:
        faults = invalid.faults
    assert faults is None or faults
    assert all(fault.line >= 1 and fault.column >= 1 and fault.message for fault in faults or ())


def test_a_tower_of_choices_does_not_grow_the_code() -> None:
    expression = "user.muted"
    for _ in range(28):
        expression = f"({expression} ? true : false)"
    condition = compile_expression(expression)
    row: list[object] = [None] * len(CATALOGUE)
    row[INDEX["user.muted"]] = True

    started = time.process_time()
    assert chain([condition])(tuple(row)) == 0  # type: ignore[arg-type]  # one bool and None
    assert not is_simple(condition)
    assert time.process_time() - started < 1.0
