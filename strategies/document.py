"""The strategy document: its frozen types, and the reading of YAML or JSON text into them.

Reading judges form only (fields, types, bounds), with every fault's line and column; what needs the whole document or
CEL is judged in `strategies.validate`.
"""

from __future__ import annotations

import msgspec

from strategies import reader
from strategies.catalogue import PRIORITIES, WRITTEN_PATHS
from strategies.limits import UNIT_MS, Auto, Rate, parse_coalesce, parse_duration, parse_rate, parse_wait
from strategies.nodes import Node, decode, read_nodes
from strategies.problems import Problem, StrategyInvalid
from strategies.reader import Expression, Fields, Marked, Reader

UNTILS = ("delivered", "displayed", "opened")
REACHES = ("any", "each")
QUIET_ACTIONS = ("hold", "silent", "ignore")

DEFAULT_GRACE_MS = 20_000
DEFAULT_RETRIES = 3
MAX_RULES = 200
MAX_STEPS = 16
MAX_CLASSES = 64


class SmsLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What SMS may cost. A document that names none of the four caps sends no SMS.

    `budget` counts segments of the app, the other rates messages. `coalesce_ms`: one SMS per collapse key and window.
    """

    per_user: Rate | None = None
    per_number: Rate | None = None
    per_prefix: Rate | None = None
    budget: Rate | None = None
    max_segments: int = 2
    coalesce_ms: int | None = None

    @property
    def capped(self) -> bool:
        """At least one cap stands, so that a fault cannot spend without end."""
        return any((self.per_user, self.per_number, self.per_prefix, self.budget))


class PushLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many pushes one device may get."""

    per_device: Rate | None = None


class QuietHours(msgspec.Struct, frozen=True, kw_only=True):
    """Which classes respect the user's quiet hours, and how: hold, silent or ignore."""

    classes: tuple[str, ...]
    action: str


class StepDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One step as written: `paths` at once, a wait (ms, learned, or until the ttl), what proves it, and an `if`."""

    paths: tuple[str, ...]
    wait: int | Auto | None
    until: str
    condition: Expression | None
    retries: int
    priority: str | None
    line: int
    column: int


class RuleDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One rule as written; without `when` it matches all."""

    name: str
    when: Expression | None
    ladder: tuple[StepDocument, ...]
    line: int
    column: int


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy as written. `applies_to` is None on a strategy that owns what no other one names."""

    name: str
    applies_to: tuple[Marked, ...] | None
    reach: str
    sms: SmsLimits | None
    push: PushLimits | None
    grace_ms: int
    quiet_hours: QuietHours | None
    rules: tuple[RuleDocument, ...]

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes of `applies_to` without their places."""
        return None if self.applies_to is None else tuple(item.text for item in self.applies_to)


def parse_document(source: str | bytes) -> Document:
    """Read a document. Raises StrategyInvalid with every fault of form that can be told at once."""
    document, problems = read_document(source)
    if problems or document is None:
        raise StrategyInvalid(problems)
    return document


def read_document(source: str | bytes) -> tuple[Document | None, list[Problem]]:
    """What can be read of a document, and its faults of form. Raises StrategyInvalid where it is no tree at all."""
    text = decode(source)
    root = read_nodes(text)
    reading = Reader(text)
    return _document(reading, root), reading.problems


def _document(reading: Reader, root: Node) -> Document | None:
    fields = reading.fields(
        root, "a strategy", "strategy", "applies_to", "reach", "limits", "grace", "quiet_hours", "rules"
    )
    if fields is None:
        return None
    name = reading.word(fields, "strategy", reader.STRATEGY_NAME, required=True)
    applies_to = None
    if "applies_to" in fields:
        applies_to = reading.words(fields, "applies_to", reader.CLASS_NAME, MAX_CLASSES)
    reach = reading.choice(fields, "reach", REACHES) or "any"
    sms, push = _limits(reading, fields)
    grace = reading.parsed(fields, "grace", lambda text: parse_duration(text, most_ms=10 * UNIT_MS["m"]))
    quiet_hours = _quiet_hours(reading, fields)
    rules = _rules(reading, fields)
    return Document(
        name=name or "",
        applies_to=applies_to,
        reach=reach,
        sms=sms,
        push=push,
        grace_ms=DEFAULT_GRACE_MS if grace is None else grace,
        quiet_hours=quiet_hours,
        rules=rules,
    )


