"""Twilio's error codes and what they mean for attempt, number and circuit: one row a code.

https://www.twilio.com/docs/api/errors (one page a code)
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from dispatcher.domain.clock import Millis
from dispatcher.domain.outcome import Outcome, Rejected, RetryLater, Unknown
from providers.sms.status import NumberVerdict

UNREACHABLE_WAIT: Millis = 10 * 60_000  #: before the one later try of 30003


class Verdict(StrEnum):
    """What an error asks of us."""

    FAILED = "failed"  #: this attempt, for good
    CONFIGURATION = "configuration"  #: the circuit opens
    LATER = "later"
    BRAKE = "brake"  #: every worker waits


class Row(NamedTuple):
    """*number*: what it says about the number."""

    code: int
    verdict: Verdict
    number: NumberVerdict | None
    meaning: str


ROWS = (
    Row(20003, Verdict.CONFIGURATION, None, "authentication failed"),
    Row(20005, Verdict.CONFIGURATION, None, "account not active"),
    Row(20404, Verdict.CONFIGURATION, None, "no such account"),
    Row(20429, Verdict.BRAKE, None, "too many requests"),
    Row(21211, Verdict.FAILED, NumberVerdict.BAD_NUMBER, "invalid To number"),
    Row(21212, Verdict.CONFIGURATION, None, "invalid From number"),
    Row(21408, Verdict.FAILED, None, "region not enabled"),
    Row(21602, Verdict.FAILED, None, "no body"),
    Row(21603, Verdict.CONFIGURATION, None, "no From number"),
    Row(21604, Verdict.FAILED, None, "no To number"),
    Row(21606, Verdict.CONFIGURATION, None, "From number is not ours"),
    Row(21609, Verdict.CONFIGURATION, None, "StatusCallback is no URL: check the public URL"),
    Row(21610, Verdict.FAILED, NumberVerdict.SUPPRESS, "opted out (STOP)"),
    Row(21611, Verdict.LATER, None, "too many queued texts for From"),
    Row(21612, Verdict.FAILED, None, "To not reachable from From"),
    Row(21614, Verdict.FAILED, NumberVerdict.BAD_NUMBER, "no mobile number"),
    Row(21617, Verdict.FAILED, None, "body too long"),
    Row(21703, Verdict.CONFIGURATION, None, "messaging service without senders"),
    Row(30001, Verdict.LATER, None, "queue overflow"),
    Row(30002, Verdict.CONFIGURATION, None, "account suspended"),
    Row(30003, Verdict.LATER, None, "unreachable handset"),
    Row(30004, Verdict.FAILED, NumberVerdict.SUPPRESS, "blocked by the recipient"),
    Row(30005, Verdict.FAILED, NumberVerdict.BAD_NUMBER, "unknown handset"),
    Row(30006, Verdict.FAILED, NumberVerdict.BAD_NUMBER, "landline or unreachable carrier"),
    Row(30007, Verdict.FAILED, None, "filtered by the carrier"),
    Row(30008, Verdict.FAILED, None, "unknown error"),
    Row(30034, Verdict.CONFIGURATION, None, "From number is not registered"),
    Row(30036, Verdict.FAILED, None, "validity period passed"),
    Row(63038, Verdict.BRAKE, None, "daily limit of the account"),
)
_BY_CODE: Mapping[int, Row] = {row.code: row for row in ROWS}


def number_verdict(code: int | str | None) -> NumberVerdict | None:
    """What *code* says about the number."""
    row = _BY_CODE.get(int(code)) if code is not None and str(code).isdigit() else None
    return row.number if row else None


def read(status: int, code: int | None, retry_after_ms: Millis | None) -> Outcome:
    """What a refusal of the REST API means. The reason is ``twilio_<code>``."""
    row = _BY_CODE.get(code) if code is not None else None
    name = f"twilio_{code if code is not None else status}"
    if row is None:
        return _by_status(status, name, retry_after_ms)
    match row.verdict:
        case Verdict.FAILED:
            return Rejected(name, suppress=row.number is not None)
        case Verdict.CONFIGURATION:
            return Rejected(name, configuration=True)
        case Verdict.BRAKE:
            return RetryLater(name, retry_after_ms, brake=True)
        case Verdict.LATER:
            return RetryLater(name, retry_after_ms or (UNREACHABLE_WAIT if code == 30003 else None))


def _by_status(status: int, name: str, retry_after_ms: Millis | None) -> Outcome:
    if status == 429:
        return RetryLater(name, retry_after_ms, brake=True)
    if status == 503:
        return RetryLater(name, retry_after_ms)
    if status >= 500:
        return Unknown(name)  # it may have been queued: looked up before any resend, never blindly repeated
    return Rejected(name, configuration=status in {401, 403})
