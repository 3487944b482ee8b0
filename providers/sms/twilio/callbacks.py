"""Status callbacks: judged by the library's RequestValidator, ranked by us.

https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks
https://www.twilio.com/docs/usage/security#validating-requests
"""

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote

from twilio.request_validator import RequestValidator

from providers.sms.opt_out import opt_out_of
from providers.sms.status import BadSignature, CarrierStatus
from providers.sms.twilio.errors import number_verdict

#: Later in a text's life is higher; among ends none beats another.
RANKS: Mapping[str, int] = {
    "scheduled": 0,
    "accepted": 1,
    "queued": 2,
    "sending": 3,
    "sent": 4,
    "delivered": 5,
    "undelivered": 5,
    "failed": 5,
    "canceled": 5,
}
_ENDS = 5
_PROOF = frozenset({"delivered"})


def callback_url(public_url: str, attempt_id: str) -> str:
    """Where Twilio reports about *attempt_id*: signed over this very text, so it is built from configuration."""
    return f"{public_url.rstrip('/')}/v1/callbacks/sms/twilio/{quote(attempt_id, safe='')}"


class _Form:
    """What RequestValidator takes for a form with repeated names."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def getlist(self, name: str) -> list[str]:
        return self._values[name]

    def last(self, name: str) -> str | None:
        values = self._values.get(name)
        return values[-1] if values else None


def verified_form(
    url: str, params: Mapping[str, str] | Iterable[tuple[str, str]], signature: str, auth_token: str
) -> "_Form":
    """The form of a request that Twilio signed. Raises :class:`~providers.sms.status.BadSignature`.

    *url*: the public one, as Twilio saw it. All parameters count for the signature, unknown ones too.
    """
    form = _Form(params.items() if isinstance(params, Mapping) else params)
    if not signature or not RequestValidator(auth_token).validate(url, form, signature):
        raise BadSignature("the callback's signature is not Twilio's")
    return form


def parse_callback(
    url: str, params: Mapping[str, str] | Iterable[tuple[str, str]], signature: str, auth_token: str
) -> CarrierStatus:
    """Reads a status callback (:func:`callback_url`); see :func:`verified_form`.

    A status we do not know has the lowest rank and ends nothing.
    """
    form = verified_form(url, params, signature, auth_token)
    status = (form.last("MessageStatus") or form.last("SmsStatus") or "").lower()
    rank = RANKS.get(status, -1)
    error = form.last("ErrorCode")
    segments = form.last("NumSegments") or ""
    return CarrierStatus(
        status=status,
        rank=rank,
        terminal=rank == _ENDS,
        proof=status in _PROOF,
        error=error,
        segments=int(segments) if segments.isascii() and segments.isdigit() else None,
        number=number_verdict(error),
        reference=form.last("MessageSid") or form.last("SmsSid"),
    )


def parse_inbound(url: str, params: Mapping[str, str], signature: str, auth_token: str) -> tuple[str, bool | None]:
    """Who texted us, and whether that stops (True) or starts (False) texts to them; see :func:`verified_form`."""
    form = verified_form(url, params, signature, auth_token)
    return form.last("From") or "", opt_out_of(form.last("Body") or "", form.last("OptOutType"))
