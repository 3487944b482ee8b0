"""Validation before anything is stored: every fault with line, column and what to write instead.

`check` is the one judge: the compiler refuses exactly what it reports.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from strategies.catalogue import CATALOGUE, INDEX, Known
from strategies.document import Document, RuleDocument, StepDocument, read_document
from strategies.expressions import Expression, ExpressionInvalid, compile_expression
from strategies.problems import Problem, StrategyInvalid
from strategies.reach import ALL, classes_when, only, same_condition
from strategies.reader import Expression as Written
from strategies.trees import Const

DEFAULT_STRATEGY = "default"


class CheckedRule(msgspec.Struct, frozen=True, eq=False):
    """A rule with its conditions compiled; `when` is None where it matches all."""

    document: RuleDocument
    when: Expression | None


def validate(source: str | bytes, *, owned_classes: Mapping[str, str] | None = None) -> list[Problem]:
    """Every problem of a document, in reading order; empty when it may be stored.

    `owned_classes` maps each class that a published strategy names to that strategy; given at publish, it adds the
    conflicts with others.
    """
    try:
        document, problems = read_document(source)
        if document is None:
            return sorted(problems)
        if problems:  # judging the whole would blame what merely could not be read; expressions stand for themselves
            return sorted([*problems, *_expression_problems(document)])
        check(document)
    except StrategyInvalid as invalid:
        return list(invalid.problems)
    return sorted(conflicts(document, owned_classes)) if owned_classes else []


def conflicts(document: Document, owned_classes: Mapping[str, str]) -> list[Problem]:
    """Classes of the document that another published strategy owns. `default` owns what is left, so never conflicts."""
    if document.name == DEFAULT_STRATEGY:
        return []
    return [
        Problem(
            item.line,
            item.column,
            f"class {item.text!r} belongs to the published strategy {owner!r}: take it out here or there first",
        )
        for item in document.applies_to or ()
        if (owner := owned_classes.get(item.text, document.name)) not in (document.name, DEFAULT_STRATEGY)
    ]


def check(document: Document) -> tuple[CheckedRule, ...]:
    """Compile every condition and judge the whole. Raises StrategyInvalid with all problems."""
    problems: list[Problem] = []
    rules: list[CheckedRule] = []
    unread: set[str] = set()
    for rule in document.rules:
        when = None
        if rule.when is not None:
            when = _compiled(rule.when, problems)
            if when is None:
                unread.add(rule.name)
            else:
                problems += _step_facts(when, rule.when)
        for step in rule.ladder:
            problems += _step(step, document)
        always = when is None or when.tree == Const(True, "bool")
        rules.append(CheckedRule(rule, None if always else when))
    problems += _reachable(document, rules, unread)
    if problems:
        raise StrategyInvalid(problems)
    return tuple(rules)


def _expression_problems(document: Document) -> list[Problem]:
    problems: list[Problem] = []
    for rule in document.rules:
        for written in (rule.when, *(step.condition for step in rule.ladder)):
            if written is not None:
                _compiled(written, problems)
    return problems


def _compiled(written: Written, problems: list[Problem]) -> Expression | None:
    try:
        return compile_expression(written.text)
    except ExpressionInvalid as invalid:
        problems += [Problem(*written.place(fault.line, fault.column), fault.message) for fault in invalid.faults]
        return None


def _step_facts(when: Expression, written: Written) -> list[Problem]:
    late = [name for name in when.names if CATALOGUE[INDEX[name]].known is Known.STEP]
    line, column = written.place(1, 1)
    hint = "use it in a step's `if`"
    return [Problem(line, column, f"{name} is known only when a step's turn comes: {hint}") for name in late]


def _step(step: StepDocument, document: Document) -> list[Problem]:
    problems: list[Problem] = []
    if step.condition is not None:
        _compiled(step.condition, problems)
    if "sms" in step.paths and (document.sms is None or not document.sms.capped):
        hint = "write limits: {sms: {per_user: 3/1d, budget: 20000 segments/1d}}"
        problems.append(Problem(step.line, step.column, f"sms without a limit can cost without end: {hint}"))
    return problems


def _reachable(document: Document, rules: list[CheckedRule], unread: set[str]) -> list[Problem]:
    problems: list[Problem] = []
    allowed = ALL if document.applies_to is None else only(document.classes or ())
    earlier: dict[str, str] = {}
    for_all: str | None = None
    for rule in rules:
        line, column, name = rule.document.line, rule.document.column, rule.document.name
        if for_all is not None:
            hint = "move it above, or remove it"
            problems.append(Problem(line, column, f"rule {name!r} is never reached, {for_all!r} matches all: {hint}"))
            continue
        if rule.when is None:
            if name not in unread:
                for_all = name
            continue
        possible = classes_when(rule.when.tree)
        form = same_condition(rule.when.tree)
        if possible.none:
            problems.append(Problem(line, column, f"rule {name!r} can never match: correct its when, or remove it"))
        elif possible.both(allowed).none:
            classes = ", ".join(document.classes or ())
            hint = f"applies_to has only {classes}; add the class there, or remove the rule"
            problems.append(Problem(line, column, f"rule {name!r} is never reached: {hint}"))
        elif form in earlier:
            hint = "join the two, or change one"
            words = f"rule {name!r} is never reached, {earlier[form]!r} has the same condition: {hint}"
            problems.append(Problem(line, column, words))
        earlier.setdefault(form, name)
    if rules and for_all is None:
        last = rules[-1].document
        hint = "add - {name: everyone, ladder: [{path: longconn, wait: 10s}, {path: push}]}"
        problems.append(
            Problem(last.line, last.column, f"the last rule ({last.name!r}) must match all, so without when: {hint}")
        )
    return problems
