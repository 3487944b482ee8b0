import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.trace import TraceContext, attributes, read_traceparent, unpack
from dispatcher.secret import Secret

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"  # the specification's example
contexts = st.builds(TraceContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1))


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),  # other flags are nobody's business
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", True),
    ],
)
def test_a_callers_span_is_read(header: str, sampled: bool) -> None:
    incoming = read_traceparent(header)
    assert incoming is not None
    assert incoming.context == TraceContext(int(TRACE, 16), int(SPAN, 16))
    assert incoming.sampled is sampled


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-1",
        f" 00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_a_faulty_header_is_as_none(header: str) -> None:
    assert read_traceparent(header) is None


@given(st.text(max_size=80))
def test_no_header_is_a_fault(header: str) -> None:
    read_traceparent(header)


@given(contexts)
def test_a_message_carries_its_trace_in_24_bytes(context: TraceContext) -> None:
    assert len(context.pack()) == 24
    assert unpack(context.pack()) == context


@pytest.mark.parametrize("packed", [None, b"", b"short", b"x" * 25])
def test_what_is_no_trace_is_none(packed: bytes | None) -> None:
    assert unpack(packed) is None


@given(contexts, st.lists(st.integers(0, 2**64), min_size=1, max_size=4))
def test_a_spans_id_follows_from_what_it_tells_of(context: TraceContext, names: list[int]) -> None:
    child = context.child("attempt", *names)
    assert child == TraceContext(context.trace_id, 1).child("attempt", *names), "whoever told the request's span"
    assert child.trace_id == context.trace_id
    assert child.span_id != context.child("plan", *names).span_id
    assert child.span_id != TraceContext(context.trace_id ^ 1, 1).child("attempt", *names).span_id


def test_masked_types_stay_masked_and_texts_are_cut() -> None:
    told = attributes(app=Secret("+8613800138000"), reason="x" * 500, messages=3, path=None)
    assert {name.value: value for name, value in told.items()} == {
        "pushpath.app": "***",
        "pushpath.reason": "x" * 128,
        "pushpath.messages": 3,
    }
