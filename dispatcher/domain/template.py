"""Templates: texts by locale with named parameters. Substitution is plain: a value is never read as a text again.

In a text, ``{name}`` stands for the parameter of that name (``[a-z_][a-z0-9_]*``, at most 64 characters) and ``{{`` and
``}}`` for braces. Nothing else may stand in braces: no attributes, no indexes, no format of any kind.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from dispatcher.domain.clock import Millis

MAX_LOCALES = 100
PARTS = ("title", "body", "sms")
_TOKEN = re.compile(r"\{\{|\}\}|\{([a-z_][a-z0-9_]{0,63})\}")


class BadText(ValueError):
    """A text that cannot be a template's; says what to write instead."""


class MissingParams(ValueError):
    """Parameters that the texts name and nobody gave."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted(names))
        super().__init__(f"missing parameters: {', '.join(self.names)}")


class Texts(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a template says in one language."""

    title: str | None = None
    body: str | None = None
    sms: str | None = None


class LocalTexts(Struct, frozen=True, array_like=True):
    """Texts rendered for one locale, as they travel with a message."""

    locale: str
    title: str | None
    body: str | None
    sms: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A named template of an app. ``default_locale`` is one of its locales: where nothing closer is found."""

    name: str
    texts: Mapping[str, Texts]
    default_locale: str
    etag: str = ""
    changed_at: Millis = 0
    by: str = ""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Every parameter that any locale names."""
        return tuple(sorted(parameters(self.texts.values())))


def read_text(text: str) -> set[str]:
    """The parameters a text names; raises :class:`BadText` for any other use of braces."""
    names: set[str] = set()
    at = 0
    for match in _TOKEN.finditer(text):
        _no_braces(text[at : match.start()])
        at = match.end()
        if match[1] is not None:
            names.add(match[1])
    _no_braces(text[at:])
    return names


def _no_braces(text: str) -> None:
    for brace in "{}":
        if brace in text:
            raise BadText(f"write {{name}} for a parameter, {brace * 2} for a brace: {text.strip()[:40]!r}")


def parameters(texts: Iterable[Texts]) -> set[str]:
    """The parameters of several texts together."""
    return {name for one in texts for part in PARTS for name in read_text(getattr(one, part) or "")}


def render_text(text: str, params: Mapping[str, str]) -> str:
    """*text* with its parameters filled in, in one pass: what a value holds is never looked at."""

    def filled(match: re.Match[str]) -> str:
        return params[match[1]] if match[1] is not None else match[0][0]

    return _TOKEN.sub(filled, text)


def write_param(value: Any) -> str | None:
    """A parameter's value as it is shown; None where it is none: texts, numbers, true and false are."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    return None


def render(texts: Texts, locale: str, params: Mapping[str, str]) -> LocalTexts:
    """One locale's texts, filled in; raises :class:`MissingParams`."""
    missing = parameters([texts]) - set(params)
    if missing:
        raise MissingParams(missing)
    title, body, sms = (None if (text := getattr(texts, part)) is None else render_text(text, params) for part in PARTS)
    return LocalTexts(locale, title, body, sms)


def normal(locale: str) -> str:
    """A locale for comparison: ``zh_hant-tw`` is ``zh-Hant-TW`` (RFC 5646, 2.1.1: case has no meaning)."""
    return locale.replace("_", "-").lower()


def chain(locale: str) -> Iterator[str]:
    """From the closest to the broadest: ``zh-hant-tw``, ``zh-hant``, ``zh`` (RFC 4647, 3.4: lookup)."""
    tags = normal(locale).split("-")
    while tags:
        yield "-".join(tags)
        tags.pop()
        if tags and len(tags[-1]) == 1:  # a lone extension tag is nobody's locale
            tags.pop()


def choose(available: Iterable[str], wishes: Iterable[str | None], default: str) -> str:
    """The locale to use of *available*: the first wish with anything in its chain, else *default*."""
    known = {normal(locale): locale for locale in available}
    for wish in wishes:
        for locale in chain(wish) if wish else ():
            if locale in known:
                return known[locale]
    return default
