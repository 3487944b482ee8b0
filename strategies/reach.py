"""Which rules can be reached at all: what a condition says about the message's class, and when two say the same."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from strategies.trees import Call, Const, Items, Name, Tree


class Classes(msgspec.Struct, frozen=True):
    """A set of classes, or all but a set."""

    names: frozenset[str]
    all_but: bool

    def both(self, other: Classes) -> Classes:
        """Classes in this and the other one."""
        match self.all_but, other.all_but:
            case True, True:
                return Classes(self.names | other.names, all_but=True)
            case True, False:
                return Classes(other.names - self.names, all_but=False)
            case False, True:
                return Classes(self.names - other.names, all_but=False)
        return Classes(self.names & other.names, all_but=False)

    def negated(self) -> Classes:
        """Every other class."""
        return Classes(self.names, all_but=not self.all_but)

    def either(self, other: Classes) -> Classes:
        """Classes in one of the two."""
        return self.negated().both(other.negated()).negated()

    @property
    def none(self) -> bool:
        """No class at all."""
        return not self.all_but and not self.names


ALL = Classes(frozenset(), all_but=True)
NONE = Classes(frozenset(), all_but=False)


def only(names: Iterable[str]) -> Classes:
    """Exactly these classes."""
    return Classes(frozenset(names), all_but=False)


def classes_when(tree: Tree, truth: bool = True) -> Classes:
    """For which classes a condition can be true (or false): never too few, so an empty answer is certain."""
    match tree:
        case Const(value=bool() as value):
            return ALL if value is truth else NONE
        case Call(function="!_", args=(inner,)):
            return classes_when(inner, not truth)
        case Call(function="_&&_" | "_||_" as function, args=(left, right)):
            first, second = classes_when(left, truth), classes_when(right, truth)
            return first.both(second) if (function == "_&&_") is truth else first.either(second)
        case Call(function="_==_" | "_!=_" as function, args=(Name(name="message.class"), Const(value=str() as text))):
            return only((text,)) if (function == "_==_") is truth else only((text,)).negated()
        case Call(function="_==_" | "_!=_" as function, args=(Const() as text, Name() as name)):
            return classes_when(Call(function, (name, text)), truth)
        case Call(function="@in", args=(Name(name="message.class"), Items(items=items))):
            words = [item.value for item in items if isinstance(item, Const) and isinstance(item.value, str)]
            if len(words) == len(items):
                return only(words) if truth else only(words).negated()
    return ALL


def same_condition(tree: Tree) -> str:
    """A form in which conditions that differ only in the order of `&&` and `||` are equal."""
    match tree:
        case Call(function="_&&_" | "_||_" as function):
            return f"{function}({','.join(sorted(set(_flat(tree, function))))})"
        case Call(function=function, args=args):
            return f"{function}({','.join(map(same_condition, args))})"
        case Items(items=items):
            return f"[{','.join(map(same_condition, items))}]"
    return repr(tree)


def _flat(tree: Tree, function: str) -> Iterable[str]:
    if isinstance(tree, Call) and tree.function == function:
        for inner in tree.args:
            yield from _flat(inner, function)
    else:
        yield same_condition(tree)
