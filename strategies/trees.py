"""Checked CEL expressions as small trees.

CEL's own parser and checker are the only readers of an expression's text; this decodes what they made of it, from the
serialized `cel.expr.CheckedExpr` (https://github.com/google/cel-spec/blob/master/proto/cel/expr/checked.proto), whose
field numbers are part of protobuf's wire contract. Dotted fact names arrive as one identifier.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeAlias

import msgspec


class Const(msgspec.Struct, frozen=True, tag=True):
    """A literal: None, bool, int, float, str or bytes. `kind` tells an unsigned from a signed number."""

    value: bool | int | float | str | bytes | None
    kind: str


class Name(msgspec.Struct, frozen=True, tag=True):
    """A fact, by its dotted name (or a type's name)."""

    name: str


class Call(msgspec.Struct, frozen=True, tag=True):
    """An operator or function; a receiver comes first in `args`."""

    function: str
    args: tuple[Tree, ...]


class Items(msgspec.Struct, frozen=True, tag=True):
    """A list literal."""

    items: tuple[Tree, ...]


class Other(msgspec.Struct, frozen=True, tag=True):
    """Anything else (maps, selections), kept as its bytes: only CEL itself judges it. `names` are the facts inside."""

    wire: bytes
    names: frozenset[str]


Tree: TypeAlias = Const | Name | Call | Items | Other
Field: TypeAlias = tuple[int, int | bytes]


def decode_tree(serialized: bytes) -> Tree:
    """The tree of an `Any`-wrapped CheckedExpr, as `Expression.serialize()` gives it."""
    checked = _bytes_of(serialized, 2)
    return _tree(_bytes_of(checked, 4))


def names_in(tree: Tree) -> frozenset[str]:
    """Every identifier a tree mentions."""
    match tree:
        case Name(name=name):
            return frozenset((name,))
        case Call(args=inner) | Items(items=inner):
            return frozenset().union(*map(names_in, inner))
        case Other(names=names):
            return names
    return frozenset()


def _tree(expression: bytes) -> Tree:
    for number, value in _fields(expression):
        if isinstance(value, int):
            continue
        match number:
            case 3:
                return _const(value)
            case 4:
                return Name(_bytes_of(value, 1).decode())
            case 6:
                return _call(value)
            case 7:
                items = [inner for place, inner in _fields(value) if place == 1]
                return Items(tuple(_tree(inner) for inner in items if isinstance(inner, bytes)))
    return Other(_without_ids(expression), frozenset(_idents(expression)))


def _call(message: bytes) -> Call:
    function, args = "", []
    target: list[Tree] = []
    for number, value in _fields(message):
        if isinstance(value, int):
            continue
        if number == 1:
            target.append(_tree(value))
        elif number == 2:
            function = value.decode()
        elif number == 3:
            args.append(_tree(value))
    return Call(function, (*target, *args))


def _const(message: bytes) -> Const:
    for number, value in _fields(message):
        match number, value:
            case (2, int()):
                return Const(bool(value), "bool")
            case (3, int()):
                return Const(value - (1 << 64) if value >> 63 else value, "int")
            case (4, int()):
                return Const(value, "uint")
            case (5, bytes()):
                return Const(struct.unpack("<d", value)[0], "double")
            case (6, bytes()):
                return Const(value.decode(), "string")
            case (7, bytes()):
                return Const(value, "bytes")
    return Const(None, "null")


def _idents(message: bytes) -> Iterator[str]:
    """Identifiers anywhere under an expression of a kind that is not decoded further."""
    for number, value in _fields(message):
        if isinstance(value, int):
            continue
        if number == 4:
            yield _bytes_of(value, 1).decode()
        elif number in (5, 8):  # select {operand = 1}; struct {entries = 2 {map_key = 3, value = 4}}
            for place, inner in _fields(value):
                if isinstance(inner, bytes) and number == 5 and place == 1:
                    yield from names_in(_tree(inner))
                elif isinstance(inner, bytes) and number == 8 and place == 2:
                    for part, expression in _fields(inner):
                        if part in (3, 4) and isinstance(expression, bytes):
                            yield from names_in(_tree(expression))


def _without_ids(expression: bytes) -> bytes:
    """The bytes after the expression's own id, enough to tell two such expressions apart."""
    return b"".join(value for number, value in _fields(expression) if number != 2 and isinstance(value, bytes))


def _bytes_of(message: bytes, wanted: int) -> bytes:
    for number, value in _fields(message):
        if number == wanted and isinstance(value, bytes):
            return value
    raise ValueError(f"no field {wanted} in a checked expression: this cel-expr-python writes another format")


def _fields(message: bytes) -> Iterator[Field]:
    """Number and value of each field: varints as int, the rest as bytes (protobuf's encoding guide)."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        match key & 7:
            case 0:
                number, at = _varint(message, at)
                yield key >> 3, number
            case 1:
                yield key >> 3, message[at : at + 8]
                at += 8
            case 2:
                size, at = _varint(message, at)
                yield key >> 3, message[at : at + size]
                at += size
            case 5:
                yield key >> 3, message[at : at + 4]
                at += 4
            case kind:
                raise ValueError(f"wire type {kind} in a checked expression")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
