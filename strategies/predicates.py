"""Simple expressions as Python code, so that a decision costs well under a microsecond instead of CEL's three.

A condition has three answers: true, false, or unknown (a fact is missing). Two Python expressions are made of a tree:
one that is true when the condition is surely true, one when it is surely false; `!` swaps them, `&&` and `||` combine
them as CEL does (a false side settles `&&` whatever the other one lacks). Only comparisons, `in`, boolean operators,
`?:` and the plain string tests over facts and literals are translated, all else is left to CEL; a property test holds
both against each other. The code is built from syntax nodes, no text of a document is ever executed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from strategies.catalogue import CATALOGUE, INDEX
from strategies.expressions import Expression, compile_expression
from strategies.facts import Row
from strategies.trees import Call, Const, Items, Name, Tree

_ORDER: dict[str, type[ast.cmpop]] = {"_<_": ast.Lt, "_<=_": ast.LtE, "_>_": ast.Gt, "_>=_": ast.GtE}
_STRING_TESTS = {"startsWith": "startswith", "endsWith": "endswith", "contains": "__contains__"}
_LITERALS = frozenset({"bool", "int", "double", "string"})

_NO: ast.expr = ast.Constant(value=False)


class _NotSimpleError(Exception):
    """The tree has a part that only CEL judges."""


def chain(conditions: Sequence[Expression | None]) -> Callable[[Row], int]:
    """A function that gives the place of the first condition that is true of a row (None is true), else -1."""
    namespace: dict[str, object] = {}
    body: list[ast.stmt] = []
    for place, condition in enumerate(conditions):
        answer = ast.Return(value=ast.Constant(value=place))
        if condition is None:
            body.append(answer)
            break
        body.append(ast.If(test=_truth(condition, place, namespace), body=[answer], orelse=[]))
    else:
        body.append(ast.Return(value=ast.Constant(value=-1)))
    function: Callable[[Row], int] = _function(body, namespace)
    return function


def is_false(condition: Expression) -> Callable[[Row], bool]:
    """A function that tells whether a condition is surely false of a row (not true and not unknown)."""
    namespace: dict[str, object] = {}
    try:
        test = _false(condition.tree)
    except _NotSimpleError:
        return lambda row: condition.judge(row) is False
    function: Callable[[Row], bool] = _function([ast.Return(value=test)], namespace)
    return function


@lru_cache(maxsize=4096)
def answers(text: str) -> tuple[Callable[[Row], int], Callable[[Row], bool]]:
    """For a step's `if` by its text: `chain` (0: it holds) and `is_false` of it. Raises ExpressionInvalid."""
    condition = compile_expression(text)
    return chain((condition,)), is_false(condition)


def is_simple(condition: Expression) -> bool:
    """The condition runs as Python; otherwise CEL is asked each time."""
    try:
        _true(condition.tree)
    except _NotSimpleError:
        return False
    return True


def _truth(condition: Expression, place: int, namespace: dict[str, object]) -> ast.expr:
    try:
        return _true(condition.tree)
    except _NotSimpleError:
        name = f"cel_{place}"
        namespace[name] = condition.judge
        return ast.Call(func=ast.Name(id=name, ctx=ast.Load()), args=[ast.Name(id="row", ctx=ast.Load())], keywords=[])