def _limits(reading: Reader, document: Fields) -> tuple[SmsLimits | None, PushLimits | None]:
    limits = reading.inner(document, "limits", "sms", "push")
    if limits is None:
        return None, None
    sms = reading.inner(limits, "sms", "per_user", "per_number", "per_prefix", "budget", "max_segments", "coalesce")
    push = reading.inner(limits, "push", "per_device")
    return (
        None
        if sms is None
        else SmsLimits(
            per_user=reading.parsed(sms, "per_user", parse_rate),
            per_number=reading.parsed(sms, "per_number", parse_rate),
            per_prefix=reading.parsed(sms, "per_prefix", parse_rate),
            budget=reading.parsed(sms, "budget", lambda text: parse_rate(text, unit="segments")),
            max_segments=reading.number(sms, "max_segments", 1, 10, default=2),
            coalesce_ms=reading.parsed(sms, "coalesce", parse_coalesce),
        ),
        None if push is None else PushLimits(per_device=reading.parsed(push, "per_device", parse_rate)),
    )


def _quiet_hours(reading: Reader, document: Fields) -> QuietHours | None:
    fields = reading.inner(document, "quiet_hours", "classes", "action")
    if fields is None:
        return None
    classes = reading.words(fields, "classes", reader.CLASS_NAME, MAX_CLASSES, required=True)
    action = reading.choice(fields, "action", QUIET_ACTIONS, required=True)
    return QuietHours(classes=tuple(item.text for item in classes), action=action or "ignore")


def _rules(reading: Reader, document: Fields) -> tuple[RuleDocument, ...]:
    rules: list[RuleDocument] = []
    names: set[str] = set()
    for node in reading.items(
        document, "rules", MAX_RULES, "write at least one rule: - {name: everyone, ladder: [...]}"
    ):
        fields = reading.fields(node, "a rule", "name", "when", "ladder")
        if fields is None:
            continue
        name = reading.word(fields, "name", reader.RULE_NAME, required=True) or ""
        if name and name in names:
            at = fields["name"]
            reading.fault(at, f"another rule is called {name!r}: give each rule its own name, explanations use it")
        names.add(name)
        rules.append(
            RuleDocument(
                name=name,
                when=reading.expression(fields, "when"),
                ladder=tuple(_ladder(reading, fields)),
                line=node.line,
                column=node.column,
            )
        )
    return tuple(rules)


def _ladder(reading: Reader, rule: Fields) -> list[StepDocument]:
    hint = "a ladder needs a step: write ladder: [{path: push, wait: 30s}]"
    steps = []
    for node in reading.items(rule, "ladder", MAX_STEPS, hint):
        fields = reading.fields(node, "a step", "path", "paths", "wait", "until", "if", "retries", "priority")
        if fields is None:
            continue
        steps.append(
            StepDocument(
                paths=_paths(reading, node, fields),
                wait=reading.parsed(fields, "wait", parse_wait),
                until=reading.choice(fields, "until", UNTILS) or "delivered",
                condition=reading.expression(fields, "if"),
                retries=reading.number(fields, "retries", 0, 10, default=DEFAULT_RETRIES),
                priority=reading.choice(fields, "priority", PRIORITIES),
                line=node.line,
                column=node.column,
            )
        )
    return steps


def _paths(reading: Reader, node: Node, step: Fields) -> tuple[str, ...]:
    if ("path" in step) == ("paths" in step):
        reading.fault(node, "a step has one of path and paths: write {path: push} or {paths: [longconn, push]}")
        return ()
    if "path" in step:
        path = reading.choice(step, "path", WRITTEN_PATHS)
        return (path,) if path else ()
    found: list[str] = []
    for item in reading.items(step, "paths", len(WRITTEN_PATHS), "name a path: paths: [longconn, push]"):
        path = reading.choice_of(item, "path", WRITTEN_PATHS)
        if path is None:
            continue
        if path in found:
            reading.fault(item, f"{path} stands twice in one step: name each path once")
        found.append(path)
    if "sms" in found and len(found) > 1:
        reading.fault(step["paths"], "sms is sent once per user, not beside others: give it a step of its own")
    return tuple(found)
