"""Standard Webhooks signatures (https://www.standardwebhooks.com, specification 1.0.0).

``v1,base64(HMAC-SHA256(secret, "{id}.{timestamp}.{body}"))``; a secret is ``whsec_`` and 24 to 64 bytes in base64.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from hmac import new as hmac_of

from dispatcher.domain.clock import SECOND, Millis

PREFIX = "whsec_"
_SHORTEST, _LONGEST, _MADE = 24, 64, 32


def make_secret(dice: Callable[[int], bytes]) -> str:
    """A new secret. *dice*: that many random bytes."""
    return PREFIX + b64encode(dice(_MADE)).decode()


def read_secret(text: str) -> bytes:
    """The key behind a secret; ValueError says what to write instead."""
    try:
        key = b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("write whsec_ and 24 to 64 bytes in base64") from None
    if not text.startswith(PREFIX) or not _SHORTEST <= len(key) <= _LONGEST:
        raise ValueError("write whsec_ and 24 to 64 bytes in base64")
    return key


def sealed_for(app: str) -> str:
    """What a secret is sealed to: moved to another app's row it opens nothing."""
    return f"webhook:{app}"


def signed_headers(key: bytes, webhook_id: str, now: Millis, body: bytes) -> dict[str, str]:
    """The three headers that a receiver checks."""
    timestamp = str(now // SECOND)
    digest = hmac_of(key, b"%b.%b.%b" % (webhook_id.encode(), timestamp.encode(), body), sha256).digest()
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{b64encode(digest).decode()}",
    }
