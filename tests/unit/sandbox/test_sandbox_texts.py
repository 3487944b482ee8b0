"""Texts at the carrier: how long they are, what becomes of them, which are kept."""

import pytest

from providers.sandbox.script import ReceiptScript
from providers.sandbox.segments import segments
from providers.sandbox.sms_message import Step, Text, Texts, life

LIFE_ROWS = [
    # receipt status, after, scripted error, validity -> steps
    (None, 1.0, None, None, [Step(0.2, "sent"), Step(1.0, "delivered")]),
    (None, 0.1, None, 36_000, [Step(0.05, "sent"), Step(0.1, "delivered")]),
    (None, 60.0, None, 30, [Step(30, "failed", 30036)]),
    ("sent", 1.0, None, None, [Step(1.0, "sent")]),
    ("queued", 1.0, None, None, []),
    ("failed", 1.0, None, None, [Step(1.0, "failed", 30008)]),
    ("undelivered", 1.0, None, None, [Step(0.2, "sent"), Step(1.0, "undelivered", 30008)]),
    (None, 1.0, 30003, None, [Step(0.2, "sent"), Step(1.0, "undelivered", 30003)]),
    (None, 1.0, 30001, None, [Step(1.0, "failed", 30001)]),
]


@pytest.mark.parametrize(("status", "after_s", "error", "validity_s", "steps"), LIFE_ROWS)
def test_what_becomes_of_a_text(
    status: str | None, after_s: float, error: int | None, validity_s: int | None, steps: list[Step]
) -> None:
    receipt = ReceiptScript(status=status)  # type: ignore[arg-type]
    assert life(receipt, after_s, error, validity_s) == steps


@pytest.mark.parametrize(
    ("text", "encoding", "number"),
    [
        ("", "GSM-7", 1),
        ("a" * 160, "GSM-7", 1),
        ("a" * 161, "GSM-7", 2),
        ("a" * 306, "GSM-7", 2),
        ("a" * 307, "GSM-7", 3),
        ("€" * 80, "GSM-7", 1),
        ("€" * 81, "GSM-7", 2),
        ("a" * 152 + "€" + "a" * 152, "GSM-7", 3),  # an extension character is not split
        ("你" * 70, "UCS-2", 1),
        ("你" * 71, "UCS-2", 2),
        ("你" * 134, "UCS-2", 2),
        ("你" * 135, "UCS-2", 3),
        ("a" * 69 + "你", "UCS-2", 1),
        ("😀" * 35, "UCS-2", 1),
        ("😀" * 36, "UCS-2", 2),
        ("😀" * 67, "UCS-2", 3),  # 33 pairs a segment: none is split
        ("ç", "UCS-2", 1),
    ],
)
def test_segments(text: str, encoding: str, number: int) -> None:
    counted = segments(text)
    assert (counted.encoding, counted.number) == (encoding, number)


def text(to: str) -> Text:
    return Text(
        account_sid="AC", to=to, sender="+1", service_sid=None, body="hi", callback=None, created=0, status="queued"
    )


def test_a_terminal_status_never_goes_back() -> None:
    one = text("+1")
    for step in (Step(0, "delivered"), Step(0, "sent"), Step(0, "failed", 30008)):
        one.reach(step, 5.0)
    assert (one.status, one.error_code, one.sent) == ("delivered", None, 5.0)


@pytest.mark.parametrize(
    ("status", "shown"),
    [("queued", False), ("sent", True), ("delivered", True), ("undelivered", False), ("failed", False)],
)
def test_a_phone_shows_what_reached_it(status: str, shown: bool) -> None:
    one = text("+1")
    one.reach(Step(0, status), 1.0)
    assert one.on_the_phone is shown


def test_the_oldest_texts_are_forgotten_and_counted() -> None:
    texts = Texts(2)
    kept = [text("+1"), text("+2"), text("+1")]
    for one in kept:
        texts.add(one)
    assert texts.dropped == 1
    assert texts.get(kept[0].sid) is None
    assert list(texts.newest_first("+1", lambda _: True)) == [kept[2]]
    assert list(texts.newest_first(None, lambda _: True)) == [kept[2], kept[1]]
