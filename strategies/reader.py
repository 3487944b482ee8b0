"""Reads typed fields out of document nodes and collects what is wrong, so that one look shows every fault."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from strategies.nodes import QUOTE_HINT, Mapping, Node, Scalar, Sequence
from strategies.problems import Problem

T = TypeVar("T")
Fields = dict[str, Node]

MAX_EXPRESSION = 1_000


class NamePattern(msgspec.Struct, frozen=True):
    """A form that names must have, and how to say it."""

    pattern: str
    words: str


CLASS_NAME = NamePattern(r"[a-z0-9_]{1,32}", "1 to 32 of a-z, 0-9 and _")
STRATEGY_NAME = NamePattern(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "1 to 64 letters, digits, - _ or .")
RULE_NAME = NamePattern(r"(?=.*\S)[^\n\r\t]{1,64}", "1 to 64 characters on one line")


class Marked(msgspec.Struct, frozen=True):
    """A word and where it stands."""

    text: str
    line: int
    column: int


class Expression(msgspec.Struct, frozen=True):
    """A CEL expression and where its lines stand in the document.

    `origins` holds the place of each line of the text, or only the place of the whole when YAML folded it.
    """

    text: str
    origins: tuple[tuple[int, int], ...]

    def place(self, line: int, column: int) -> tuple[int, int]:
        """Where in the document a place in the expression (both from 1) is."""
        if line <= len(self.origins) and (line == 1 or len(self.origins) > 1):
            top, left = self.origins[line - 1]
            return top, left + column - 1
        return self.origins[0]


class Reader:
    """Collects problems while fields are read; every method gives None (or a default) where it noted one."""

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self._lines = text.splitlines()

    def fault(self, at: Node, message: str) -> None:
        """Note a problem at a node."""
        self.problems.append(Problem(at.line, at.column, message))

    def fields(self, node: Node, what: str, *known: str) -> Fields | None:
        """The fields of a mapping; unknown ones are problems that name the nearest known one."""
        if not isinstance(node, Mapping):
            self.fault(node, f"{what} is a mapping: write its fields ({', '.join(known)})")
            return None
        for key, _ in node.items:
            if key.text not in known:
                near = difflib.get_close_matches(key.text, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"write one of {', '.join(known)}"
                self.fault(key, f"unknown field {key.text[:40]!r} in {what}: {hint}")
        fields = {key.text: value for key, value in node.items}
        fields[""] = node
        return fields

    def inner(self, fields: Fields, name: str, *known: str) -> Fields | None:
        """The fields of a mapping that is itself a field."""
        return self.fields(fields[name], name, *known) if name in fields else None

    def items(self, fields: Fields, name: str, most: int, hint: str) -> Iterable[Node]:
        """The members of a list field, of which there must be 1 to `most`."""
        node = fields.get(name)
        if node is None:
            self.fault(fields[""], f"{name} is missing: {hint}")
            return ()
        if not isinstance(node, Sequence):
            self.fault(node, f"{name} is a list: {hint}")
            return ()
        if not node.items:
            self.fault(node, f"{name} is empty: {hint}")
        elif len(node.items) > most:
            self.fault(node, f"{name} has {len(node.items)} entries: write at most {most}")
        return node.items[:most]

    def text(self, node: Node, name: str, hint: str) -> str | None:
        """The text of a string scalar."""
        if isinstance(node, Scalar) and node.kind == "string":
            return node.text
        if isinstance(node, Scalar) and node.kind != "null" and node.style != "json":
            self.fault(node, f"{name} is a text, but {node.text} is read as {_a(node.kind)}: put it in quotes")
        else:
            self.fault(node, f"{name} is a text: {hint}")
        return None

    def word(self, fields: Fields, name: str, form: NamePattern, *, required: bool = False) -> str | None:
        """A name of this form."""
        if name not in fields:
            if required:
                self.fault(fields[""], f"{name} is missing: write {name}: and a name ({form.words})")
            return None
        return self._named(fields[name], name, form)

    def words(
        self, fields: Fields, name: str, form: NamePattern, most: int, *, required: bool = False
    ) -> tuple[Marked, ...]:
        """A list of different names of this form."""
        if name not in fields and not required:
            return ()
        found: dict[str, Marked] = {}
        for node in self.items(fields, name, most, f"write {name}: [chat, otp]"):
            text = self._named(node, f"a class in {name}", form)
            if text is None:
                continue
            if text in found:
                self.fault(node, f"{text} stands twice in {name}: name it once")
            found[text] = Marked(text, node.line, node.column)
        return tuple(found.values())

    def choice(self, fields: Fields, name: str, choices: tuple[str, ...], *, required: bool = False) -> str | None:
        """One of fixed words."""
        if name not in fields:
            if required:
                self.fault(fields[""], f"{name} is missing: write one of {', '.join(choices)}")
            return None
        return self.choice_of(fields[name], name, choices)

    def choice_of(self, node: Node, name: str, choices: tuple[str, ...]) -> str | None:
        """One of fixed words, at a node."""
        if isinstance(node, Scalar) and node.text in choices and node.kind == "string":
            return node.text
        written = repr(node.text[:40]) if isinstance(node, Scalar) else "this"
        near = difflib.get_close_matches(node.text, choices, 1) if isinstance(node, Scalar) else []
        hint = f"did you mean {near[0]}? " if near else ""
        self.fault(node, f"{written} is no {name}: {hint}write one of {', '.join(choices)}")
        return None

    def number(self, fields: Fields, name: str, least: int, most: int, *, default: int) -> int:
        """A whole number within bounds."""
        node = fields.get(name)
        if node is None:
            return default
        if isinstance(node, Scalar) and node.kind == "int" and len(node.text) < 10:
            value = int(node.text)
            if least <= value <= most:
                return value
        self.fault(node, f"{name} is a whole number: write {least} to {most}")
        return default

    def parsed(self, fields: Fields, name: str, parse: Callable[[str], T]) -> T | None:
        """A text that a parser of `strategies.limits` reads; its ValueError becomes the problem."""
        node = fields.get(name)
        if node is None:
            return None
        if not isinstance(node, Scalar) or node.kind in ("bool", "null"):
            self.fault(node, f"{name} is a text such as 10s or 3/1d, as the documentation of {name} shows")
            return None
        try:
            return parse(node.text)
        except ValueError as error:
            self.fault(node, f"{name}: {error}")
            return None

    def expression(self, fields: Fields, name: str) -> Expression | None:
        """A CEL expression with the places of its lines."""
        node = fields.get(name)
        if node is None:
            return None
        if not isinstance(node, Scalar):
            self.fault(node, f"{name} is one expression, but brackets made a list or mapping of it: {QUOTE_HINT}")
            return None
        if node.kind == "null":
            self.fault(node, f"{name} is empty: leave {name} out to match always, or write an expression")
            return None
        if len(node.text) > MAX_EXPRESSION:
            self.fault(node, f"{name} has {len(node.text)} characters: write at most {MAX_EXPRESSION}, or two rules")
            return None
        return Expression(node.text, self._origins(node))

    def _named(self, node: Node, name: str, form: NamePattern) -> str | None:
        text = self.text(node, name, f"write {form.words}")
        if text is not None and re.fullmatch(form.pattern, text, re.ASCII) is None:
            self.fault(node, f"{text[:64]!r} cannot be {name}: write {form.words}")
            return None
        return text

    def _origins(self, node: Scalar) -> tuple[tuple[int, int], ...]:
        start = (node.line, node.column)
        if node.style == "|":
            return self._block_origins(node) or (start,)
        if node.line <= len(self._lines):
            # Verbatim on its own line (no escapes, not folded): columns carry over, behind the quote if there is one.
            left = node.column - 1 + (node.style in ("'", '"'))
            if self._lines[node.line - 1].startswith(node.text, left):
                return ((node.line, left + 1),)
        return (start,)

    def _block_origins(self, node: Scalar) -> tuple[tuple[int, int], ...]:
        origins = []
        for number, written in enumerate(node.text.split("\n"), start=node.line + 1):
            line = self._lines[number - 1] if number <= len(self._lines) else ""
            if not line.endswith(written):
                return ()
            origins.append((number, len(line) - len(written) + 1))
        return tuple(origins)


def _a(kind: str) -> str:
    return {"bool": "true or false", "int": "a number", "float": "a number", "null": "nothing"}.get(kind, kind)
