"""CEL expressions over the fact catalogue: compiled once, typed, with faults in the operator's words.

The environment declares every fact under its dotted name and has no macros, so no expression can loop: its cost is
linear in its length, which the document bounds (1,000 characters; CEL itself bounds nesting at 32).
"""

from __future__ import annotations

import difflib
import json
import re
from functools import lru_cache
from typing import Any

import msgspec
from cel_expr_python import cel

from strategies.catalogue import CATALOGUE, INDEX, Type
from strategies.facts import Row
from strategies.nodes import QUOTE_HINT
from strategies.trees import Call, Const, Items, Name, Tree, decode_tree, names_in

_FAULT = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '([^']*)'")
_TOO_DEEP = "the expression nests too deep: write at most 32 levels, or two rules"
_MACROS = frozenset({"has", "all", "exists", "exists_one", "map", "filter"})
_COMPARISONS = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in"})


class ExpressionFault(msgspec.Struct, frozen=True):
    """What is wrong with an expression; the place counts from 1 inside its text."""

    line: int
    column: int
    message: str


class ExpressionInvalid(ValueError):
    """An expression that does not compile to true or false."""

    def __init__(self, faults: tuple[ExpressionFault, ...]) -> None:
        self.faults = faults
        super().__init__("; ".join(fault.message for fault in faults))


class Expression(msgspec.Struct, frozen=True, eq=False):
    """A checked expression that gives a bool: its text, tree, the facts it names, and CEL's program for it."""

    text: str
    tree: Tree
    names: tuple[str, ...]
    program: Any

    def judge(self, row: Row) -> bool | None:
        """What CEL says; None when it cannot tell, because a fact is missing or the evaluation fails."""
        data = {name: row[INDEX[name]] for name in self.names}
        answer = self.program.eval(data={name: value for name, value in data.items() if value is not None}).value()
        return answer if isinstance(answer, bool) else None


@lru_cache(maxsize=1)
def _environment() -> Any:
    types = {
        Type.STRING: cel.Type.STRING,
        Type.BOOL: cel.Type.BOOL,
        Type.INT: cel.Type.INT,
        Type.DOUBLE: cel.Type.DOUBLE,
    }
    return cel.NewEnv(
        config=cel.NewEnvConfigFromYaml("stdlib:\n  disable_macros: true\n"),
        variables={fact.name: types[fact.type] for fact in CATALOGUE},
    )


@lru_cache(maxsize=4096)
def compile_expression(text: str) -> Expression:
    """Compile and type-check. Raises ExpressionInvalid with each fault, its place and what to write instead."""
    if not text.strip():
        raise ExpressionInvalid((ExpressionFault(1, 1, "the expression is empty: leave the field out, or write one"),))
    try:
        program = _environment().compile(text)
    except RuntimeError as error:
        raise ExpressionInvalid(_faults(str(error), text)) from None
    if program.return_type() != cel.Type.BOOL:
        kind = program.return_type().name().lower()
        hint = 'compare it with something, as in device.platform == "ios"'
        raise ExpressionInvalid((ExpressionFault(1, 1, f"this gives a {kind}, not true or false: {hint}"),))
    tree = decode_tree(program.serialize())
    faults = tuple(_tree_faults(tree, text))
    if faults:
        raise ExpressionInvalid(faults)
    return Expression(text, tree, tuple(sorted(name for name in names_in(tree) if name in INDEX)), program)


def _faults(answer: str, text: str) -> tuple[ExpressionFault, ...]:
    found: dict[tuple[int, int], ExpressionFault] = {}
    macro: str | None = None
    for line_text, column_text, words in _FAULT.findall(answer):
        if words.startswith("<<nil>>"):  # CEL about its own empty tree; the syntax error beside it says it all
            continue
        line, column = max(int(line_text), 1), max(int(column_text), 1)
        undeclared = _UNDECLARED.match(words)
        if undeclared and undeclared[1] in _MACROS:
            macro = undeclared[1]
        if undeclared:
            column = _name_start(text, line, column)
        found.setdefault((line, column), ExpressionFault(line, column, _in_words(words)))
    if macro is not None:  # what CEL says about the macro's own variable would only confuse
        return (ExpressionFault(1, max(text.find(macro), 0) + 1, _macro_words(macro)),)
    if not found:
        deep = "recursion limit" in answer
        words = _TOO_DEEP if deep else f"CEL cannot read it ({answer[:60]}): write it simpler, or as two rules"
        return (ExpressionFault(1, 1, words),)
    return tuple(found.values())[:5]


