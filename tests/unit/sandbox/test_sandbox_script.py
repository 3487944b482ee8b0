"""Scripts: what a document may say, and how its rules are used up."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.sandbox.duration import seconds
from providers.sandbox.script import ErrorRule, Fault, Script, ScriptDocument, ScriptError, read_script
from providers.sandbox.wire.exchange import Wire


@pytest.mark.parametrize(
    ("text", "expected"),
    [("200ms", 0.2), ("3s", 3), ("1.5s", 1.5), ("10m", 600), ("2h", 7200), ("7d", 604_800), ("0s", 0)],
)
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "3", "s", "-1s", "3 s", "3S", "٣s", "1e3s", "1s1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        seconds(text)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"latancy": "3s"}', "latancy"),
        ('{"errors": [{}, {"tymes": 3}]}', "errors[1].tymes"),
        ('{"receipt": {"when": "1s"}}', "receipt.when"),
        ('{"latency": "3"}', "latency"),
        ('{"latency": 3}', "latency"),
        ('{"tls_delay": "x"}', "tls_delay"),
        ('{"errors": [{"latency": "x"}]}', "errors[0].latency"),
        ('{"receipt": {"after": "soon"}}', "receipt.after"),
        ('{"receipt": {"status": "lost"}}', "receipt.status"),
        ('{"errors": [{"times": 0}]}', "errors[0].times"),
        ('{"errors": [{"status": 99}]}', "errors[0].status"),
        ('{"errors": [{"wire": "burn"}]}', "errors[0].wire"),
        ('{"errors": [{"retry_after": "3s"}]}', "errors[0].retry_after"),
        ('{"drop_rate": 1.5}', "drop_rate"),
        ('{"goaway_after": 0}', "goaway_after"),
        ("[]", ""),
    ],
)
def test_a_wrong_document_names_its_field(body: str, field: str) -> None:
    with pytest.raises(ScriptError) as raised:
        read_script(body.encode())
    assert raised.value.field == field


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_no_body_raises_anything_else(body: bytes) -> None:
    try:
        read_script(body)
    except (ScriptError, msgspec.DecodeError, UnicodeDecodeError):
        return


@pytest.mark.parametrize(
    ("pattern", "target", "hit"),
    [
        (None, "anything", True),
        ("*", "", True),
        ("dead*", "dead1", True),
        ("dead*", "Dead1", False),
        ("dead*", "undead", False),
        ("+86138????0001", "+8613800000001", True),
        ("+86138????0001", "+8613800000002", False),
        ("t[0-4]", "t3", True),
        ("t[0-4]", "t5", False),
    ],
)
def test_patterns_are_the_shells(pattern: str | None, target: str, hit: bool) -> None:
    script = Script(ScriptDocument(errors=[ErrorRule(match=pattern, status=500)]))
    assert (script.error_for(target) is not None) is hit


def test_the_first_rule_with_uses_left_wins() -> None:
    rules = [ErrorRule(match="a", status=500, times=2), ErrorRule(match="*", status=503)]
    script = Script(ScriptDocument(errors=rules))
    statuses = [rule.status for rule in map(script.error_for, ["a", "b", "a", "a"]) if rule is not None]
    assert statuses == [500, 503, 500, 503]


@pytest.mark.parametrize("fault", list(Fault))
def test_every_fault_has_its_way_on_the_wire(fault: Fault) -> None:
    beyond_the_wire = {Fault.DROP, Fault.EMPTY, Fault.NO_ID}
    assert fault.wire == (Wire.WHOLE if fault in beyond_the_wire else Wire(fault.value))
