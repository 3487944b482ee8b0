"""A document's text as a tree of nodes that know where they stand: YAML by its events, JSON by a small reader.

Only what a strategy needs is let through: mappings, sequences and scalars. Tags, anchors, aliases, duplicate keys,
several documents, control characters and deep nesting are refused. Plain scalars are not guessed into Python values:
each keeps its text and a kind, and the reader of a field says what it wants.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TypeAlias

import msgspec
import yaml

from strategies.problems import Problem, StrategyInvalid

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12
MAX_NODES = 20_000

QUOTE_HINT = "put the expression in quotes, as in 'device.platform == \"ios\"'"

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = frozenset(
    form for word in ("true", "false", "yes", "no", "on", "off") for form in (word, word.title(), word.upper())
)
_INT = re.compile(r"[-+]?[0-9][0-9_]*", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|nan)",
    re.ASCII | re.IGNORECASE,
)
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Scalar(msgspec.Struct, frozen=True):
    """A value as written. kind: string | int | float | bool | null; `style` is YAML's (", ', |, > or none)."""

    text: str
    kind: str
    line: int
    column: int
    style: str = ""


class Sequence(msgspec.Struct, frozen=True):
    """A list, with the place of its first character."""

    items: tuple[Node, ...]
    line: int
    column: int


class Mapping(msgspec.Struct, frozen=True):
    """Fields in written order; every key is a string and stands once."""

    items: tuple[tuple[Scalar, Node], ...]
    line: int
    column: int


Node: TypeAlias = Scalar | Sequence | Mapping


def fault(line: int, column: int, message: str) -> StrategyInvalid:
    """One problem, as the exception that carries it."""
    return StrategyInvalid([Problem(line, column, message)])


def decode(source: str | bytes) -> str:
    """The document's text; refused when too long or not UTF-8."""
    if len(source) > MAX_BYTES:
        raise fault(1, 1, f"the document is larger than {MAX_BYTES // 1024} KiB: split it into several strategies")
    if isinstance(source, str):
        return source
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = source[: error.start].decode("utf-8-sig")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise fault(line, column, "not UTF-8: save the document as UTF-8") from None


def read_nodes(text: str) -> Node:
    """The tree of a document, JSON or YAML. Raises StrategyInvalid with the first fault of its form."""
    if text.lstrip().startswith("{"):
        node = _Json(text).read()
        if node is not None:
            return node
    try:
        return _YamlReader(text).read()
    except yaml.reader.ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise fault(
            line, column, "a character that a document cannot hold: remove it, or escape it in quotes"
        ) from None
    except yaml.MarkedYAMLError as error:
        raise _yaml_fault(error, text) from None
    except yaml.YAMLError as error:
        raise fault(1, 1, f"not YAML: {str(error)[:200]}") from None


def _yaml_fault(error: yaml.MarkedYAMLError, text: str) -> StrategyInvalid:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = error.problem or error.context or "not YAML"
    lines = text.splitlines()
    written = lines[min(line, len(lines)) - 1] if lines else ""
    if re.search(r"\b(when|if)\b[\"']?\s*:", written):
        return fault(line, column, f"not YAML ({problem}): {QUOTE_HINT}")
    if "\t" in written[:column]:
        return fault(line, column, f"not YAML ({problem}): indent with spaces, never with tabs")
    return fault(line, column, f"not YAML ({problem}): check the indentation and the quotes on this line")


def _scalar(text: str, kind: str, line: int, column: int, style: str = "") -> Scalar:
    if _UNPRINTABLE.search(text):
        raise fault(line, column, "a control character or half a surrogate pair inside the text: remove it")
    return Scalar(text, kind, line, column, style)


def _mapping(items: list[tuple[Scalar, Node]], line: int, column: int) -> Mapping:
    seen: set[str] = set()
    for key, _ in items:
        if key.text in seen:
            raise fault(key.line, key.column, f"{key.text[:40]!r} stands twice here: keep one of them")
        seen.add(key.text)
    return Mapping(tuple(items), line, column)


def plain_kind(text: str) -> str:
    """What a plain scalar would be read as: also YAML 1.1's yes, no, on and off count as bool."""
    if text in _NULL:
        return "null"
    if text in _BOOL:
        return "bool"
    if _INT.fullmatch(text):
        return "int"
    return "float" if _FLOAT.fullmatch(text) else "string"


