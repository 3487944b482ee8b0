"""A checked document as a strategy that decides: conditions compiled once, facts found, ladders prepared.

A Strategy is shared by threads. What it remembers (ladders already built) is bounded and only saves work: the same
facts give the same plan with or without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any, TypeAlias

from strategies.availability import FACTS_READ
from strategies.catalogue import INDEX
from strategies.document import Document, RuleDocument
from strategies.expressions import Expression
from strategies.facts import Row, picker
from strategies.ladder import Ladder, Skip
from strategies.limits import Auto
from strategies.predicates import chain, is_false
from strategies.validate import check


class Shape:
    """A rule's ladder for one set of availability facts. `ladders` holds it with the learned waits filled in, `legs`
    what `strategies.legs` made of it for replaying.
    """

    __slots__ = ("ladder", "ladders", "legs", "skipped")

    def __init__(self, ladder: Ladder, skipped: tuple[Skip, ...]) -> None:
        self.ladder = ladder
        self.skipped = skipped
        self.ladders: dict[tuple[int | None, ...], Ladder] = {}
        self.legs: Any = None


LearnedWait: TypeAlias = tuple[int, tuple[int, ...], int, int]
"""A step whose wait is learned: its place, where the p95 facts of its paths stand in a row, the bounds in ms."""

MAX_SHAPES = 4_096
"""How many ladders a rule remembers (and each of these with learned waits) before it starts anew."""

_ALWAYS = ("message.class", "device.platform")
"""Read by every rule: the class decides about quiet hours, the platform about `push`. (A picker needs two names.)"""

_MOVING = ("budget.sms_left", "device.presence", "device.reconnecting_s")
"""Facts that planning looks at beside the rules' own: is the grace over, is the budget gone."""


class Rule:
    """One rule, ready to be asked. `decides`: the facts of all rules asked up to this one, and of its learned waits."""

    __slots__ = (
        "condition",
        "decides",
        "document",
        "has_sms",
        "index",
        "learned",
        "name",
        "pick_decides",
        "pick_shape",
        "shapes",
        "sharing",
        "when",
    )

    def __init__(self, index: int, document: RuleDocument, when: Expression | None, asked: Iterable[str]) -> None:
        self.index = index
        self.document = document
        self.name = document.name
        self.when = when
        self.condition = None if when is None else when.text
        self.learned: tuple[LearnedWait, ...] = tuple(
            (place, tuple(INDEX[_p95(path)] for path in step.paths), step.wait.least_ms, step.wait.most_ms)
            for place, step in enumerate(document.ladder)
            if isinstance(step.wait, Auto)
        )
        paths = [path for step in document.ladder for path in step.paths]
        self.has_sms = "sms" in paths
        p95 = [_p95(path) for place, *_ in self.learned for path in document.ladder[place].paths]
        self.decides = tuple(sorted({*asked, *p95}))
        self.pick_decides = _picker(self.decides)
        reads = tuple(dict.fromkeys((*_ALWAYS, *(name for path in paths for name in FACTS_READ[path]))))
        self.pick_shape = picker(reads)
        self.sharing = frozenset((*reads, *self.decides))
        #: by whether the device's grace is over (1) and the budget gone (2)
        self.shapes: tuple[dict[Row, Shape], ...] = ({}, {}, {}, {})


def _p95(path: str) -> str:
    return f"device.p95_s.{path}"


class Strategy:
    """A published (or tried) version of a strategy. Use `strategies.engine` to ask it."""

    __slots__ = (
        "document",
        "first_match",
        "name",
        "pick_shared",
        "referenced",
        "rules",
        "surely_false",
        "version",
    )

    def __init__(self, document: Document, name: str, version: int) -> None:
        self.document = document
        self.name = name
        self.version = version
        asked: list[str] = []
        rules: list[Rule] = []
        for index, checked in enumerate(check(document)):
            asked += checked.when.names if checked.when else ()
            rules.append(Rule(index, checked.document, checked.when, asked))
        self.rules: tuple[Rule, ...] = tuple(rules)
        self.referenced: tuple[str, ...] = tuple(dict.fromkeys(asked))
        sharing = frozenset(_MOVING).union(*(rule.sharing for rule in rules))
        self.pick_shared: Callable[[Row], Row] = picker(tuple(sorted(sharing)))
        self.first_match: Callable[[Row], int] = chain([rule.when for rule in self.rules])
        self.surely_false: tuple[Callable[[Row], bool] | None, ...] = tuple(
            None if rule.when is None else is_false(rule.when) for rule in self.rules
        )

    def __repr__(self) -> str:
        return f"Strategy({self.name}@{self.version}, {len(self.rules)} rules)"

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes it owns; None for one that owns what no other names."""
        return self.document.classes


def compile_strategy(document: Document, name: str, version: int) -> Strategy:
    """Compile a parsed document. Raises StrategyInvalid with exactly the problems that `validate` reports."""
    return Strategy(document, name, version)


def _picker(names: tuple[str, ...]) -> Callable[[Row], Row]:
    if len(names) > 1:
        return itemgetter(*(INDEX[name] for name in names))
    if names:
        place = INDEX[names[0]]
        return lambda row: (row[place],)
    return lambda _row: ()
