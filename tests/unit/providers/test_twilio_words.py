"""Twilio's codes and callbacks: a row each, and a judge that nobody fools."""

from itertools import permutations

import pytest
from twilio.request_validator import RequestValidator

from dispatcher.domain.outcome import Outcome, Rejected, RetryLater, Unknown
from providers.sms.status import BadSignature, NumberVerdict
from providers.sms.twilio.callbacks import RANKS, callback_url, parse_callback
from providers.sms.twilio.errors import ROWS, UNREACHABLE_WAIT, Row, Verdict, number_verdict, read

TOKEN = "auth-token"
URL = callback_url("https://push.example.com/base/", "att-1.0.0s")


def expected(row: Row) -> Outcome:
    name = f"twilio_{row.code}"
    outcomes: dict[Verdict, Outcome] = {
        Verdict.FAILED: Rejected(name, suppress=row.number is not None),
        Verdict.CONFIGURATION: Rejected(name, configuration=True),
        Verdict.BRAKE: RetryLater(name, None, brake=True),
        Verdict.LATER: RetryLater(name, UNREACHABLE_WAIT if row.code == 30003 else None),
    }
    return outcomes[row.verdict]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.code))
def test_each_code_means_what_its_row_says(row: Row) -> None:
    assert read(400, row.code, None) == expected(row)
    assert number_verdict(row.code) is row.number
    assert number_verdict(str(row.code)) is row.number


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (21610, NumberVerdict.SUPPRESS),
        (21211, NumberVerdict.BAD_NUMBER),
        (21614, NumberVerdict.BAD_NUMBER),
        (30006, NumberVerdict.BAD_NUMBER),
        (21408, None),
        (30007, None),
        ("x", None),
        (None, None),
    ],
)
def test_only_words_about_the_number_touch_the_number(code: int | str | None, verdict: NumberVerdict | None) -> None:
    assert number_verdict(code) is verdict


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (400, Rejected("twilio_400")),
        (401, Rejected("twilio_401", configuration=True)),
        (429, RetryLater("twilio_429", 5_000, brake=True)),
        (500, Unknown("twilio_500")),
        (502, Unknown("twilio_502")),
        (503, RetryLater("twilio_503", 5_000)),
    ],
)
def test_an_answer_without_a_code_is_judged_by_its_status(status: int, outcome: Outcome) -> None:
    assert read(status, None, 5_000) == outcome


def signed(form: dict[str, str], url: str = URL) -> str:
    signature: str = RequestValidator(TOKEN).compute_signature(url, form)
    return signature


@pytest.mark.parametrize("status", RANKS)
def test_each_status_has_its_rank(status: str) -> None:
    form = {"MessageStatus": status, "MessageSid": "SM1", "NumSegments": "2", "NewFieldOfTomorrow": "x"}
    read_status = parse_callback(URL, form, signed(form), TOKEN)
    assert (read_status.status, read_status.rank) == (status, RANKS[status])
    assert read_status.terminal == (status in {"delivered", "undelivered", "failed", "canceled"})
    assert read_status.proof == (status == "delivered")
    assert (read_status.reference, read_status.segments) == ("SM1", 2)


def test_in_any_order_the_end_stands() -> None:
    for order in permutations(["queued", "sent", "delivered"]):
        best = -1
        last = ""
        for status in order:
            form = {"MessageStatus": status}
            found = parse_callback(URL, form, signed(form), TOKEN)
            if found.rank > best:
                best, last = found.rank, found.status
        assert last == "delivered"


def test_an_error_says_what_it_means_for_the_number() -> None:
    form = {"MessageStatus": "undelivered", "ErrorCode": "30006"}
    found = parse_callback(URL, form, signed(form), TOKEN)
    assert (found.error, found.number) == ("30006", NumberVerdict.BAD_NUMBER)


def test_a_status_of_tomorrow_ends_and_proves_nothing() -> None:
    form = {"MessageStatus": "pondering"}
    found = parse_callback(URL, form, signed(form), TOKEN)
    assert (found.rank, found.terminal, found.proof) == (-1, False, False)


@pytest.mark.parametrize("signature", ["", "x", signed({"MessageStatus": "sent"}), signed({}, "http://other/")])
def test_what_twilio_did_not_sign_is_refused(signature: str) -> None:
    with pytest.raises(BadSignature):
        parse_callback(URL, {"MessageStatus": "delivered"}, signature, TOKEN)


def test_the_url_is_built_from_configuration_alone() -> None:
    assert URL == "https://push.example.com/base/v1/callbacks/sms/twilio/att-1.0.0s"
