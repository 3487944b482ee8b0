"""Bodies of the template routes."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from dispatcher.api.checks import Locale
from dispatcher.domain.clock import Millis, rfc3339
from dispatcher.domain.etag import etag_of
from dispatcher.domain.template import MAX_LOCALES, PARTS, BadText, Template, Texts, normal, read_text
from dispatcher.errors import FieldError, Problem


class TextsIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """What it says in one language. ``{name}`` stands for a parameter, ``{{`` and ``}}`` for braces."""

    title: Annotated[str, Meta(max_length=1_000)] | None = None
    body: Annotated[str, Meta(max_length=4_000)] | None = None
    sms: Annotated[str, Meta(max_length=1_600)] | None = None


class TemplateIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """Texts by locale. ``default_locale`` is needed where there are several."""

    texts: Annotated[dict[Locale, TextsIn], Meta(min_length=1, max_length=MAX_LOCALES)]
    default_locale: Locale | None = None


class PreviewIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """For whom and with what to render."""

    params: dict[str, Any] = {}
    locale: Locale | None = None


class DraftPreviewIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """A template that is not stored yet, and what to render it with."""

    texts: Annotated[dict[Locale, TextsIn], Meta(min_length=1, max_length=MAX_LOCALES)]
    default_locale: Locale | None = None
    params: dict[str, Any] = {}
    locale: Locale | None = None


class TemplateOut(Struct, kw_only=True):
    """A template whole. ``parameters``: what a dispatch has to give."""

    name: str
    texts: dict[str, Texts]
    default_locale: str
    parameters: list[str]
    changed_at: str
    by: str
    etag: str  #: for If-Match, as in the header


class TemplateRow(Struct, kw_only=True):
    """A template in the list."""

    name: str
    locales: list[str]
    default_locale: str
    parameters: list[str]
    changed_at: str
    by: str
    etag: str


class TemplatesOut(Struct):
    """By name."""

    templates: list[TemplateRow]


class SmsPreview(Struct):
    """A text as it would go out, uncut."""

    text: str
    segments: int


class PreviewOut(Struct, kw_only=True):
    """``locale``: the one chosen. ``bytes``: of the notification, of 4,000 with data."""

    locale: str
    notification: dict[str, Any] | None
    sms: SmsPreview | None
    bytes: int


def to_template(name: str, wanted: TemplateIn | DraftPreviewIn, by: str, now: Millis) -> Template:
    """Checks what types cannot say; Problem 422 names every text at fault."""
    faults = []
    texts: dict[str, Texts] = {}
    seen: dict[str, str] = {}
    for locale, given in wanted.texts.items():
        if normal(locale) in seen:
            faults.append(FieldError(f"texts.{locale}", f"the same as {seen[normal(locale)]}"))
        seen[normal(locale)] = locale
        texts[locale] = Texts(title=given.title, body=given.body, sms=given.sms)
        if not (given.title or given.body or given.sms):
            faults.append(FieldError(f"texts.{locale}", "say at least one of title, body, sms"))
        for part in PARTS:
            try:
                read_text(getattr(given, part) or "")
            except BadText as bad:
                faults.append(FieldError(f"texts.{locale}.{part}", str(bad)))
    default = wanted.default_locale or (next(iter(texts)) if len(texts) == 1 else None)
    if default is None:
        faults.append(FieldError("default_locale", "required where there are several locales"))
    elif normal(default) not in seen:
        faults.append(FieldError("default_locale", "not one of texts"))
    if faults or default is None:
        raise Problem.invalid_fields(faults)
    default = seen[normal(default)]
    etag = etag_of(texts, default)
    return Template(name=name, texts=texts, default_locale=default, etag=etag, changed_at=now, by=by)


def template_out(template: Template) -> TemplateOut:
    """As its editor sees it."""
    return TemplateOut(
        name=template.name,
        texts=dict(template.texts),
        default_locale=template.default_locale,
        parameters=list(template.parameters),
        changed_at=rfc3339(template.changed_at),
        by=template.by,
        etag=template.etag,
    )


def template_row(template: Template) -> TemplateRow:
    """As the list shows it."""
    return TemplateRow(
        name=template.name,
        locales=sorted(template.texts),
        default_locale=template.default_locale,
        parameters=list(template.parameters),
        changed_at=rfc3339(template.changed_at),
        by=template.by,
        etag=template.etag,
    )
