"""Faults of credentials that can be named before a vendor is asked: the wrong file, another project's, another team's.

Names the field and what it holds instead of what is wanted; never quotes a secret. What passes here is checked further
by ``providers.credentials``.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from dispatcher.domain.clock import Millis, from_datetime, rfc3339
from dispatcher.domain.paths import Path
from providers.credentials import BadCredentials

_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
#: Apple's key and team ids: https://developer.apple.com/help/account/keys/get-a-key-identifier
_APPLE_ID = re.compile(r"[A-Z0-9]{1,10}")
_TOPIC = re.compile(r"[A-Za-z0-9.-]+")
#: https://www.twilio.com/docs/glossary/what-is-a-sid
_SIDS = {"account_sid": ("AC", "account"), "messaging_service_sid": ("MG", "Messaging Service")}
#: A number with its country, a short code, or an alphanumeric sender id with a letter in it.
_SENDER = re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")
_SERVICE_EMAIL = re.compile(r"[^@]+@([a-z0-9-]+)\.iam\.gserviceaccount\.com")
_FCM_FILE = "put Google's service account document there (Firebase console, Project settings, Service accounts)"


def kind_of_pem(text: str) -> str:
    """What a text holds, in words: ``a certificate``, ``a public key``, ``no PEM`` ..."""
    labels = _BEGIN.findall(text)
    for label in labels:
        if label == "ENCRYPTED PRIVATE KEY" or "Proc-Type: 4,ENCRYPTED" in text:
            return "an encrypted private key"
        if label.endswith("PRIVATE KEY"):
            return "a private key"
    if "CERTIFICATE" in labels:
        return "a certificate"
    if any(label.endswith("PUBLIC KEY") for label in labels):
        return "a public key"
    if labels:
        return f"a PEM block {labels[0]}"
    if "\\n" in text and "-----BEGIN" in text:
        return "PEM whose line breaks were written as \\n"
    return "nothing" if not text.strip() else "no PEM"


def name_fault(path: Path, document: bytes, now: Millis) -> None:
    """Raises :class:`BadCredentials` for what can be named; a document of another shape is left to the types."""
    try:
        fields = msgspec.json.decode(document, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    if path is Path.APNS:
        _apns(fields, now)
    elif path is Path.FCM:
        _fcm(fields)
    elif path is Path.SMS:
        carriers = fields.get("carriers")
        if not isinstance(carriers, list):
            _sms(fields, "")
            return
        for place, one in enumerate(carriers):
            if isinstance(one, dict):
                _sms(one, f"carriers[{place}].")


def _pem(fields: Mapping[str, Any], field: str, wanted: str, source: str) -> str | None:
    """The text of a field where it holds what is *wanted*; None where it is left out."""
    text = fields.get(field)
    if not isinstance(text, str):
        return None
    kind = kind_of_pem(text)
    if kind != wanted:
        raise BadCredentials(field, f"holds {kind}; {wanted} is wanted: {source}")
    return text


def _apns(fields: Mapping[str, Any], now: Millis) -> None:
    topic = fields.get("topic")
    if isinstance(topic, str) and not topic.strip():
        raise BadCredentials("topic", "is empty")
    if isinstance(topic, str) and _TOPIC.fullmatch(topic) is None:
        raise BadCredentials("topic", "is no bundle id such as com.example.im")
    if fields.get("certificate_pem") is None:
        _pem(fields, "key_pem", "a private key", "Apple's .p8 file as it was downloaded, without a password")
        for field in ("key_id", "team_id"):
            value = fields.get(field)
            if isinstance(value, str) and value and _APPLE_ID.fullmatch(value) is None:
                raise BadCredentials(field, "is none of Apple's: ten capital letters and digits")
    elif fields.get("key_pem") is None:
        text = _pem(fields, "certificate_pem", "a certificate", "without its key, which goes into certificate_key_pem")
        _pem(fields, "certificate_key_pem", "a private key", "that of the certificate, without a password")
        if text is not None and isinstance(topic, str):
            _certificate(text, topic, now)


def _certificate(text: str, topic: str, now: Millis) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
    except ValueError:
        return
    ends = from_datetime(certificate.not_valid_after_utc)
    if ends <= now:
        raise BadCredentials("certificate_pem", f"ended {rfc3339(ends)}: get a new one from Apple")
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.USER_ID):
        app = str(attribute.value)
        if topic != app and not topic.startswith(f"{app}."):
            raise BadCredentials("certificate_pem", f"is for {app!r}, not for the topic {topic!r}")


def _fcm(fields: Mapping[str, Any]) -> None:
    if "service_account" not in fields and ("private_key" in fields or "project_info" in fields):
        raise BadCredentials("service_account", 'is missing: the document goes into it, {"service_account": {...}}')
    account = fields.get("service_account")
    if isinstance(account, str):
        try:
            account = msgspec.json.decode(account.encode("utf-8", "replace"))
        except msgspec.DecodeError:
            raise BadCredentials("service_account", f"is no JSON: {_FCM_FILE}") from None
    if not isinstance(account, dict):
        return
    if "project_info" in account:
        raise BadCredentials("service_account", f"is the app's google-services.json: {_FCM_FILE}")
    kind = account.get("type")
    if isinstance(kind, str) and kind != "service_account":
        raise BadCredentials("service_account", f"is of the type {kind[:40]!r}: {_FCM_FILE}")
    key = _pem(account, "private_key", "a private key", "as it stands in Google's document")
    if key is not None:
        try:
            loaded = load_pem_private_key(key.encode(), password=None)
        except (ValueError, TypeError):
            raise BadCredentials("service_account.private_key", "cannot be read: it is cut or changed") from None
        if not isinstance(loaded, RSAPrivateKey):
            raise BadCredentials("service_account.private_key", "is no RSA key, as Google's are")
    project, email = account.get("project_id"), account.get("client_email")
    if isinstance(project, str) and isinstance(email, str) and (of := other_project(project, email)) is not None:
        raise BadCredentials(
            "service_account.project_id", f"is {project!r}, but client_email is an account of the project {of!r}"
        )


def other_project(project_id: str, client_email: str) -> str | None:
    """The project that a service account's address names, where it is another one."""
    named = _SERVICE_EMAIL.fullmatch(client_email)
    return named[1] if named is not None and named[1] != project_id and ":" not in project_id else None


def _sms(fields: Mapping[str, Any], within: str) -> None:
    if fields.get("carrier", "twilio") != "twilio":
        return
    for field, (beginning, what) in _SIDS.items():
        value = fields.get(field)
        if isinstance(value, str) and value and not value.startswith(beginning):
            raise BadCredentials(f"{within}{field}", f"is no {what} SID: those begin with {beginning}")
    token = fields.get("auth_token")
    if isinstance(token, str) and token and not token.isprintable():
        raise BadCredentials(f"{within}auth_token", "has line breaks or control characters: Twilio's have none")
    sender = fields.get("from_number")
    if isinstance(sender, str) and sender and _SENDER.fullmatch(sender) is None:
        raise BadCredentials(f"{within}from_number", "is no number such as +15005550006, short code or sender id")
