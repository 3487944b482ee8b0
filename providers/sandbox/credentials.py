"""What an app needs to talk to the simulators: made once into a directory, then only read."""

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from providers.sandbox.certificate import write_private

TOPIC = "com.example.im"
PROJECT_ID = "pushpath-sandbox"
FROM_NUMBER = "+15005550006"
UNKNOWN_OAUTH_URL = "http://127.0.0.1/token"

_APNS, _FCM, _SMS = "apns.json", "fcm.json", "sms.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class ApnsCredentials:
    """A provider key as Apple hands it out: *key_pem* is the text of the .p8 file (EC P-256, PKCS #8)."""

    key_id: str
    team_id: str
    topic: str
    key_pem: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class SmsCredentials:
    """A Twilio account: its sid, its auth token and the number it sends from."""

    account_sid: str
    from_number: str
    auth_token: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxCredentials:
    """*fcm* is a Google service account document, as firebase-admin's ``credentials.Certificate`` takes it."""

    apns: ApnsCredentials
    sms: SmsCredentials
    fcm: dict[str, str] = field(repr=False)


def ensure_credentials(directory: Path, oauth_url: str | None = None) -> SandboxCredentials:
    """Make what is missing in *directory* (mode 0700, files 0600) and return all of it.

    *oauth_url* becomes the service account's ``token_uri``; an account made earlier keeps its key and gets
    the new address. None keeps what stands there.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (directory / _APNS).exists():
        _write(directory / _APNS, _new_apns())
    if not (directory / _FCM).exists():
        _write(directory / _FCM, _new_service_account(oauth_url or UNKNOWN_OAUTH_URL))
    elif oauth_url is not None:
        account = _read(directory / _FCM)
        if account["token_uri"] != oauth_url:
            _write(directory / _FCM, {**account, "token_uri": oauth_url})
    if not (directory / _SMS).exists():
        _write(directory / _SMS, _new_sms())
    return load_credentials(directory)


def load_credentials(directory: Path) -> SandboxCredentials:
    """Read what ``ensure_credentials`` made; FileNotFoundError where it never ran."""
    return SandboxCredentials(
        apns=ApnsCredentials(**_read(directory / _APNS)),
        fcm=_read(directory / _FCM),
        sms=SmsCredentials(**_read(directory / _SMS)),
    )


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def _write(path: Path, document: dict[str, str]) -> None:
    write_private(path, json.dumps(document, indent=2).encode())


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _apple_id() -> str:
    """Ten characters, the form of Apple's key and team ids."""
    return "".join(secrets.choice("ABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(10))


def _new_apns() -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    return {"key_id": _apple_id(), "team_id": _apple_id(), "topic": TOPIC, "key_pem": _pem(key)}


def _new_service_account(oauth_url: str) -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    email = f"pushpath@{PROJECT_ID}.iam.gserviceaccount.com"
    return {
        "type": "service_account",
        "project_id": PROJECT_ID,
        "private_key_id": secrets.token_hex(20),
        "private_key": _pem(key),
        "client_email": email,
        "client_id": "".join(secrets.choice("0123456789") for _ in range(21)),
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": oauth_url,
        "universe_domain": "googleapis.com",
    }


def _new_sms() -> dict[str, str]:
    return {
        "account_sid": f"AC{secrets.token_hex(16)}",
        "auth_token": secrets.token_hex(16),
        "from_number": FROM_NUMBER,
    }
