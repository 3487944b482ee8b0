"""Status callbacks of the generic carrier, signed after the Standard Webhooks scheme.

Headers ``webhook-id``, ``webhook-timestamp`` (seconds) and ``webhook-signature`` (``v1,<base64>``, several by spaces)
over ``id.timestamp.body`` with HMAC-SHA256. Body: ``{"status", "id"?, "code"?, "segments"?}``, statuses as Twilio's.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256

import msgspec

from dispatcher.domain.clock import MINUTE, SECOND, Millis
from providers.sms.http_carrier.provider import NUMBER_CODES
from providers.sms.opt_out import opt_out_of
from providers.sms.status import BadSignature, CarrierStatus
from providers.sms.twilio.callbacks import RANKS

TOLERANCE: Millis = 5 * MINUTE  #: older or newer callbacks are replays


class _Status(msgspec.Struct):
    status: str
    id: str | None = None
    code: str | None = None
    segments: int | None = None


class _Inbound(msgspec.Struct):
    sender: str = msgspec.field(name="from")
    text: str = ""


_decode = msgspec.json.Decoder(_Status).decode
_decode_inbound = msgspec.json.Decoder(_Inbound).decode


def sign(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    """One ``v1`` signature."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.digest(secret.encode(), signed, sha256)).decode()


def _verify(body: bytes, headers: Mapping[str, str], secret: str, now: Millis) -> None:
    timestamp = headers.get("webhook-timestamp", "")
    expected = sign(secret, headers.get("webhook-id", ""), timestamp, body).encode()
    given = headers.get("webhook-signature", "").split(" ")
    if not any(hmac.compare_digest(expected, one.encode(errors="replace")) for one in given):
        raise BadSignature("the callback's signature is not the carrier's")
    fresh = timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12
    if not fresh or abs(int(timestamp) * SECOND - now) > TOLERANCE:
        raise BadSignature("the callback is not of this moment")


def parse_http_inbound(body: bytes, headers: Mapping[str, str], secret: str, now: Millis) -> tuple[str, bool | None]:
    """Who texted us (``{"from", "text"}``), and whether that stops (True) or starts (False) texts to them.

    Raises as :func:`parse_http_callback` does.
    """
    _verify(body, headers, secret, now)
    try:
        found = _decode_inbound(body)
    except msgspec.MsgspecError as fault:
        raise ValueError(f"no text: {fault}") from None
    return found.sender, opt_out_of(found.text)


def parse_http_callback(body: bytes, headers: Mapping[str, str], secret: str, now: Millis) -> CarrierStatus:
    """Reads a callback; *headers* by lower-case name.

    Raises :class:`~providers.sms.status.BadSignature` for what the carrier did not sign or signed too long ago, and
    ValueError for a signed body that is no status.
    """
    _verify(body, headers, secret, now)
    try:
        found = _decode(body)
    except msgspec.MsgspecError as fault:
        raise ValueError(f"no status: {fault}") from None
    rank = RANKS.get(found.status, -1)
    return CarrierStatus(
        status=found.status,
        rank=rank,
        terminal=rank == RANKS["delivered"],
        proof=found.status == "delivered",
        error=found.code,
        segments=found.segments,
        number=NUMBER_CODES.get(found.code or ""),
        reference=found.id,
    )