class _YamlReader:
    """Builds the tree from YAML events, with nothing resolved and every frill refused."""

    def __init__(self, text: str) -> None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=loader))
        self._nodes = 0

    def read(self) -> Node:
        root: Node | None = None
        for event in self._events:
            match event:
                case yaml.StreamStartEvent() | yaml.DocumentEndEvent():
                    continue
                case yaml.StreamEndEvent():
                    break
                case yaml.DocumentStartEvent():
                    if root is not None:
                        raise fault(*_place(event), "a second document: write one strategy a document, without ---")
                case _:
                    root = self._node(event, 0)
        if root is None or (isinstance(root, Scalar) and root.kind == "null"):
            raise fault(1, 1, "the document is empty: write strategy: and rules:")
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        line, column = _place(event)
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise fault(line, column, f"nested more than {MAX_DEPTH} deep: a strategy needs no such depth")
        if self._nodes > MAX_NODES:
            raise fault(line, column, f"more than {MAX_NODES} values: split the strategy")
        if isinstance(event, yaml.AliasEvent):
            raise fault(line, column, f"aliases (*) are not taken: write it out; in an expression, {QUOTE_HINT}")
        if getattr(event, "anchor", None) is not None:
            raise fault(line, column, f"anchors (&) are not taken: write it out; in an expression, {QUOTE_HINT}")
        if (tag := getattr(event, "tag", None)) is not None:
            raise fault(line, column, f"{tag[:40]!r} is read as a YAML tag, which is not taken: {QUOTE_HINT}")
        match event:
            case yaml.ScalarEvent():
                style = event.style or ""
                kind = "string" if style else plain_kind(event.value)
                return _scalar(event.value, kind, line, column, style)
            case yaml.SequenceStartEvent():
                items = []
                while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
                    items.append(self._node(inner, depth + 1))
                return Sequence(tuple(items), line, column)
            case _:
                return self._fields(line, column, depth)

    def _fields(self, line: int, column: int, depth: int) -> Mapping:
        items: list[tuple[Scalar, Node]] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            if not isinstance(key, Scalar):
                raise fault(
                    key.line, key.column, f"a field's name must be a word; for brackets in a text, {QUOTE_HINT}"
                )
            items.append((key, self._node(next(self._events), depth + 1)))
        return _mapping(items, line, column)


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


class _Json:
    """A JSON reader that keeps places. `read` gives None when the text is not JSON (YAML is tried then)."""

    _SPACE = re.compile(r"[ \t\r\n]*")
    _STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
    _WORD = re.compile(r"true|false|null|(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][-+]?[0-9]+)?")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._nodes = 0
        self._line = 1
        self._line_start = 0
        self._marked = 0

    def read(self) -> Node | None:
        try:
            node = self._value(0)
        except _NotJsonError:
            return None
        self._skip()
        return node if self._at == len(self._text) else None

    def _value(self, depth: int) -> Node:
        self._skip()
        line, column = self._place()
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise fault(line, column, f"nested more than {MAX_DEPTH} deep: a strategy needs no such depth")
        if self._nodes > MAX_NODES:
            raise fault(line, column, f"more than {MAX_NODES} values: split the strategy")
        match self._text[self._at : self._at + 1]:
            case "{":
                return self._object(line, column, depth)
            case "[":
                return self._array(line, column, depth)
            case '"':
                return self._string(line, column)
        word = self._take(self._WORD)
        kind = {"true": "bool", "false": "bool", "null": "null"}.get(word.group())
        return _scalar(word.group(), kind or ("float" if word[2] or word[3] else "int"), line, column, "json")

    def _object(self, line: int, column: int, depth: int) -> Mapping:
        items: list[tuple[Scalar, Node]] = []
        self._at += 1
        while not self._closes("}", first=not items):
            self._skip()
            key = self._string(*self._place())
            self._expect(":")
            items.append((key, self._value(depth + 1)))
        return _mapping(items, line, column)

    def _array(self, line: int, column: int, depth: int) -> Sequence:
        items: list[Node] = []
        self._at += 1
        while not self._closes("]", first=not items):
            items.append(self._value(depth + 1))
        return Sequence(tuple(items), line, column)

    def _closes(self, end: str, *, first: bool) -> bool:
        self._skip()
        if self._text.startswith(end, self._at):
            self._at += 1
            return True
        if not first:
            self._expect(",")
        return False

    def _string(self, line: int, column: int) -> Scalar:
        written = self._take(self._STRING).group()
        # Lone surrogates must reach the check for them, so the standard library's reader is asked, not msgspec's.
        return _scalar(json.loads(written), "string", line, column, '"')

    def _expect(self, sign: str) -> None:
        self._skip()
        if not self._text.startswith(sign, self._at):
            raise _NotJsonError
        self._at += 1

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise _NotJsonError
        self._at = found.end()
        return found

    def _skip(self) -> None:
        found = self._SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _place(self) -> tuple[int, int]:
        """Line and column of where the reader stands; it only moves forward, so lines are counted once."""
        lines = self._text.count("\n", self._marked, self._at)
        if lines:
            self._line += lines
            self._line_start = self._text.rfind("\n", self._marked, self._at) + 1
        self._marked = self._at
        return self._line, self._at - self._line_start + 1


class _NotJsonError(Exception):
    """The text is not JSON."""
