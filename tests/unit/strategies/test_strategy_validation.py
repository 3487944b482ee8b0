"""Every fault of a document is told with line, column and what to write instead, before anything is stored."""

import time

import pytest

from strategies.compile import compile_strategy
from strategies.default import default_source
from strategies.document import parse_document
from strategies.problems import StrategyInvalid
from strategies.validate import validate

HEAD = """\
strategy: t
applies_to: [chat, otp]
limits: {sms: {per_user: 3/1d}}
rules:
"""
LAST = "  - {name: all, ladder: [{path: poll}]}\n"


def when(expression: str) -> str:
    return f"{HEAD}  - name: a\n    when: {expression}\n    ladder: [{{path: poll}}]\n{LAST}"


def step(written: str) -> str:
    return f"{HEAD}  - name: a\n    ladder:\n      - {written}\n"


def rules(*written: str) -> str:
    return HEAD + "".join(f"  - {rule}\n" for rule in written)


def head(line: str) -> str:
    return f"strategy: t\n{line}\nrules:\n{LAST}"


ALL = "{name: all, ladder: [{path: poll}]}"

FAULTS = [
    # unknown field, path, class, fact
    (head("color: red"), 2, 1, "unknown field 'color'"),
    (head("graze: 20s"), 2, 1, "did you mean grace?"),
    (head("limits: {email: {}}"), 2, 10, "write one of sms, push"),
    (head("limits: {sms: {per_person: 3/1d}}"), 2, 16, "unknown field 'per_person'"),
    (rules("{name: a, colour: 1, ladder: [{path: poll}]}"), 5, 15, "unknown field 'colour' in a rule"),
    (step("{path: poll, tries: 3}"), 7, 22, "unknown field 'tries' in a step"),
    (step("{path: pushh}"), 7, 16, "did you mean push?"),
    (step("{paths: [longconn, mail]}"), 7, 28, "write one of longconn, push, apns, fcm, poll, sms"),
    (head("applies_to: [Chat]"), 2, 14, "write 1 to 32 of a-z, 0-9 and _"),
    (when('message.class == "Not A Class"'), 6, 29, "a class is 1 to 32"),
    (when("device.typo"), 6, 11, "unknown fact 'device.typo'"),
    (when("'true || device.platfrm == \"ios\"'"), 6, 20, "did you mean device.platform?"),
    (when("|\n      user.muted\n        && device.typo"), 8, 12, "unknown fact 'device.typo'"),
    (when('device.platform == "iphone"'), 6, 31, "write one of ios, android, harmony, web, none"),
    # a wrong type
    (when("device.platform == 7"), 6, 27, "cannot take (string, int): a text stands in double quotes"),
    (when("device.ack_rate.longconn < 1"), 6, 36, "write the number with a point, such as 1.0"),
    (when("device.platform"), 6, 11, "this gives a string, not true or false"),
    (when('\'"a" + 1 == "b"\''), 6, 16, "'+' cannot take (string, int)"),
    (step("{path: poll, if: user.devices}"), 7, 26, "this gives a int, not true or false"),
    (head("strategy: 7").replace("strategy: t\n", "", 1), 1, 11, "7 is read as a number: put it in quotes"),
    (head("applies_to: [on]"), 2, 14, "on is read as true or false: put it in quotes"),
    (head("applies_to: chat"), 2, 13, "applies_to is a list"),
    (head("limits: 3"), 2, 9, "limits is a mapping"),
    ("strategy: t\nrules: 3\n", 2, 8, "rules is a list"),
    ("- 1\n", 1, 1, "a strategy is a mapping"),
    (step("{path: poll, retries: 1.5}"), 7, 31, "write 0 to 10"),
    (step("{path: poll, priority: urgent}"), 7, 32, "write one of high, normal, low"),
    (step("{path: poll, until: read}"), 7, 29, "write one of delivered, displayed, opened"),
    (head("reach: all"), 2, 8, "write one of any, each"),
    (head("quiet_hours: {classes: [chat], action: wait}"), 2, 40, "write one of hold, silent, ignore"),
    (head("quiet_hours: {action: hold}"), 2, 14, "classes is missing"),
    (when("[x]"), 6, 11, "brackets made a list or mapping of it"),
    (when(""), 6, 10, "leave when out to match always"),
    (when("''"), 6, 12, "the expression is empty"),
    # a wait out of bounds
    (step("{path: poll, wait: 500ms}"), 7, 28, "write 1s to 7d"),
    (step("{path: poll, wait: 8d}"), 7, 28, "write 1s to 7d"),
    (step("{path: poll, wait: 10}"), 7, 28, "write 10s for seconds"),
    (step("{path: poll, wait: soon}"), 7, 28, "such as 200ms, 3s, 10m, 2h or 7d"),
    (step("{path: poll, wait: auto(9s..3s)}"), 7, 28, "auto(3s..9s)"),
    (step("{path: poll, wait: auto(9s)}"), 7, 28, "write auto(2s..15s)"),
    (step("{path: poll, wait: .nan}"), 7, 28, "is not a duration"),
    (head("grace: 11m"), 2, 8, "write 0s to 10m"),
    (head("limits: {sms: {per_user: 3}}"), 2, 26, "such as 3/1d"),
    (head("limits: {sms: {per_user: 0/1d}}"), 2, 26, "write at least 1"),
    (head("limits: {sms: {budget: 3/1d}}"), 2, 24, "such as 20000 segments/1d"),
    (head("limits: {sms: {coalesce: user/10m}}"), 2, 26, "write collapse_key/10m"),
    (head("limits: {sms: {max_segments: 11}}"), 2, 30, "write 1 to 10"),
    # the rules as a whole
    (rules("{name: a, when: user.muted, ladder: [{path: poll}]}"), 5, 5, "the last rule ('a') must match all"),
    (rules(ALL, "{name: b, ladder: [{path: poll}]}"), 6, 5, "never reached, 'all' matches all"),
    (
        rules(
            "{name: a, when: user.muted && user.sms_opt_in, ladder: [{path: poll}]}",
            "{name: b, when: user.sms_opt_in && user.muted, ladder: [{path: poll}]}",
            ALL,
        ),
        6,
        5,
        "'a' has the same condition",
    ),
    (rules("{name: a, when: 'message.class == \"call\"', ladder: [{path: poll}]}", ALL), 5, 5, "applies_to has only"),
    (
        rules('{name: a, when: \'message.class in ["x", "y"] && user.muted\', ladder: [{path: poll}]}', ALL),
        5,
        5,
        "applies_to has only chat, otp",
    ),
    (
        rules('{name: a, when: \'message.class == "otp" && message.class != "otp"\', ladder: [{path: poll}]}', ALL),
        5,
        5,
        "can never match",
    ),
    (rules("{name: a, when: 'false', ladder: [{path: poll}]}", ALL), 5, 5, "can never match"),
    (rules("{name: all, when: user.muted, ladder: [{path: poll}]}", ALL), 6, 12, "another rule is called 'all'"),
    (rules("{name: a, ladder: []}"), 5, 23, "a ladder needs a step"),
    (rules("{name: a}"), 5, 5, "ladder is missing"),
    ("strategy: t\nrules: []\n", 2, 8, "rules is empty"),
    ("strategy: t\n", 1, 1, "rules is missing"),
    (rules("{ladder: [{path: poll}]}"), 5, 5, "name is missing"),
    ("rules:\n" + LAST, 1, 1, "strategy is missing"),
    ("strategy: t\nrules:\n  - {name: a, ladder: [{path: sms}]}\n", 3, 24, "sms without a limit"),
    (
        "strategy: t\nlimits: {sms: {max_segments: 1}}\nrules:\n  - {name: a, ladder: [{path: sms}]}\n",
        4,
        24,
        "sms without a limit",
    ),
    (step("{wait: 3s}"), 7, 9, "one of path and paths"),
    (step("{path: poll, paths: [push]}"), 7, 9, "one of path and paths"),
    (step("{paths: [push, push]}"), 7, 24, "push stands twice"),
    (step("{paths: [push, sms]}"), 7, 17, "give it a step of its own"),
    (head("applies_to: [chat, chat]"), 2, 20, "stands twice"),
    (when("message.age_s > 1.0"), 6, 11, "known only when a step's turn comes"),
    # expressions that would run long, deep or never
    (when("'" + "(" * 40 + "true" + ")" * 40 + "'"), 6, 12, "nests too deep"),
    (when("'" + "+".join(["1"] * 90) + " == 1'"), 6, 12, "nests too deep"),
    (when('device.platform == "' + "x" * 1000 + '"'), 6, 11, "write at most 1000"),
    (when("'[1, 2].exists(x, x > 1)'"), 6, 19, "exists() is not taken"),
    (when("has(device.platform)"), 6, 11, "leave has() out"),
    (when("'device.os_version.matches(\"(\")'"), 6, 39, "no RE2 expression"),
    (when("device.os_version.matches(device.app_version)"), 6, 29, "needs a fixed pattern"),
    (when("device.platform = 'ios'"), 6, 27, "Syntax error"),
    (when("'user.muted ? user.muted ? true : false : false'"), 6, 36, "put the inner one in brackets"),
    # YAML's traps
    (when("!device.alerts_enabled"), 6, 11, "put the expression in quotes"),
    (when("&x user.muted"), 6, 11, "anchors (&) are not taken"),
    (when("*x"), 6, 11, "aliases (*) are not taken"),
    (step('{path: poll, if: device.platform in ["ios"]}'), 7, 45, "put the expression in quotes"),
    (when('"ios" == device.platform'), 6, 17, "put the expression in quotes"),
    (when("user.muted ? true : false"), 6, 29, "put the expression in quotes"),
    (head("reach: any\nreach: each"), 3, 1, "stands twice here"),
    (head("reach: !!str any"), 2, 8, "YAML tag"),
    (head("<<: {reach: any}"), 2, 1, "unknown field '<<'"),
    ("strategy: t\n\tgrace: 3s\n", 2, 1, "indent with spaces"),
    ("strategy: a\n---\nstrategy: b\n", 2, 1, "a second document"),
    ("", 1, 1, "the document is empty"),
    ("# nothing\n", 1, 1, "the document is empty"),
    ("[" * 5000, 1, 14, "nested more than 12 deep"),
    ('{"a":' * 5000, 1, 66, "nested more than 12 deep"),
    ("strategy: t\x00\n", 1, 12, "a character that a document cannot hold"),
    (b"strategy: t\nreach: \xff\n", 2, 8, "not UTF-8"),
    ("strategy: t # " + "x" * 1_000_000, 1, 1, "larger than 256 KiB"),
    # JSON is the same document
    ('{"strategy": "t",\n "reach": "all", "rules": []}', 2, 11, "write one of any, each"),
    ('{"strategy": "t", "strategy": "u"}', 1, 19, "stands twice here"),
    ('{"strategy": "\\ud800"}', 1, 14, "half a surrogate pair"),
    (
        '{"strategy": "t", "grace": 20, "rules": [{"name": "a", "ladder": [{"path": "poll"}]}]}',
        1,
        28,
        "20s for seconds",
    ),
]