def _function(body: list[ast.stmt], namespace: dict[str, object]) -> Any:
    parameters = ast.arguments(posonlyargs=[ast.arg(arg="row")], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    definition = ast.FunctionDef(name="decide", args=parameters, body=body, decorator_list=[])
    module = ast.fix_missing_locations(ast.Module(body=[definition], type_ignores=[]))
    exec(compile(module, "<strategy>", "exec"), namespace)  # noqa: S102 - built from nodes of this module, never from text
    return namespace["decide"]


def _true(tree: Tree) -> ast.expr:
    match tree:
        case Const(value=bool() as value):
            return ast.Constant(value=value)
        case Name():
            return _fact(tree, "bool")
        case Call(function="!_", args=(inner,)):
            return _false(inner)
        case Call(function="_&&_", args=inners):
            return _all([_true(inner) for inner in inners])
        case Call(function="_||_", args=inners):
            return _any([_true(inner) for inner in inners])
        case Call(function="_?_:_", args=(test, yes, no)) if not _chooses(test):
            return _any([_all([_true(test), _true(yes)]), _all([_false(test), _true(no)])])
        case Call(function="_!=_", args=(left, right)):
            return _all([*_present(left, right), _compare(left, ast.NotEq(), right)])
        case Call(function="_==_" | "@in" as function, args=(left, Const() | Items() as right)):
            return _test(function, left, right)  # a missing fact (None) equals no literal
        case Call(function=function, args=(left, right)):
            return _all([*_present(left, right), _test(function, left, right)])
    raise _NotSimpleError


def _false(tree: Tree) -> ast.expr:
    match tree:
        case Const(value=bool() as value):
            return ast.Constant(value=not value)
        case Name():
            return ast.Compare(left=_fact(tree, "bool"), ops=[ast.Is()], comparators=[_NO])
        case Call(function="!_", args=(inner,)):
            return _true(inner)
        case Call(function="_&&_", args=inners):
            return _any([_false(inner) for inner in inners])
        case Call(function="_||_", args=inners):
            return _all([_false(inner) for inner in inners])
        case Call(function="_?_:_", args=(test, yes, no)) if not _chooses(test):
            return _any([_all([_true(test), _false(yes)]), _all([_false(test), _false(no)])])
        case Call(function="_!=_", args=(left, right)):
            return _all([*_present(left, right), _compare(left, ast.Eq(), right)])
        case Call(function=function, args=(left, right)):
            return _all([*_present(left, right), ast.UnaryOp(op=ast.Not(), operand=_test(function, left, right))])
    raise _NotSimpleError


def _chooses(tree: Tree) -> bool:
    """There is a `?:` inside. One inside another's condition would double the code at each level, so CEL gets it."""
    return isinstance(tree, Call) and (tree.function == "_?_:_" or any(map(_chooses, tree.args)))


def _test(function: str, left: Tree, right: Tree) -> ast.expr:
    if function == "_==_":
        return _compare(left, ast.Eq(), right)
    if function in _ORDER:
        return _compare(left, _ORDER[function](), right)
    if function == "@in":
        return _member(left, right)
    if function in _STRING_TESTS and _kind(left) == _kind(right) == "string":
        method = ast.Attribute(value=_operand(left), attr=_STRING_TESTS[function], ctx=ast.Load())
        return ast.Call(func=method, args=[_operand(right)], keywords=[])
    raise _NotSimpleError


def _member(left: Tree, right: Tree) -> ast.expr:
    if not isinstance(right, Items):
        raise _NotSimpleError
    kind = _kind(left)
    values = [item.value for item in right.items if isinstance(item, Const) and item.kind == kind]
    if len(values) != len(right.items):
        raise _NotSimpleError
    members = ast.Tuple(elts=[ast.Constant(value=value) for value in values], ctx=ast.Load())
    return ast.Compare(left=_operand(left), ops=[ast.In()], comparators=[members])


def _compare(left: Tree, how: ast.cmpop, right: Tree) -> ast.expr:
    if _kind(left) != _kind(right):
        raise _NotSimpleError
    return ast.Compare(left=_operand(left), ops=[how], comparators=[_operand(right)])


def _present(*operands: Tree) -> list[ast.expr]:
    return [
        ast.Compare(left=_operand(operand), ops=[ast.IsNot()], comparators=[ast.Constant(value=None)])
        for operand in operands
        if isinstance(operand, Name)
    ]


def _operand(tree: Tree) -> ast.expr:
    if isinstance(tree, Name):
        return _fact(tree, _kind(tree))
    if isinstance(tree, Const):
        return ast.Constant(value=tree.value)
    raise _NotSimpleError


def _kind(tree: Tree) -> str:
    if isinstance(tree, Name) and tree.name in INDEX:
        return CATALOGUE[INDEX[tree.name]].type.value
    if isinstance(tree, Const) and tree.kind in _LITERALS:
        return tree.kind
    raise _NotSimpleError


def _fact(name: Name, kind: str) -> ast.expr:
    if _kind(name) != kind:
        raise _NotSimpleError
    place = ast.Constant(value=INDEX[name.name])
    return ast.Subscript(value=ast.Name(id="row", ctx=ast.Load()), slice=place, ctx=ast.Load())


def _all(parts: list[ast.expr]) -> ast.expr:
    return parts[0] if len(parts) == 1 else ast.BoolOp(op=ast.And(), values=parts)


def _any(parts: list[ast.expr]) -> ast.expr:
    return parts[0] if len(parts) == 1 else ast.BoolOp(op=ast.Or(), values=parts)
