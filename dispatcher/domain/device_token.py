"""Device tokens: short-lived JWTs with one fixed header, so a check is one HMAC and one small decode.

A phone never has an API key. The token names app, user, device and binding epoch; whether the epoch is still the
device's is for the caller to ask. HS256 (RFC 7518, 3.2); any other header is refused over its bytes.
"""

from binascii import a2b_base64, b2a_base64
from hashlib import blake2b, sha256
from hmac import compare_digest

import msgspec

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.keyring import Keyring, keyring_of

MAX_TTL_S = 24 * 3600
_HEADER = b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_STANDARD = bytes.maketrans(b"-_", b"+/")


class _Claims(msgspec.Struct, kw_only=True):
    app: str
    sub: str
    dev: str
    epoch: int
    exp: int
    iat: int


_decode = msgspec.json.Decoder(_Claims).decode


class DeviceIdentity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who holds a device token."""

    app: str
    user_id: str
    device_id: str
    epoch: int
    expires_at: Millis


class BadToken(ValueError):
    """No token of ours, or past its end. ``code``: ``invalid`` or ``expired``."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the device token is {code}")
        self.code = code


class _Signer:
    """One key. Its halves of HMAC (RFC 2104, 4) are hashed once: a gateway checks twenty thousand tokens a second."""

    __slots__ = ("_inner", "_outer", "key")

    def __init__(self, secret: bytes) -> None:
        self.key = blake2b(secret, digest_size=32, person=b"pushpath-devtok").digest()
        block = self.key.ljust(64, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))

    def sign(self, signed: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(signed)
        outer.update(inner.digest())
        return _encoded(outer.digest())


class DeviceTokens:
    """Mints device tokens with the key in use, reads those of any. Never prints its keys.

    What an earlier key signed ends with the life of the last token that it may have signed in its time.
    """

    __slots__ = ("_earlier", "_newest", "_ring")

    def __init__(self, secret: bytes | Keyring) -> None:
        self._ring = keyring_of(secret)
        self._newest, *self._earlier = [_Signer(secret) for secret in self._ring.secrets]

    def __repr__(self) -> str:
        return "DeviceTokens(...)"

    def _is_earlier(self, head: bytes, signature: bytes, ends: Millis) -> bool:
        """Whether an earlier key signed a token that ends then, and may have done so in its time."""
        for index, signer in enumerate(self._earlier, 1):
            if compare_digest(signer.sign(head), signature):
                until = self._ring.until(index)
                return until is None or ends <= until + MAX_TTL_S * SECOND
        return False

    def mint(self, identity: DeviceIdentity, now: Millis) -> str:
        """A token for *identity* until its ``expires_at``."""
        claims = _Claims(
            app=identity.app,
            sub=identity.user_id,
            dev=identity.device_id,
            epoch=identity.epoch,
            exp=identity.expires_at // SECOND,
            iat=now // SECOND,
        )
        signed = _HEADER + b"." + _encoded(msgspec.json.encode(claims))
        signer = (self._newest, *self._earlier)[self._ring.in_use(now)]
        return (signed + b"." + signer.sign(signed)).decode()

    def read(self, token: str, now: Millis) -> DeviceIdentity:
        """Who *token* names; raises :class:`BadToken`."""
        head, _, signature = token.encode(errors="replace").rpartition(b".")
        header, _, payload = head.partition(b".")
        newest = header == _HEADER and compare_digest(self._newest.sign(head), signature)
        if not newest and (header != _HEADER or not self._earlier):
            raise BadToken("invalid")
        try:
            claims = _decode(a2b_base64(payload.translate(_STANDARD) + b"=="))
        except (ValueError, msgspec.MsgspecError):
            raise BadToken("invalid") from None
        if not newest and not self._is_earlier(head, signature, claims.exp * SECOND):
            raise BadToken("invalid")
        if claims.exp * SECOND <= now:
            raise BadToken("expired")
        return DeviceIdentity(
            app=claims.app,
            user_id=claims.sub,
            device_id=claims.dev,
            epoch=claims.epoch,
            expires_at=claims.exp * SECOND,
        )


def _encoded(data: bytes) -> bytes:
    """Base64url without padding (RFC 7515, 2)."""
    return b2a_base64(data, newline=False).translate(_URL_SAFE).rstrip(b"=")