@pytest.mark.parametrize(("source", "line", "column", "words"), FAULTS)
def test_a_fault_is_told_with_its_place_and_what_to_write(
    source: str | bytes, line: int, column: int, words: str
) -> None:
    problems = validate(source)

    assert (line, column) in {(problem.line, problem.column) for problem in problems}, [str(p) for p in problems]
    assert any(words in problem.message for problem in problems), [str(p) for p in problems]


@pytest.mark.parametrize(("source", "line", "column", "words"), FAULTS)
def test_what_the_validator_refuses_does_not_compile(source: str | bytes, line: int, column: int, words: str) -> None:
    with pytest.raises(StrategyInvalid):
        compile_strategy(parse_document(source), "t", 1)


def test_faults_of_form_and_of_expressions_are_told_together() -> None:
    problems = validate(step("{path: mail, if: device.typo, wait: 3}"))

    assert [problem.column for problem in problems] == [16, 26, 45]


def test_the_shipped_strategy_has_no_fault() -> None:
    assert validate(default_source()) == []


def test_a_class_that_another_published_strategy_owns_is_refused_at_publish_only() -> None:
    source = HEAD + LAST

    assert validate(source) == []
    problems = validate(source, owned_classes={"otp": "codes", "chat": "t", "alert": "alarms"})
    assert [(p.line, p.column) for p in problems] == [(2, 20)]
    assert "belongs to the published strategy 'codes'" in problems[0].message


