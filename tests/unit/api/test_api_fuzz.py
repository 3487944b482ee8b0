"""Whatever is sent: durations and times round-trip or are refused, and no body ever becomes a 5xx."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.api.bodies import decode, read_query
from dispatcher.api.checks import calling_code, masked_number
from dispatcher.api.limits import Allowances
from dispatcher.api.schemas.inbox import InboxParams, ReceiptsIn
from dispatcher.api.schemas.messages import MessageIn, to_dispatch
from dispatcher.api.schemas.people import DeviceIn, UserIn
from dispatcher.domain.clock import from_datetime, rfc3339
from dispatcher.domain.requests import DispatchRequest, parse_duration, parse_time, write_duration
from dispatcher.errors import Problem
from dispatcher.ports.throttle import Throttle

NOW = 1_900_000_000_000


@given(st.integers(0, 10**10 - 1))
def test_a_duration_reads_back_what_was_written(duration: int) -> None:
    assert parse_duration(write_duration(duration)) == duration


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        duration = parse_duration(text)
    except ValueError:
        return
    assert duration >= 0
    assert text.isascii()


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001 - the zone is drawn beside it
    st.integers(-1439, 1439),
)
def test_a_time_means_the_same_moment_in_every_zone(local: datetime, minutes: int) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert parse_time(moment.isoformat()) == from_datetime(moment)
    assert parse_time(moment.isoformat().replace("T", "t")) == from_datetime(moment)


@given(st.text(alphabet="0123456789-:TtZz.+ ", max_size=32))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        at = parse_time(text)
    except ValueError:
        return
    assert "T" in text.upper()
    assert parse_time(rfc3339(at)) == at


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2026-03-01T08:30:00.1239Z", "2026-03-01T08:30:00.123Z"),
        ("2026-03-01T16:30:00+08:00", "2026-03-01T08:30:00Z"),
        ("2026-03-01T08:30:00-00:00", "2026-03-01T08:30:00Z"),
    ],
)
def test_leap_seconds_fractions_and_offsets(text: str, same: str) -> None:
    assert parse_time(text) == parse_time(same)


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T24:00:00Z",
        "2026-03-01 08:30:00Z",
        "2026-W09-7T08:30:00Z",
        "2026-03-01T08:30Z",
        "２026-03-01T08:30:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:60Z",
    ],
)
def test_other_iso_8601_forms_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        parse_time(text)


@given(st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True))
def test_a_masked_number_keeps_its_length_country_and_two_digits(number: str) -> None:
    masked = masked_number(number)
    assert len(masked) == len(number)
    assert masked.startswith(f"+{calling_code(number)}*")
    assert masked.count("*") >= 1
    assert masked[-2:] == number[-2:]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        [
            *MessageIn.__struct_encode_fields__,
            *UserIn.__struct_encode_fields__,
            *DeviceIn.__struct_encode_fields__,
            *ReceiptsIn.__struct_encode_fields__,
            "x",
        ]
    ),
    JSON
    | st.sampled_from(
        [{"user_ids": ["li"]}, {"title": "x"}, {"from": "22:00", "to": "07:00"}, "1d", "chat", [{"event": 1}]]
    ),
    max_size=8,
)


def refusal(read: Callable[[], object]) -> Problem | None:
    """The problem that *read* ends with; anything else that it raises fails the test."""
    try:
        read()
    except Problem as problem:
        return problem
    return None


@given(FIELDS | JSON, st.sampled_from([MessageIn, UserIn, DeviceIn, ReceiptsIn]))
def test_any_json_is_read_or_refused_as_a_problem(value: Any, kind: type) -> None:
    refused = refusal(lambda: decode(msgspec.json.encode(value), kind))
    assert refused is None or refused.status == 400 or (refused.status == 422 and refused.errors)


@given(st.binary(max_size=200), st.sampled_from([MessageIn, UserIn, DeviceIn, ReceiptsIn]))
def test_any_bytes_are_read_or_refused_as_a_problem(body: bytes, kind: type) -> None:
    refused = refusal(lambda: decode(body, kind))
    assert refused is None or refused.status in {400, 422}


@given(st.binary(max_size=100))
def test_any_query_is_read_or_refused_as_a_problem(query: bytes) -> None:
    refused = refusal(lambda: read_query(query, InboxParams))
    assert refused is None or refused.status in {400, 422}


@given(st.dictionaries(st.sampled_from(["ttl", "not_before", "data", "params", "template", "priority"]), JSON))
def test_a_message_that_passed_the_door_hashes_and_encodes(changes: dict[str, Any]) -> None:
    body = {"message_id": "m", "to": {"user_ids": ["li"]}, "notification": {"title": "x"}, **changes}
    try:
        request = to_dispatch(decode(msgspec.json.encode(body), MessageIn), NOW)
    except Problem:
        return
    assert len(request.content_hash()) == 16
    assert msgspec.json.encode(request)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]),
    path=st.sampled_from(
        [
            "/v1/messages",
            "/v1/messages/batch",
            "/v1/messages/%F0%9F%98%80",
            "/v1/users/li",
            "/v1/devices/%2e%2e%2f",
            "/v1/device-tokens",
            "/v1/inbox?limit=%31",
            "/v1/receipts",
            "/v1/callbacks/sms/twilio/x",
            "/v1/strategies/default/draft",
            "/v1/strategies/validate",
            "/v1/strategies/default/publish",
            "/v1/audit?before=9999999999999999999999",
            "/%00/%ff",
        ]
    ),
    body=st.binary(max_size=300)
    | FIELDS.map(msgspec.json.encode)
    | st.builds(lambda n: b'{"data":' * n, st.integers(1, 5_000)),
)
async def test_no_request_ever_becomes_a_5xx(client: httpx.AsyncClient, method: str, path: str, body: bytes) -> None:
    answer = await client.request(method, path, content=body)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_same_content_hashes_alike_however_it_was_spelled() -> None:
    one = DispatchRequest(
        message_id="m", user_ids=("a", "b"), data={"x": 1, "y": [1]}, notification={"title": "t", "image": None}
    )
    two = DispatchRequest(
        message_id="m", user_ids=("b", "a"), data={"y": [1], "x": 1}, notification={"title": "t"}, dry_run=True
    )
    assert one.content_hash() == two.content_hash()
    others = [
        msgspec.structs.replace(one, data={"x": 1, "y": [2]}),
        msgspec.structs.replace(one, user_ids=("a",)),
        msgspec.structs.replace(one, user_ids=("a",), device_ids=("b",)),
        msgspec.structs.replace(one, ttl_ms=1),
        msgspec.structs.replace(one, klass="otp"),
        msgspec.structs.replace(one, sms_text="x"),
        msgspec.structs.replace(one, collapse_key="x"),
        msgspec.structs.replace(one, not_before=5),
    ]
    hashes = {request.content_hash() for request in [one, *others]}
    assert len(hashes) == len(others) + 1


class Budget:
    """A throttle with so many permits left."""

    def __init__(self, left: int) -> None:
        self.left = left

    async def permit(self, key: str, *, limit: int, window_ms: int, now: int, cost: int = 1) -> int:
        if cost > self.left:
            return 400
        self.left -= cost
        return 0


@pytest.mark.parametrize("permits", [0, 1, 39, 40, 41, 100])
async def test_exactly_as_many_pass_as_the_throttle_permits(permits: int) -> None:
    allowances = Allowances(cast("Throttle", Budget(permits)), lambda: NOW)
    waits = [await allowances.take("key:a", 2_000) for _ in range(permits + 3)]
    assert waits.count(0) == permits
    assert all(wait > 0 for wait in waits[permits:])