def _name_start(text: str, line: int, column: int) -> int:
    """CEL points at the last dot of a dotted name; people look at its first letter."""
    written = text.split("\n")[line - 1] if line <= text.count("\n") + 1 else ""
    start = min(column - 1, len(written))
    while start > 0 and (written[start - 1].isalnum() or written[start - 1] in "._"):
        start -= 1
    return start + 1


def _in_words(words: str) -> str:
    if found := _UNDECLARED.match(words):
        name = found[1]
        near = difflib.get_close_matches(name, INDEX, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else "GET /v1/facts lists what can be used"
        return f"unknown fact {name!r}: {hint} (texts stand in double quotes)"
    if found := _OVERLOAD.match(words):
        return _overload_words(found[1], found[2])
    if "max recursion depth" in words or "recursion limit" in words:
        return _TOO_DEEP
    if words.startswith("Syntax error"):
        words = re.sub(r"expecting \{.*\}", "expecting a value", words)
        if "'?' expecting ':'" in words:
            return "a ?: inside another one: put the inner one in brackets, as in a ? (b ? c : d) : e"
        return f"{words[:200]}: check the operators (&&, ||, !, ==, in) and the quotes; {QUOTE_HINT}"
    return f"{words[:200]}: write an expression that gives true or false"


def _overload_words(function: str, applied: str) -> str:
    shown = function.replace("_", " ").replace("@in", "in").strip() or function
    hint = "both sides must have the same type"
    if "double" in applied and "int" in applied:
        hint = "write the number with a point, such as 1.0"
    elif "string" in applied and ("int" in applied or "bool" in applied or "double" in applied):
        hint = 'a text stands in double quotes, such as "ios"; a number or true and false without'
    return f"{shown!r} cannot take {applied}: {hint}"


def _macro_words(macro: str) -> str:
    if macro == "has":
        return "has() is not taken: a rule whose fact is missing does not match anyway, leave has() out"
    return f"{macro}() is not taken (no loops): write device.platform in [...] or comparisons with || instead"


def _tree_faults(tree: Tree, text: str) -> list[ExpressionFault]:
    """What CEL's types let through but can never work: unknown words of closed facts, patterns that do not compile."""
    faults: list[ExpressionFault] = []
    match tree:
        case Call(function="matches", args=(_, pattern)):
            faults += _pattern_faults(pattern, text)
        case Call(function=function, args=(left, right)) if function in _COMPARISONS:
            for name, other in ((left, right), (right, left)):
                if isinstance(name, Name) and name.name in INDEX:
                    faults += _value_faults(name.name, other, text)
    if isinstance(tree, Call | Items):
        for inner in tree.args if isinstance(tree, Call) else tree.items:
            faults += _tree_faults(inner, text)
    return faults


def _value_faults(name: str, other: Tree, text: str) -> list[ExpressionFault]:
    values = CATALOGUE[INDEX[name]].values
    literals = other.items if isinstance(other, Items) else (other,)
    if name == "message.class":
        wrong = [item.value for item in literals if isinstance(item, Const) and not _is_class(item.value)]
        hint = "a class is 1 to 32 of a-z, 0-9 and _"
    elif values:
        wrong = [item.value for item in literals if isinstance(item, Const) and item.value not in values]
        hint = f"write one of {', '.join(values)}"
    else:
        return []
    return [ExpressionFault(*_spot(text, str(value)), f"{name} is never {value!r}: {hint}") for value in wrong]


def _is_class(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[a-z0-9_]{1,32}", value, re.ASCII) is not None


def _pattern_faults(pattern: Tree, text: str) -> list[ExpressionFault]:
    if not isinstance(pattern, Const) or not isinstance(pattern.value, str):
        return [
            ExpressionFault(
                *_spot(text, "matches"), 'matches() needs a fixed pattern: write it out, as in matches("^8\\\\.")'
            )
        ]
    quoted = json.dumps(pattern.value)
    answer = _environment().compile(f'"".matches({quoted})').eval(data={}).value()
    if isinstance(answer, bool):
        return []
    return [
        ExpressionFault(*_spot(text, pattern.value), "matches() has a pattern that is no RE2 expression: correct it")
    ]


def _spot(text: str, words: str) -> tuple[int, int]:
    quoted = [at + 1 for quote in "\"'" if (at := text.find(f"{quote}{words}{quote}")) >= 0]
    at = quoted[0] if quoted else max(text.find(words), 0)
    return text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1
