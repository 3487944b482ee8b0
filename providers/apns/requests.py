"""From an attempt to a push, from a push to one HTTP/2 request, without I/O.

https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
"""

import re
from functools import lru_cache
from hashlib import blake2b

from msgspec import Struct

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.device import VOIP, PushToken
from dispatcher.domain.ids import attempt_uuid
from dispatcher.domain.message import Message, Priority
from providers.apns.payload import build
from providers.apns.push_types import ROWS, PushType, topic_for
from providers.base import Attempt
from providers.http2 import Request

_TOKEN = re.compile(r"[0-9A-Za-z._~-]{1,512}\Z")
_TOPIC = re.compile(r"[\x21-\x7e]{1,255}\Z")
_COLLAPSE_ID = re.compile(r"[\x20-\x7e]{1,64}\Z")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


class Unsendable(ValueError):
    """What cannot stand in a request to Apple, by Apple's own word for it."""


def collapse_id(message: Message) -> str:
    """32 hex digits: of the collapse key where there is one, else of the message. At most 64 bytes are allowed."""
    text = f"k:{message.collapse_key}" if message.collapse_key else f"m:{message.message_id}"
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


class Push(Struct, frozen=True, kw_only=True, gc=False):
    """One push of any type, as Apple wants it: what a message's attempt becomes, or what a caller builds by hand.

    *payload*: the whole JSON text. *topic*: the app's bundle id where the token names none; the type's suffix is added.
    *expires_at* None: tried once, not kept. *collapse_id*: at most 64 bytes. *push_id*: a lower-case UUID, echoed.
    """

    token: PushToken
    push_type: PushType
    payload: bytes
    push_id: str
    topic: str | None = None
    priority: str | None = None  #: None: the type's usual one
    expires_at: Millis | None = None
    collapse_id: str | None = None


def push_type_of(attempt: Attempt) -> PushType:
    """A PushKit token takes calls only; else what is seen is an alert and what is not is a background push."""
    if attempt.token is not None and attempt.token.kind == VOIP:
        return PushType.VOIP
    return PushType.ALERT if attempt.shows_alert else PushType.BACKGROUND


def priority_of(attempt: Attempt, push_type: PushType) -> str:
    """10 at once, 5 when it suits the phone's battery; a background push must have 5, and a call cannot wait."""
    if push_type is not PushType.ALERT:
        return ROWS[push_type].priorities[0]
    return "5" if (attempt.priority or attempt.message.priority) == Priority.LOW else "10"


def push_of(attempt: Attempt) -> Push:
    """The push of a message's attempt. Raises :class:`Unsendable` where it has no token."""
    if attempt.token is None:
        raise Unsendable("BadDeviceToken")
    push_type = push_type_of(attempt)
    return Push(
        token=attempt.token,
        push_type=push_type,
        payload=build(attempt, ROWS[push_type].limit),
        push_id=attempt_uuid(attempt.attempt_id),
        priority=priority_of(attempt, push_type),
        expires_at=attempt.expires_at,
        collapse_id=collapse_id(attempt.message),
    )


def build_request(push: Push, host: str, topic: str, bearer: str | None) -> Request:
    """The request to *host* (``https://name[:port]``). *bearer* None: a certificate speaks for us.

    Raises :class:`Unsendable`, whose text is Apple's word for it, where Apple would refuse or the request would break.
    """
    row = ROWS[push.push_type]
    if _TOKEN.match(push.token.value) is None:
        raise Unsendable("BadDeviceToken")
    topic = _whole_topic(push.push_type, push.topic or push.token.topic or topic)
    priority = push.priority or row.priorities[0]
    if priority not in row.priorities:
        raise Unsendable("BadPriority")
    if len(push.payload) > row.limit:
        raise Unsendable("PayloadTooLarge")
    if _UUID.match(push.push_id) is None:
        raise Unsendable("BadMessageId")
    kept_until = max(0, push.expires_at // SECOND) if push.expires_at is not None and row.kept else 0
    headers = [("authorization", bearer)] if bearer is not None else []
    headers += (
        ("apns-topic", topic),
        ("apns-push-type", push.push_type.value),
        ("apns-priority", priority),
        ("apns-expiration", str(kept_until)),
    )
    if push.collapse_id is not None:
        if _COLLAPSE_ID.match(push.collapse_id) is None:
            raise Unsendable("BadCollapseId")
        headers.append(("apns-collapse-id", push.collapse_id))
    headers.append(("apns-id", push.push_id))
    return Request("POST", f"{host}/3/device/{push.token.value}", headers, push.payload)


@lru_cache(maxsize=1_024)
def _whole_topic(push_type: PushType, topic: str) -> str:
    whole = topic_for(push_type, topic)
    if _TOPIC.match(whole) is None:
        raise Unsendable("BadTopic")
    return whole
