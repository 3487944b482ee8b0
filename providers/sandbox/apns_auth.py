"""Provider tokens as Apple judges them: ES256 JWTs, at most one hour old, renewed at most every 20 minutes.

Source: "Establishing a token-based connection to APNs", developer.apple.com/documentation/usernotifications.
"""

from typing import NamedTuple
from weakref import WeakKeyDictionary

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from providers.sandbox.credentials import ApnsCredentials
from providers.sandbox.wire.exchange import Connection

OLDEST_S = 3600.0
SKEW_S = 300.0
UPDATE_INTERVAL_S = 1200.0
_REMEMBERED = 1024


class ProviderToken(NamedTuple):
    """A token whose signature was verified."""

    issued_at: float
    text: bytes


class ProviderTokens:
    """Verifies tokens (each text once) and counts how often they change."""

    def __init__(self, credentials: ApnsCredentials) -> None:
        key = serialization.load_pem_private_key(credentials.key_pem.encode(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the APNs key is no EC key")
        self._key = key.public_key()
        self._key_id = credentials.key_id
        self._team_id = credentials.team_id
        self._verified: dict[bytes, ProviderToken] = {}
        self._team: list[ProviderToken] = []
        self._of: WeakKeyDictionary[Connection, list[ProviderToken]] = WeakKeyDictionary()
        self._barred: WeakKeyDictionary[Connection, bool] = WeakKeyDictionary()

    def judge(self, authorization: bytes | None, connection: Connection, now: float, *, by_team: bool) -> str | None:
        """Apple's reason to refuse, or None. After too many updates a connection is refused for good."""
        if authorization is None:
            return "MissingProviderToken"
        scheme, _, text = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not text:
            return "MissingProviderToken"
        token = self._verified.get(text) or self._verify(text)
        if token is None or token.issued_at > now + SKEW_S:
            return "InvalidProviderToken"
        if now - token.issued_at > OLDEST_S:
            return "ExpiredProviderToken"
        if connection in self._barred:
            return "TooManyProviderTokenUpdates"
        known = self._team if by_team else self._of.setdefault(connection, [])
        if token in known:
            return None
        if any(abs(token.issued_at - other.issued_at) < UPDATE_INTERVAL_S for other in known):
            self._barred[connection] = True
            return "TooManyProviderTokenUpdates"
        known.append(token)
        del known[:-4]
        return None

    def _verify(self, text: bytes) -> ProviderToken | None:
        try:
            if jwt.get_unverified_header(text).get("kid") != self._key_id:
                return None
            claims = jwt.decode(
                text,
                self._key,
                algorithms=["ES256"],
                options={"require": ["iss", "iat"], "verify_iat": False, "verify_aud": False, "verify_exp": False},
            )
            issued_at = float(claims["iat"])
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        if claims["iss"] != self._team_id:
            return None
        if len(self._verified) >= _REMEMBERED:
            self._verified.clear()
        token = self._verified[text] = ProviderToken(issued_at, text)
        return token
