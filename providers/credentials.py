"""An app's provider credentials: typed, checked with words that help, never printed.

Each takes another address and authority than the vendor's, for simulators and proxies.
"""

from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from dispatcher.domain.paths import Path
from providers.apns.signer import BadKey, Signer
from providers.fcm.access import BadAccount, ServiceAccount, read_account


class BadCredentials(ValueError):
    """Credentials that cannot work. *field* names what is wrong; nothing of a secret is quoted."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem


def _check_address(field: str, url: str | None) -> None:
    if url is None:
        return
    try:
        split = urlsplit(url)
        fits = split.scheme in {"http", "https"} and bool(split.hostname) and split.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise BadCredentials(field, "is no http or https address")


class ApnsCredentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider key (``key_pem``, ``key_id``, ``team_id``) or a certificate (``certificate_pem`` and its key)."""

    topic: str
    key_pem: str | None = None
    key_id: str | None = None
    team_id: str | None = None
    certificate_pem: str | None = None
    certificate_key_pem: str | None = None
    endpoint: str | None = None  #: of production
    sandbox_endpoint: str | None = None
    ca_file: str | None = None

    def __repr__(self) -> str:
        return f"ApnsCredentials(topic={self.topic!r}, team_id={self.team_id!r}, key_id={self.key_id!r})"

    def check(self) -> None:
        """Raises :class:`BadCredentials`."""
        if not self.topic.strip():
            raise BadCredentials("topic", "is empty")
        _check_address("endpoint", self.endpoint)
        _check_address("sandbox_endpoint", self.sandbox_endpoint)
        if (self.key_pem is None) == (self.certificate_pem is None):
            raise BadCredentials("key_pem", "give either a provider key or a certificate")
        if self.key_pem is not None:
            if not self.key_id or not self.team_id:
                raise BadCredentials("team_id" if self.key_id else "key_id", "is missing beside key_pem")
            try:
                Signer(self.key_pem, self.key_id, self.team_id)
            except BadKey as fault:
                raise BadCredentials("key_pem", str(fault)) from None
        elif self.certificate_pem is not None:
            _check_certificate(self.certificate_pem, self.certificate_key_pem)


