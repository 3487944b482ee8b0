"""Templates on their way to phones: rendered for every locale when accepted, chosen by the recipient's when admitted.

So a dispatch is checked once and whole (parameters, bytes), what a template becomes later changes nothing that was
accepted, and messages without a template pay nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dispatcher.domain.clock import rfc3339
from dispatcher.domain.device import Profile
from dispatcher.domain.message import Message
from dispatcher.domain.requests import MAX_CONTENT_BYTES, DispatchRequest, content_bytes
from dispatcher.domain.template import LocalTexts, MissingParams, Template, choose, render, write_param
from dispatcher.errors import FieldError, Problem

_json = msgspec.json.Encoder().encode
#: Variants of a home's message stand at its index plus a multiple of this.
VARIANT = 1 << 16


def read_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as they are shown; Problem 422 for values that are neither text nor number nor true or false."""
    read: dict[str, str] = {}
    faults = []
    for name, value in params.items():
        text = write_param(value)
        if text is None:
            faults.append(FieldError(f"params.{name}", "write a text, a number, true or false"))
        else:
            read[name] = text
    if faults:
        raise Problem.invalid_fields(faults)
    return read


def render_all(template: Template, request: DispatchRequest, app_locale: str | None) -> tuple[LocalTexts, ...]:
    """The texts of every locale, the one for everybody else first: the app's own, or the template's. Problem 422."""
    params = read_params(request.params)
    missing = sorted(set(template.parameters) - set(params))
    if missing:
        raise Problem.invalid_fields([FieldError(f"params.{name}", "the template asks for it") for name in missing])
    default = choose(template.texts, [app_locale], template.default_locale)
    order = [default, *(locale for locale in template.texts if locale != default)]
    rendered = tuple(render_one(template, locale, params) for locale in order)
    for texts in rendered:
        size = content_bytes(shown(request.notification, texts), request.data)
        if size > MAX_CONTENT_BYTES:
            said = f"notification and data are {size} bytes together in {texts.locale}, at most {MAX_CONTENT_BYTES} go"
            raise Problem.invalid("template", said)
    return rendered


def render_one(template: Template, locale: str, params: Mapping[str, str]) -> LocalTexts:
    """One locale's texts; Problem 422 names what is missing."""
    try:
        return render(template.texts[locale], locale, params)
    except MissingParams as missing:
        faults = [FieldError(f"params.{name}", "the template asks for it") for name in missing.names]
        raise Problem.invalid_fields(faults) from None


def shown(notification: Mapping[str, Any] | None, texts: LocalTexts) -> dict[str, Any] | None:
    """The notification: the template's texts under what the dispatch says itself."""
    own = {name: value for name, value in (notification or {}).items() if value is not None}
    said = {name: text for name, text in (("title", texts.title), ("body", texts.body)) if text is not None}
    return {**said, **own} or None


def body_of(
    message_id: str, klass: str, notification: Mapping[str, Any] | None, data: Mapping[str, Any] | None, sent_at: str
) -> bytes:
    """A message's content as phones get it, without braces (see :class:`~dispatcher.domain.message.Message`)."""
    return b'"message_id":%b,"class":%b,"notification":%b,"data":%b,"sent_at":"%b"' % (
        _json(message_id),
        _json(klass),
        _json(notification),
        _json(data),
        sent_at.encode(),
    )


def localised(message: Message, texts: LocalTexts) -> Message:
    """*message* as one locale reads it."""
    notification = shown(message.notification, texts)
    return msgspec.structs.replace(
        message,
        notification=notification,
        sms_text=message.sms_text or texts.sms,
        body=body_of(message.message_id, message.klass, notification, message.data, sent_at(message)),
        texts=None,
        params=None,
    )


def wishes(profile: Profile | None) -> Sequence[str | None]:
    """Whose language counts: the user's, else that of the device seen last."""
    if profile is None:
        return ()
    latest = sorted(profile.devices, key=lambda device: -device.last_seen)
    return [profile.locale, *(device.locale for device in latest)]


def variant_of(texts: Sequence[LocalTexts], profile: Profile | None) -> int:
    """Which of a message's texts a user reads."""
    locales = [one.locale for one in texts]
    return locales.index(choose(locales, wishes(profile), locales[0]))


def sent_at(message: Message) -> str:
    """When a message was sent, as phones see it: when it was due, where it was scheduled."""
    return rfc3339(max(message.accepted_at, message.not_before or 0))
