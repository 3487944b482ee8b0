"""Provider tokens: one JWT per team for all workers, with no state shared between them.

``iat`` is rounded down to 40 minutes and the ES256 signature is deterministic (RFC 6979), so every process makes the
same bytes. Apple wants a new token no more than every 20 and no less than every 60 minutes:
https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns
"""

from base64 import urlsafe_b64encode

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from dispatcher.domain.clock import MINUTE, SECOND, Millis

SLOT: Millis = 40 * MINUTE
HALF: Millis = SLOT // 2


class BadKey(ValueError):
    """The text is no EC P-256 private key in PEM."""


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


class Signer:
    """Makes the ``authorization`` value of one team's key. Never prints the key."""

    __slots__ = ("_header", "_key", "_slot", "_team_id", "_value")

    def __init__(self, key_pem: str, key_id: str, team_id: str) -> None:
        """Raises :class:`BadKey`, whose text never quotes the key."""
        try:
            key = load_pem_private_key(key_pem.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise BadKey("the APNs key is no unencrypted PEM private key (Apple's .p8 file)") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise BadKey("the APNs key is not of the curve P-256")
        self._key = key
        self._team_id = team_id
        self._header = _base64(msgspec.json.encode({"alg": "ES256", "kid": key_id, "typ": "JWT"}))
        self._slot = -1
        self._value = ""

    def __repr__(self) -> str:
        return f"Signer({self._team_id})"

    def bearer(self, now: Millis) -> str:
        """``bearer <jwt>``, the same all through a slot of 40 minutes."""
        slot = now // SLOT
        if slot != self._slot:
            self._value = self._make(slot * SLOT)
            self._slot = slot
        return self._value

    def renewed_bearer(self, now: Millis) -> str:
        """For an Apple that calls the present one too old: issued in this half of the slot, and used from now on.

        Twenty minutes younger at most, so it never counts as an update too many; the same bytes in every process.
        """
        self._slot = now // SLOT
        self._value = self._make(now // HALF * HALF)
        return self._value

    def _make(self, issued_at: Millis) -> str:
        claims = msgspec.json.encode({"iss": self._team_id, "iat": issued_at // SECOND})
        signed = self._header + b"." + _base64(claims)
        der = self._key.sign(signed, ec.ECDSA(SHA256(), deterministic_signing=True))
        r, s = utils.decode_dss_signature(der)
        return f"bearer {(signed + b'.' + _base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))).decode()}"
