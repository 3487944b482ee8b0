"""The engine: the first rule that matches, paths that cannot be taken, learned waits, grace, quiet hours."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from strategies.availability import unavailable
from strategies.catalogue import INDEX, Group
from strategies.compile import Strategy, compile_strategy
from strategies.default import default_strategy
from strategies.document import parse_document
from strategies.engine import next_step, plan, plan_batch, step_allowed
from strategies.facts import FactsInvalid, Row, group_row, join, row_from
from strategies.ladder import Reason, WaitBasis, pack_ladder, pack_plan, unpack_ladder, unpack_plan

SAMPLE = """
strategy: sample
limits: {sms: {per_user: 3/1d, coalesce: collapse_key/10m}, push: {per_device: 60/1m}}
grace: 20s
quiet_hours: {classes: [alert], action: hold}
rules:
  - name: call
    when: message.class == "call"
    ladder: [{path: longconn, wait: 2s}, {path: push, wait: 6s, priority: high, retries: 1}]
  - name: ios, alerts off
    when: device.platform == "ios" && !device.alerts_enabled
    ladder: [{path: longconn, wait: 5s}, {path: poll, wait: 10m}]
  - name: flaky android
    when: device.platform == "android" && device.ack_rate.longconn < 0.5
    ladder: [{paths: [longconn, push], wait: 10s}, {path: poll, wait: 15m}]
  - name: everyone
    ladder:
      - {path: longconn, wait: auto(2s..15s)}
      - {path: push, wait: auto(10s..60s), until: displayed}
      - {path: poll, wait: 30m}
      - {path: sms, if: 'user.sms_opt_in && message.priority == "high"'}
