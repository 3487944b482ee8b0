"""Credentials that cannot be right are named by field, by what they hold and what is wanted, and never quoted."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from dispatcher.credential_check import findings, read
from dispatcher.credential_verdicts import verdict_of
from dispatcher.domain.circuit import CircuitState
from dispatcher.domain.clock import from_datetime
from dispatcher.domain.paths import Path
from dispatcher.ports.circuits import PathView
from providers.credentials import BadCredentials

AT = datetime(2026, 11, 22, tzinfo=UTC)
NOW = from_datetime(AT)
P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(65537, 2048)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def private(key: Key, password: bytes | None = None) -> str:
    sealed = form.NoEncryption() if password is None else form.BestAvailableEncryption(password)
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, sealed).decode()


def public(key: Key) -> str:
    return key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo).decode()


def certificate(key: Key, app: str = "com.example.im", *, days: int = 300) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.USER_ID, app)])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(5).not_valid_before(AT - timedelta(400)).not_valid_after(AT + timedelta(days))
    return made.sign(key, SHA256()).public_bytes(form.Encoding.PEM).decode()


def by_key(**more: Any) -> dict[str, Any]:
    return {
        "topic": "com.example.im",
        "key_id": "ABC123DEFG",
        "team_id": "DEF123GHIJ",
        "key_pem": private(P256),
        **more,
    }


def by_certificate(**more: Any) -> dict[str, Any]:
    pair = {"certificate_pem": certificate(P256), "certificate_key_pem": private(P256)}
    return {"topic": "com.example.im", **pair, **more}


def account(**more: Any) -> dict[str, Any]:
    made = {
        "type": "service_account",
        "project_id": "shop-1",
        "client_email": "push@shop-1.iam.gserviceaccount.com",
        "private_key": private(RSA),
        **more,
    }
    return {"service_account": {name: value for name, value in made.items() if value is not None}}


def twilio(**more: Any) -> dict[str, Any]:
    return {"account_sid": "AC" + "0" * 32, "auth_token": "aToken", "from_number": "+15005550006", **more}


@pytest.mark.parametrize(
    ("path", "document"),
    [
        (Path.APNS, by_key()),
        (Path.APNS, by_certificate()),
        (Path.APNS, by_certificate(topic="com.example.im.voip")),
        (Path.FCM, account()),
        (Path.FCM, account(client_email="shop-1@appspot.gserviceaccount.com")),
        (Path.FCM, {"service_account": json.dumps(account()["service_account"])}),
        (Path.SMS, twilio()),
        (Path.SMS, twilio(from_number="Example Co")),
        (Path.SMS, twilio(from_number=None, messaging_service_sid="MG" + "0" * 32)),
        (Path.SMS, {"carriers": [twilio(), twilio(account_sid="AC" + "1" * 32)]}),
    ],
)
def test_what_is_right_passes(path: Path, document: dict[str, Any]) -> None:
    credentials = read(path, json.dumps(document).encode(), NOW)
    assert all(one.well for one in findings(path, credentials, NOW))


APNS: Mapping[str, tuple[Callable[[], dict[str, Any]], str, str]] = {
    "a certificate for a key": (lambda: by_key(key_pem=certificate(P256)), "key_pem", "holds a certificate"),
    "a public key": (lambda: by_key(key_pem=public(P256)), "key_pem", "holds a public key"),
    "an encrypted key": (lambda: by_key(key_pem=private(P256, b"pw")), "key_pem", "holds an encrypted private key"),
    "no PEM": (lambda: by_key(key_pem="MIGTAgEA"), "key_pem", "holds no PEM"),
    "an empty key": (lambda: by_key(key_pem=""), "key_pem", "holds nothing"),
    "another curve": (lambda: by_key(key_pem=private(P384)), "key_pem", "not of the curve P-256"),
    "an RSA key": (lambda: by_key(key_pem=private(RSA)), "key_pem", "not of the curve P-256"),
    "a key id of somebody's own": (lambda: by_key(key_id="my key"), "key_id", "none of Apple's"),
    "a team's name": (lambda: by_key(team_id="Example GmbH"), "team_id", "none of Apple's"),
    "a topic that is none": (lambda: by_key(topic="com example"), "topic", "no bundle id"),
    "a key for a certificate": (
        lambda: by_certificate(certificate_pem=private(P256)),
        "certificate_pem",
        "holds a private key; a certificate is wanted",
    ),
    "a certificate for its key": (
        lambda: by_certificate(certificate_key_pem=certificate(P256)),
        "certificate_key_pem",
        "holds a certificate; a private key is wanted",
    ),
    "a certificate of another app": (
        lambda: by_certificate(certificate_pem=certificate(P256, "com.other.app")),
        "certificate_pem",
        "is for 'com.other.app', not for the topic 'com.example.im'",
    ),
    "a certificate that ended": (
        lambda: by_certificate(certificate_pem=certificate(P256, days=-1)),
        "certificate_pem",
        "ended 2026-11-21",
    ),
    "the key of another certificate": (
        lambda: by_certificate(certificate_key_pem=private(ec.generate_private_key(ec.SECP256R1()))),
        "certificate_key_pem",
        "not the key of the certificate",
    ),
}
FCM: Mapping[str, tuple[Callable[[], dict[str, Any]], str, str]] = {
    "the app's own file": (
        lambda: {"service_account": {"project_info": {}, "client": []}},
        "service_account",
        "google-services.json",
    ),
    "a person's login": (lambda: account(type="authorized_user"), "service_account", "of the type 'authorized_user'"),
    "the document itself": (lambda: account()["service_account"], "service_account", "is missing"),
    "no JSON": (lambda: {"service_account": "no JSON"}, "service_account", "is no JSON"),
    "a certificate for its key": (lambda: account(private_key=certificate(RSA)), "private_key", "holds a certificate"),
    "a key of another kind": (lambda: account(private_key=private(P256)), "service_account.private_key", "no RSA key"),
    "a key that was cut": (
        lambda: account(private_key=private(RSA)[:200] + "\n-----END PRIVATE KEY-----\n"),
        "service_account.private_key",
        "cut or changed",
    ),
    "an account of another project": (
        lambda: account(project_id="shop-2"),
        "service_account.project_id",
        "is 'shop-2', but client_email is an account of the project 'shop-1'",
    ),
    "no project": (lambda: account(project_id=None), "service_account", "project_id"),
}
SMS: Mapping[str, tuple[Callable[[], dict[str, Any]], str, str]] = {
    "an API key for the account": (lambda: twilio(account_sid="SK" + "0" * 32), "account_sid", "begin with AC"),
    "something else for a service": (
        lambda: twilio(messaging_service_sid="VA" + "0" * 32),
        "messaging_service_sid",
        "begin with MG",
    ),
    "a number without its country": (lambda: twilio(from_number="15005550006"), "from_number", "is no number"),
    "a key for the token": (lambda: twilio(auth_token=private(P256)), "auth_token", "line breaks"),
    "the second of two carriers": (
        lambda: {"carriers": [twilio(), twilio(account_sid="PN1")]},
        "carriers[1].account_sid",
        "begin with AC",
    ),
}
ALL = [(Path.APNS, APNS), (Path.FCM, FCM), (Path.SMS, SMS)]


@pytest.mark.parametrize(
    ("path", "make", "field", "said"),
    [(path, *case) for path, cases in ALL for case in cases.values()],
    ids=[f"{path}: {name}" for path, cases in ALL for name in cases],
)
def test_what_is_wrong_is_named_and_nothing_is_quoted(
    path: Path, make: Callable[[], dict[str, Any]], field: str, said: str
) -> None:
    document = make()
    with pytest.raises(BadCredentials) as refused:
        read(path, json.dumps(document).encode(), NOW)
    assert refused.value.field == field
    assert said in str(refused.value)
    for secret in ("MII", "MIG", "-----BEGIN", "aToken"):
        assert secret not in str(refused.value)


def view(
    *answers: tuple[str, str, int], state: CircuitState = CircuitState.CLOSED, reason: str | None = None
) -> PathView:
    return PathView(state=state, reason=reason, answers={(outcome, word): count for outcome, word, count in answers})


@pytest.mark.parametrize(
    ("path", "fares", "said"),
    [
        (Path.APNS, view(), None),
        (Path.APNS, view(state=CircuitState.OPEN, reason="InvalidProviderToken"), "does not know the key"),
        (Path.APNS, view(state=CircuitState.HALF_OPEN, reason="receipts_thin"), None),
        (Path.APNS, view(("rejected", "TopicDisallowed", 3)), "may not push to the topic"),
        (Path.APNS, view(("rejected", "TopicDisallowed", 3), ("handed_over", "", 9)), None),
        (Path.FCM, view(("token_dead", "SENDER_ID_MISMATCH", 2)), "another project's sender"),
        (Path.FCM, view(state=CircuitState.HALF_OPEN, reason="status_403"), "may not send for its project_id"),
        (
            Path.FCM,
            view(state=CircuitState.OPEN, reason="oauth_invalid_grant"),
            "does not know the service account's key",
        ),
        (Path.SMS, view(state=CircuitState.OPEN, reason="twilio_21606"), "belongs to another account"),
        (Path.SMS, view(("rejected", "twilio_21701", 1)), "messaging_service_sid: it is of another account"),
        (Path.SMS, view(("rejected", "twilio_21610", 1)), None),
    ],
)
def test_a_vendors_refusal_is_told_in_words(path: Path, fares: PathView, said: str | None) -> None:
    verdict = verdict_of(path, fares)
    assert verdict is None if said is None else said in (verdict or "")