def _check_certificate(certificate_pem: str, key_pem: str | None) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    except ValueError:
        raise BadCredentials("certificate_pem", "is no PEM certificate") from None
    try:
        key = load_pem_private_key((key_pem or "").encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadCredentials("certificate_key_pem", "is no unencrypted PEM private key") from None
    if key.public_key() != certificate.public_key():
        raise BadCredentials("certificate_key_pem", "is not the key of the certificate")


class FcmCredentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Google's service account document, as JSON object or as its text."""

    service_account: dict[str, Any] | str
    endpoint: str | None = None
    ca_file: str | None = None

    def __repr__(self) -> str:
        return "FcmCredentials(...)"

    def account(self) -> ServiceAccount:
        """Raises :class:`BadCredentials`."""
        try:
            return read_account(self.service_account)
        except BadAccount as fault:
            raise BadCredentials("service_account", str(fault)) from None

    def check(self) -> None:
        """Raises :class:`BadCredentials`."""
        _check_address("endpoint", self.endpoint)
        _check_address("service_account", self.account().token_uri)


class SmsCredentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Twilio account with a number or a Messaging Service to send from."""

    account_sid: str
    auth_token: str
    carrier: Literal["twilio"] = "twilio"
    from_number: str | None = None
    messaging_service_sid: str | None = None
    endpoint: str | None = None
    ca_file: str | None = None

    def __repr__(self) -> str:
        return f"SmsCredentials(account_sid={self.account_sid!r})"

    def check(self) -> None:
        """Raises :class:`BadCredentials`."""
        if not self.account_sid or not self.account_sid.isalnum():
            raise BadCredentials("account_sid", "is no Twilio account sid")
        if not self.auth_token:
            raise BadCredentials("auth_token", "is empty")
        if not self.from_number and not self.messaging_service_sid:
            raise BadCredentials("from_number", "give a number or a messaging_service_sid to send from")
        _check_address("endpoint", self.endpoint)


class HttpCarrierCredentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A generic HTTP carrier (``providers.sms.http_carrier``): ``token`` speaks for us, ``secret`` signs callbacks."""

    carrier: Literal["http"]
    endpoint: str
    token: str
    secret: str
    sender: str
    ca_file: str | None = None

    def __repr__(self) -> str:
        return f"HttpCarrierCredentials(endpoint={self.endpoint!r})"

    def check(self) -> None:
        """Raises :class:`BadCredentials`."""
        _check_address("endpoint", self.endpoint)
        for name in ("token", "secret", "sender"):
            value = getattr(self, name)
            if not value or not value.isprintable():
                raise BadCredentials(name, "is empty or unprintable")


CarrierCredentials = SmsCredentials | HttpCarrierCredentials
MAX_CARRIERS = 4


class SmsCarriers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``{"carriers": [...]}``: several carriers, the preferred one first; each document as it would stand alone."""

    carriers: tuple[CarrierCredentials, ...]

    def __repr__(self) -> str:
        return f"SmsCarriers({', '.join(map(repr, self.carriers))})"

    def check(self) -> None:
        """Raises :class:`BadCredentials`."""


class _Carriers(msgspec.Struct):
    carrier: str = "twilio"
    carriers: list[msgspec.Raw] | None = None


Credentials = ApnsCredentials | FcmCredentials | SmsCredentials | HttpCarrierCredentials | SmsCarriers
_TYPES: dict[tuple[Path, str], type[Credentials]] = {
    (Path.APNS, ""): ApnsCredentials,
    (Path.FCM, ""): FcmCredentials,
    (Path.SMS, "twilio"): SmsCredentials,
    (Path.SMS, "http"): HttpCarrierCredentials,
}


def read_credentials(path: Path, document: bytes) -> Credentials:
    """Decodes and checks the JSON of ``PUT /v1/credentials/{path}``; raises :class:`BadCredentials`."""
    if path not in {known for known, _ in _TYPES}:
        raise BadCredentials("", f"{path} takes no credentials")
    try:
        named = msgspec.json.decode(document, type=_Carriers) if path is Path.SMS else _Carriers(carrier="")
        if named.carriers is not None:
            return _read_carriers(document, named.carriers)
        kind = _TYPES.get((path, named.carrier))
        if kind is None:
            raise BadCredentials("carrier", "is none we know: twilio or http")
        credentials: Credentials = msgspec.json.decode(document, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        raise BadCredentials("", f"unusable: {fault}") from None
    credentials.check()
    return credentials


def _read_carriers(document: bytes, carriers: list[msgspec.Raw]) -> SmsCarriers:
    beside = set(msgspec.json.decode(document, type=dict[str, msgspec.Raw])) - {"carriers"}
    if beside:
        raise BadCredentials(min(beside), "stands beside carriers: it belongs into one of them")
    if not 1 <= len(carriers) <= MAX_CARRIERS:
        raise BadCredentials("carriers", f"give 1 to {MAX_CARRIERS}")
    found: list[CarrierCredentials] = []
    for place, one in enumerate(carriers):
        try:
            credentials = read_credentials(Path.SMS, bytes(one))
        except BadCredentials as fault:
            field = f".{fault.field}" if fault.field else ""
            raise BadCredentials(f"carriers[{place}]{field}", fault.problem) from None
        if not isinstance(credentials, SmsCredentials | HttpCarrierCredentials):
            raise BadCredentials(f"carriers[{place}]", "is no single carrier")
        found.append(credentials)
    return SmsCarriers(carriers=tuple(found))


def named_carriers(credentials: Credentials) -> list[tuple[str, CarrierCredentials]]:
    """The SMS carriers under the names they are told apart by: their kind, with its number where there are several."""
    found = carriers_of(credentials)
    kinds = [one.carrier for one in found]
    return [
        (one.carrier if kinds.count(one.carrier) == 1 else f"{one.carrier}-{kinds[:place].count(one.carrier) + 1}", one)
        for place, one in enumerate(found)
    ]


def carriers_of(credentials: Credentials) -> tuple[CarrierCredentials, ...]:
    """The SMS carriers that some credentials name, the preferred one first; none where they are for another path."""
    if isinstance(credentials, SmsCarriers):
        return credentials.carriers
    return (credentials,) if isinstance(credentials, SmsCredentials | HttpCarrierCredentials) else ()