def test_default_never_conflicts() -> None:
    source = (HEAD + LAST).replace("strategy: t", "strategy: default")

    assert validate(source, owned_classes={"otp": "codes"}) == []
    assert validate(HEAD + LAST, owned_classes={"otp": "default"}) == []


@pytest.mark.parametrize(
    "source",
    [
        when("device.platform in ['ios'] && !user.muted"),
        when("'!user.muted'"),
        when(">-\n      user.muted\n      && user.sms_opt_in"),
        when("device.os_version.matches('^8')"),
        step("{path: sms, if: 'message.age_s > 30.0', wait: auto(2s..7d), until: opened, retries: 0, priority: low}"),
        '{"strategy": "t", "rules": [{"name": "\\u4eba", "when": null, "ladder": [{"path": "poll"}]}]}'.replace(
            '"when": null, ', ""
        ),
        "\ufeffstrategy: t\nrules:\n" + LAST,
        (HEAD + LAST).replace("\n", "\r\n"),
    ],
)
def test_a_right_document_is_accepted(source: str) -> None:
    assert validate(source.encode()) == []


@pytest.mark.parametrize(
    "source", ["x" * 1_048_576, "- " * 120_000, "[" * 262_000, "a: " + "?" * 250_000, '"' * 260_000]
)
def test_a_huge_document_is_refused_quickly(source: str) -> None:
    started = time.process_time()

    assert validate(source)
    assert time.process_time() - started < 1.0
