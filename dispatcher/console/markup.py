"""HTML and SVG as values: everything that is not markup already is escaped."""

from html import escape
from typing import Any


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def el(tag: str, *children: Any, **attributes: Any) -> Markup:
    """An element. ``class_`` is written class, underscores become hyphens, None is left out, True stands bare."""
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    inner = join(*children)
    if not inner and tag in _VOID:
        return Markup(f"<{tag}{written}/>")
    return Markup(f"<{tag}{written}>{inner}</{tag}>")


_VOID = frozenset({"br", "hr", "img", "input", "line", "rect", "circle", "path", "polyline"})


def join(*children: Any) -> Markup:
    """Children one after the other; lists are opened, None is left out."""
    parts: list[str] = []
    for child in children:
        if child is None or child is False:
            continue
        if isinstance(child, list | tuple):
            parts.append(join(*child))
        else:
            parts.append(child if isinstance(child, Markup) else escape(str(child)))
    return Markup("".join(parts))


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    written = name.rstrip("_").replace("_", "-") if name != "viewBox" else name
    return f" {written}" if value is True else f' {written}="{escape(str(value))}"'
