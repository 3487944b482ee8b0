"""Google's token endpoint for service accounts: the JWT-bearer grant of RFC 7523.

Access tokens carry their own end and a MAC, so that a restarted sandbox still knows them.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from providers.sandbox.wire.exchange import Answer, Request

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GOOGLE_AUDIENCE = "https://oauth2.googleapis.com/token"
"""google-auth always signs for this audience, wherever the token endpoint is."""
SCOPES = frozenset(
    {"https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"}
)
LONGEST_ASSERTION_S = 3600.0
SKEW_S = 60.0
_PREFIX = "ya29.sandbox."


class OAuth:
    """*ttl_s* gives the lifetime of new access tokens in seconds."""

    def __init__(self, account: dict[str, str], clock: Callable[[], float], ttl_s: Callable[[], float]) -> None:
        key = serialization.load_pem_private_key(
            account["private_key"].encode(),
            None,
            unsafe_skip_rsa_key_validation=True,  # we made it ourselves
        )
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("the service account's key is no RSA key")
        self._key = key.public_key()
        self._account = account
        self._clock = clock
        self._ttl_s = ttl_s
        self._secret = hashlib.sha256(b"sandbox access tokens" + account["private_key"].encode()).digest()

    def token(self, request: Request) -> Answer:
        """200 with an access token, or 400 with RFC 6749's error."""
        if request.method != "POST":
            return _json(405, {"error": "invalid_request", "error_description": "POST only"})
        form = parse_qs(request.body.decode("utf-8", "replace"))
        if form.get("grant_type") != [GRANT]:
            return _json(400, {"error": "unsupported_grant_type", "error_description": "Invalid grant_type"})
        fault = self._fault(form.get("assertion", [""])[0])
        if fault:
            return _json(400, {"error": "invalid_grant", "error_description": fault})
        ttl = self._ttl_s()
        document: dict[str, str | int] = {
            "access_token": self._mint(self._clock() + ttl),
            "expires_in": int(ttl),
            "token_type": "Bearer",
        }
        return _json(200, document)

    def accepts(self, token: str) -> bool:
        """Whether *token* is one of ours and not past its end."""
        try:
            end, mac = token.removeprefix(_PREFIX).split(".")
            return hmac.compare_digest(mac, self._mac(end)) and self._clock() < int(end)
        except (ValueError, TypeError):
            return False

    def _mint(self, end: float) -> str:
        text = str(int(end))
        return f"{_PREFIX}{text}.{self._mac(text)}"

    def _mac(self, text: str) -> str:
        return base64.urlsafe_b64encode(hmac.digest(self._secret, text.encode(), "sha256")).decode().rstrip("=")

    def _fault(self, assertion: str) -> str | None:
        try:
            if jwt.get_unverified_header(assertion).get("kid") != self._account["private_key_id"]:
                return "Invalid JWT Signature."
            claims = jwt.decode(
                assertion,
                self._key,
                algorithms=["RS256"],
                audience=[GOOGLE_AUDIENCE, self._account["token_uri"]],
                issuer=self._account["client_email"],
                options={"require": ["iss", "aud", "exp", "iat"], "verify_exp": False, "verify_iat": False},
            )
            issued, end = float(claims["iat"]), float(claims["exp"])
        except jwt.InvalidSignatureError:
            return "Invalid JWT Signature."
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            return f"Invalid JWT: {type(error).__name__}"
        now = self._clock()
        if issued > now + SKEW_S or end < now - SKEW_S or end - issued > LONGEST_ASSERTION_S:
            return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
        if not SCOPES & set(str(claims.get("scope", "")).split()):
            return "Invalid OAuth scope or ID token audience provided."
        return None


def _json(status: int, document: dict[str, str | int]) -> Answer:
    reason = str(document["error"]) if "error" in document else None
    headers = ((b"content-type", b"application/json; charset=utf-8"), (b"cache-control", b"no-store"))
    return Answer(status, headers, json.dumps(document).encode(), reason)
