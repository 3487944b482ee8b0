"""From an attempt to one HTTP/2 request, without I/O.

https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
"""

import re
from hashlib import blake2b

from dispatcher.domain.clock import SECOND
from dispatcher.domain.ids import attempt_uuid
from dispatcher.domain.message import Message, Priority
from providers.apns.payload import build, shows_alert
from providers.base import Attempt
from providers.http2 import Request

_TOKEN = re.compile(r"[0-9A-Za-z._~-]{1,512}\Z")
_TOPIC = re.compile(r"[\x21-\x7e]{1,255}\Z")


class Unsendable(ValueError):
    """The device registered a token or topic that cannot stand in a request."""


def collapse_id(message: Message) -> str:
    """32 hex digits: of the collapse key where there is one, else of the message. At most 64 bytes are allowed."""
    text = f"k:{message.collapse_key}" if message.collapse_key else f"m:{message.message_id}"
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def priority_of(attempt: Attempt) -> str:
    """10 at once, 5 when it suits the phone's battery; a background push must have 5."""
    if not shows_alert(attempt):
        return "5"
    return "5" if (attempt.priority or attempt.message.priority) == Priority.LOW else "10"


def build_request(attempt: Attempt, host: str, topic: str, bearer: str | None) -> tuple[Request, str]:
    """The request to *host* (``https://name[:port]``), and its apns-id. *bearer* None: a certificate speaks for us.

    Raises :class:`Unsendable` where token or topic would break the request.
    """
    token = attempt.token
    if token is None or _TOKEN.match(token.value) is None:
        raise Unsendable("BadDeviceToken")
    topic = token.topic or topic
    if _TOPIC.match(topic) is None:
        raise Unsendable("BadTopic")
    apns_id = attempt_uuid(attempt.attempt_id)
    headers = [
        ("apns-topic", topic),
        ("apns-push-type", "alert" if shows_alert(attempt) else "background"),
        ("apns-priority", priority_of(attempt)),
        ("apns-expiration", str(max(0, attempt.expires_at // SECOND))),
        ("apns-collapse-id", collapse_id(attempt.message)),
        ("apns-id", apns_id),
    ]
    if bearer is not None:
        headers.insert(0, ("authorization", bearer))
    return Request("POST", f"{host}/3/device/{token.value}", headers, build(attempt)), apns_id
