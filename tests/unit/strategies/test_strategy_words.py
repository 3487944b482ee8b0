"""What people read: explanations, the catalogue's page, who gets which version, who owns a class."""

from strategies.catalogue import CATALOGUE, INDEX, render_markdown
from strategies.compile import compile_strategy
from strategies.document import parse_document
from strategies.engine import plan
from strategies.explain import REASON_WORDS, explain, ladder_view, planned_detail
from strategies.facts import facts_of, row_from
from strategies.ladder import Reason
from strategies.ownership import owned_classes, owner_of
from strategies.rollout import gets_new, share_of

SOURCE = """
strategy: chat
rules:
  - {name: ios-default, when: device.platform == "ios", ladder: [{path: push, wait: auto(10s..60s)}]}
  - {name: everyone, ladder: [{path: longconn, wait: 5s}, {path: poll, if: user.muted}]}
"""
CHAT = compile_strategy(parse_document(SOURCE), "chat", 12)


def test_an_explanation_names_version_rule_facts_steps_and_skips() -> None:
    explanation = explain(plan(row_from({"device.platform": "ios", "device.p95_s.apns": 12.2}), CHAT))

    assert str(explanation).splitlines() == [
        'rule ios-default of chat@12 matched because device.platform == "ios" holds (device.platform = "ios")',
        "  1. apns, wait 13s (learned) for delivered",
        "  skipped for now: apns of step 1 (no live token is known)",
    ]
    assert explanation.facts == {"device.p95_s.push": 12.2, "device.platform": "ios"}


def test_a_rule_for_all_is_explained_by_the_rules_above_it() -> None:
    words = str(explain(plan(row_from({"device.platform": "web", "device.presence": "online"}), CHAT)))

    assert words.splitlines() == [
        'rule everyone of chat@12 matched because it matches all and no rule above it did (device.platform = "web")',
        "  1. longconn, wait 5s for delivered",
        "  2. poll, until the ttl for delivered, if user.muted",
    ]


def test_a_rule_that_could_not_be_judged_is_named() -> None:
    assert "  not judged: ios-default (missing: device.platform)" in str(explain(plan(row_from({}), CHAT)))


def test_the_planned_event_has_the_fields_of_the_timeline() -> None:
    made = plan(row_from({"device.platform": "ios"}), CHAT)

    detail = planned_detail(made)

    assert (detail["strategy"], detail["version"], detail["rule"]) == ("chat", 12, "ios-default")
    assert detail["facts"]["device.platform"] == "ios"
    assert detail["skipped"] == [{"path": "apns", "reason": "no_token", "step": 1}]
    assert ladder_view(made.ladder)[0]["wait_from"] == "no_history"


def test_every_reason_has_words() -> None:
    assert set(REASON_WORDS) == set(Reason)


def test_the_catalogue_covers_every_fact_of_the_document_format() -> None:
    paths = ("longconn", "apns", "fcm", "poll", "sms", "push")
    named = {
        *(f"message.{name}" for name in ("class", "priority", "ttl_s", "has_notification", "collapse_key", "age_s")),
        *(
            f"user.{name}"
            for name in ("locale", "local_hour", "in_quiet_hours", "sms_opt_in", "phone_country", "devices")
        ),
        *(f"device.{name}" for name in ("platform", "manufacturer", "os_version", "app_version", "alerts_enabled")),
        *(f"device.{name}" for name in ("presence", "foreground", "last_seen_s", "token.apns", "token.fcm")),
        *(f"device.{kind}.{path}" for kind in ("ack_rate", "p95_s") for path in paths),
        *(f"path.{path}.{kind}" for kind in ("healthy", "success_rate", "p95_s") for path in paths),
        "budget.sms_left",
    }

    assert named <= set(INDEX)
    assert len(INDEX) == len(CATALOGUE)


def test_the_page_shows_every_fact_once_and_every_sample_is_right() -> None:
    page = render_markdown()

    for fact in CATALOGUE:
        assert page.count(f"| `{fact.name}` |") == 1
        assert row_from({fact.name: fact.sample})[INDEX[fact.name]] == fact.sample
    everything = {fact.name: fact.sample for fact in CATALOGUE}
    assert facts_of(row_from(everything)) == everything


def test_a_rollout_is_stable_by_user_and_only_grows() -> None:
    users = [f"u{number}" for number in range(2_000)]
    tenth = {user for user in users if gets_new("app", "chat", user, 10)}
    half = {user for user in users if gets_new("app", "chat", user, 50)}

    assert tenth < half
    assert 140 < len(tenth) < 260
    assert not any(gets_new("app", "chat", user, 0) for user in users)
    assert all(gets_new("app", "chat", user, 100) for user in users)
    assert share_of("app", "chat", "u1") != share_of("app", "otp", "u1")


def test_a_class_belongs_to_the_strategy_that_names_it_else_to_default() -> None:
    codes = parse_document("strategy: codes\napplies_to: [otp]\nrules: [{name: a, ladder: [{path: poll}]}]")
    default = parse_document("strategy: default\napplies_to: [otp, chat]\nrules: [{name: a, ladder: [{path: poll}]}]")

    owned = owned_classes([default, codes])

    assert owned == {"otp": "codes"}
    assert (owner_of("otp", owned), owner_of("chat", owned)) == ("codes", "default")