"""

PHONE = {
    "message.class": "chat",
    "message.priority": "high",
    "device.platform": "ios",
    "device.alerts_enabled": True,
    "device.presence": "online",
    "device.token.apns": True,
    "device.token.fcm": False,
    "device.ack_rate.longconn": 0.9,
    "user.sms_opt_in": True,
    "user.has_phone": True,
    "user.phone_verified": True,
    "user.in_quiet_hours": False,
}


def phone(**changes: object) -> Row:
    return row_from({**PHONE, **{name.replace("__", "."): value for name, value in changes.items()}})


@pytest.fixture(scope="module")
def sample() -> Strategy:
    return compile_strategy(parse_document(SAMPLE), "sample", 12)


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        (phone(message__class="call", device__alerts_enabled=False), "call"),
        (phone(device__alerts_enabled=False), "ios, alerts off"),
        (phone(device__platform="android", device__ack_rate__longconn=0.49), "flaky android"),
        (phone(device__platform="android", device__ack_rate__longconn=0.5), "everyone"),
        (phone(), "everyone"),
    ],
)
def test_the_first_rule_that_matches_wins(sample: Strategy, facts: Row, rule: str) -> None:
    made = plan(facts, sample)

    assert (made.strategy, made.version, made.rule) == ("sample", 12, rule)


def test_a_missing_fact_does_not_match_and_is_counted(sample: Strategy) -> None:
    made = plan(phone(device__platform="android", device__ack_rate__longconn=None), sample)

    assert made.rule == "everyone"
    assert [(gap.rule, gap.missing) for gap in made.unknown] == [("flaky android", ("device.ack_rate.longconn",))]
    assert plan(phone(device__ack_rate__longconn=None), sample).unknown == ()  # the platform alone settles it


def test_push_stands_for_the_devices_own_vendor_path(sample: Strategy) -> None:
    def paths(facts: Row) -> tuple[str, ...]:
        return plan(facts, sample).steps[1].paths

    assert paths(phone()) == ("apns",)
    assert paths(phone(device__token__apns=False, device__token__fcm=True)) == ("fcm",)
    assert paths(phone(device__platform="android", device__token__apns=False)) == ("fcm",)
    assert paths(phone(device__platform="web", device__token__apns=False)) == ("push",)


def test_paths_tried_at_once_become_one_step(sample: Strategy) -> None:
    made = plan(phone(device__platform="android", device__ack_rate__longconn=0.1, device__token__fcm=True), sample)

    assert made.steps[0].paths == ("longconn", "fcm")


@pytest.mark.parametrize(
    ("p95_s", "wait_ms", "basis"),
    [
        (None, 15_000, WaitBasis.NO_HISTORY),
        (0.3, 2_000, WaitBasis.LEARNED),
        (3.1, 3_250, WaitBasis.LEARNED),
        (12.2, 13_000, WaitBasis.LEARNED),
        (14.9999, 15_000, WaitBasis.LEARNED),
        (400.0, 15_000, WaitBasis.LEARNED),
    ],
)
def test_a_learned_wait_stays_inside_its_bounds(
    sample: Strategy, p95_s: float | None, wait_ms: int, basis: WaitBasis
) -> None:
    step = plan(phone(device__p95_s__longconn=p95_s), sample).steps[0]

    assert (step.wait_ms, step.basis) == (wait_ms, basis)


def test_the_slowest_path_of_a_step_gives_its_learned_wait() -> None:
    strategy = compile_strategy(
        parse_document("strategy: t\nrules:\n  - {name: a, ladder: [{paths: [longconn, push], wait: auto(1s..60s)}]}"),
        "t",
        1,
    )

    made = plan(phone(device__p95_s__longconn=3.0, device__p95_s__apns=30.0), strategy)

    assert made.steps[0].wait_ms == 30_000
    assert made.facts["device.p95_s.push"] == 30.0


@pytest.mark.parametrize(
    ("path", "changes", "reason"),
    [
        ("longconn", {}, None),
        ("longconn", {"device__presence": "offline"}, Reason.OFFLINE),
        ("longconn", {"device__presence": "reconnecting", "device__reconnecting_s": 19.0}, None),
        ("longconn", {"device__presence": "reconnecting", "device__reconnecting_s": 20.0}, Reason.OFFLINE),
        ("longconn", {"device__presence": None}, None),
        ("longconn", {"device__platform": "none"}, Reason.NO_DEVICE),
        ("longconn", {"path__longconn__healthy": False}, Reason.CIRCUIT_OPEN),
        ("push", {}, None),
        ("push", {"device__token__apns": False}, Reason.NO_TOKEN),
        ("push", {"device__platform": "none", "device__token__apns": False}, Reason.NO_DEVICE),
        ("push", {"device__platform": "harmony", "device__token__apns": False}, Reason.NO_VENDOR_PATH),
        ("push", {"path__apns__healthy": False}, Reason.CIRCUIT_OPEN),
        ("push", {"path__fcm__healthy": False}, None),
        ("push", {"user__muted": True}, Reason.MUTED),
        ("fcm", {}, Reason.NO_TOKEN),
        ("poll", {"device__platform": "none"}, None),
        ("sms", {}, None),
        ("sms", {"user__has_phone": False}, Reason.NO_PHONE),
        ("sms", {"user__has_phone": None}, Reason.NO_PHONE),
        ("sms", {"user__phone_verified": False}, Reason.UNVERIFIED_NUMBER),
        ("sms", {"user__sms_opted_out": True}, Reason.OPTED_OUT),
        ("sms", {"user__sms_opted_out": True, "message__class": "otp"}, None),
        ("sms", {"user__muted": True}, Reason.MUTED),
        ("sms", {"budget__sms_left": 0}, Reason.BUDGET_EXHAUSTED),
        ("sms", {"path__sms__healthy": False}, Reason.CIRCUIT_OPEN),
    ],
)
def test_a_path_that_cannot_be_taken_is_skipped_with_its_reason(
    path: str, changes: dict[str, object], reason: Reason | None
) -> None:
    assert unavailable(path, phone(**changes)) is reason


def test_skipped_paths_cost_no_wait_and_keep_their_reason(sample: Strategy) -> None:
    facts = phone(device__presence="offline", device__token__apns=False)
    made = plan(facts, sample)

    turn = next_step(made.ladder, -1, facts)

    assert [(skip.path, skip.reason) for skip in made.skipped] == [("longconn", "offline"), ("apns", "no_token")]
    assert (turn.index, turn.paths, turn.wait_ms) == (2, ("poll",), 1_800_000)
    assert turn.skipped == made.skipped


def test_a_condition_is_asked_when_its_turn_comes(sample: Strategy) -> None:
    ladder = plan(phone(), sample).ladder

    assert next_step(ladder, 2, phone()).paths == ("sms",)
    assert step_allowed(ladder, 3, phone(message__priority="low")) == (False, Reason.CONDITION)
    assert step_allowed(ladder, 3, phone(user__sms_opt_in=None)) == (False, Reason.CONDITION_UNKNOWN)
    ended = next_step(ladder, 2, phone(user__sms_opt_in=False))
    assert ended.index is None
    assert [(skip.step, skip.path, skip.reason) for skip in ended.skipped] == [(3, "sms", "condition")]


def test_a_ladder_is_usable_after_travelling_without_its_strategy(sample: Strategy) -> None:
    made = plan(phone(), sample)

    ladder = unpack_ladder(pack_ladder(made.ladder))

    assert ladder == made.ladder
    assert ladder.sms is not None
    assert ladder.sms.coalesce_ms == 600_000
    assert ladder.push is not None
    assert next_step(ladder, 2, phone()) == next_step(made.ladder, 2, phone())
    assert unpack_plan(pack_plan(made)) == made


@pytest.mark.parametrize(
    ("message_class", "lost_s", "wait_ms"),
    [("chat", 4.0, 16_000), ("chat", 19.0, 2_000), ("call", 4.0, 2_000), ("chat", None, 20_000)],
)
def test_a_reconnecting_device_gets_the_rest_of_its_grace(
    sample: Strategy, message_class: str, lost_s: float | None, wait_ms: int
) -> None:
    facts = phone(
        message__class=message_class,
        device__presence="reconnecting",
        device__reconnecting_s=lost_s,
        device__p95_s__longconn=1.0,
    )

    assert next_step(plan(facts, sample).ladder, -1, facts).wait_ms == wait_ms


def test_quiet_hours_hold_push_and_sms_but_not_longconn_and_poll(sample: Strategy) -> None:
    facts = phone(message__class="alert", user__in_quiet_hours=True)
    ladder = plan(facts, sample).ladder

    turns = [next_step(ladder, after, facts) for after in (-1, 0, 1, 2)]

    assert [(turn.paths, turn.held) for turn in turns] == [
        (("longconn",), ()),
        ((), ("apns",)),
        (("poll",), ()),
        ((), ("sms",)),
    ]
    assert next_step(ladder, 0, phone(message__class="alert")).paths == ("apns",)
    assert plan(phone(user__in_quiet_hours=True), sample).ladder.quiet is None  # chat rings at night


def test_silent_quiet_hours_send_without_a_sound() -> None:
    source = SAMPLE.replace("action: hold", "action: silent")
    strategy = compile_strategy(parse_document(source), "sample", 1)
    facts = phone(message__class="alert", user__in_quiet_hours=True)

    turn = next_step(plan(facts, strategy).ladder, 0, facts)

    assert (turn.paths, turn.held, turn.silent) == (("apns",), (), True)


def test_equal_facts_share_one_plan(sample: Strategy) -> None:
    one, same, other = phone(), phone(device__last_seen_s=3.0), phone(device__p95_s__longconn=9.0)

    plans = plan_batch([one, same, other, one], sample)

    assert plans[0] is plans[1] is plans[3]
    assert plans == [plan(facts, sample) for facts in (one, same, other, one)]


def test_rows_are_made_of_parts_that_a_batch_shares() -> None:
    values = {name: value for name, value in PHONE.items() if not isinstance(value, tuple)}
    parts = [group_row(group, values) for group in Group]  # type: ignore[arg-type]  # samples of each fact's own type

    assert join(*parts) == tuple(values.get(name) for name in INDEX)


def test_facts_from_outside_are_checked_by_name_and_type() -> None:
    with pytest.raises(FactsInvalid) as refused:
        row_from({"device": {"platform": "amiga", "typo": 1}, "user.devices": "two", "message.age_s": float("nan")})

    assert set(refused.value.faults) == {"device.platform", "device.typo", "user.devices", "message.age_s"}
    assert row_from({"message": {"age_s": 3}})[INDEX["message.age_s"]] == 3.0


EVERYWHERE = [
    (message_class, platform)
    for message_class in ("chat", "call", "otp", "transactional", "alert", "campaign", "anything_else")
    for platform in ("ios", "android", "harmony", "web", "none")
]


@pytest.mark.parametrize(("message_class", "platform"), EVERYWHERE)
def test_the_shipped_strategy_has_a_way_for_every_class_on_every_platform(message_class: str, platform: str) -> None:
    facts = phone(
        message__class=message_class,
        device__platform=platform,
        device__presence="offline",
        device__token__apns=platform == "ios",
        device__token__fcm=platform == "android",
    )
    ladder = plan(facts, default_strategy()).ladder

    first = next_step(ladder, -1, facts)

    assert first.index is not None
    used = {path for step in ladder.steps for path in step.paths}
    assert "poll" in used
    assert not (message_class in ("campaign", "call") and "sms" in used)
    if message_class == "otp":
        assert first.paths == {"ios": ("apns",), "android": ("fcm",)}.get(platform, ("sms",))


def test_the_shipped_strategy_sends_a_code_by_sms_within_thirteen_seconds() -> None:
    facts = phone(message__class="otp", user__sms_opt_in=False)
    ladder = plan(facts, default_strategy()).ladder

    assert [step.wait_ms for step in ladder.steps[:2]] == [3_000, 10_000]
    assert next_step(ladder, 1, facts).paths == ("sms",)


def test_the_shipped_strategy_sends_chat_by_sms_only_when_urgent_and_agreed() -> None:
    ladder = plan(phone(), default_strategy()).ladder
    last = len(ladder.steps) - 2

    assert next_step(ladder, last, phone()).paths == ("sms",)
    assert next_step(ladder, last, phone(message__priority="normal")).index is None
    assert next_step(ladder, last, phone(user__sms_opt_in=False)).index is None


def test_threads_share_a_strategy(sample: Strategy) -> None:
    cases = [phone(device__p95_s__longconn=number / 10, device__presence="offline") for number in range(200)]
    expected = [plan(facts, compile_strategy(parse_document(SAMPLE), "sample", 12)) for facts in cases]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: [plan(facts, sample) for facts in cases], range(8)))

    assert all(answer == expected for answer in answers)
