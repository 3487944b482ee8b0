"""Whether stored credentials can be opened and can work. Asks no vendor, but counts what it said of late; a finding
never quotes a secret."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import msgspec
from cryptography import x509

from dispatcher.credential_faults import name_fault
from dispatcher.credential_verdicts import verdict_of
from dispatcher.domain.clock import DAY, Millis, from_datetime, rfc3339
from dispatcher.domain.paths import Path
from dispatcher.ports.circuits import PathView
from dispatcher.ports.credential_checks import Check
from dispatcher.sealing import SealBroken, Sealer
from providers.credentials import (
    ApnsCredentials,
    BadCredentials,
    CarrierCredentials,
    Credentials,
    named_carriers,
    read_credentials,
)

#: Paths that take credentials.
PATHS = (Path.APNS, Path.FCM, Path.SMS)
#: How long before its end a certificate is complained of; Apple's live a year.
CERTIFICATE_ENDS_SOON: Millis = 14 * DAY
USABLE = "credentials can be used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One thing looked at. *carrier*: of several SMS carriers, which."""

    path: Path
    carrier: str | None = None
    well: bool
    text: str


def look_at(path: Path, sealed: bytes | None, sealer: Sealer, now: Millis, view: PathView | None = None) -> list[Found]:
    """One finding, or one for each of several carriers. *view*: how the path fares; what its vendor said counts."""
    if sealed is None:
        return [Found(path=path, well=True, text="no credentials: this path is skipped")]
    try:
        document = sealer.open(sealed)
    except SealBroken:
        return [Found(path=path, well=False, text="sealed with another secret_key: set previous_secret_keys")]
    try:
        credentials = read(path, document, now)
    except BadCredentials as fault:
        return [Found(path=path, well=False, text=str(fault))]
    found = findings(path, credentials, now)
    said = verdict_of(path, view) if view is not None and len(found) == 1 and found[0].well else None
    return found if said is None else [Found(path=path, well=False, text=said)]


def read(path: Path, document: bytes, now: Millis) -> Credentials:
    """The credentials of a document; raises BadCredentials, in words that name what is there and what is wanted."""
    name_fault(path, document, now)
    return read_credentials(path, document)


def findings(path: Path, credentials: Credentials, now: Millis) -> list[Found]:
    """Of credentials that could be read."""
    return list(_findings(path, credentials, now))


def _findings(path: Path, credentials: Credentials, now: Millis) -> Iterator[Found]:
    carriers = named_carriers(credentials)
    if len(carriers) > 1:
        for name, one in carriers:
            problem = _problem(one, now)
            yield Found(path=path, carrier=name, well=problem is None, text=problem or USABLE)
        return
    problem = _problem(credentials if not carriers else carriers[0][1], now)
    yield Found(path=path, well=problem is None, text=problem or USABLE)


def _problem(credentials: Credentials | CarrierCredentials, now: Millis) -> str | None:
    """What checking the fields alone does not see."""
    ca_file: str | None = getattr(credentials, "ca_file", None)
    if ca_file is not None:
        try:
            FilePath(ca_file).read_bytes()
        except OSError as fault:
            return f"ca_file: cannot be read ({fault.strerror})"
    ends = certificate_ends(credentials) if isinstance(credentials, ApnsCredentials) else None
    if ends is not None and ends <= now + CERTIFICATE_ENDS_SOON:
        return f"certificate_pem: {'ended' if ends <= now else 'ends'} {rfc3339(ends)}: get a new one from Apple"
    return None


def certificate_ends(credentials: ApnsCredentials) -> Millis | None:
    """When a client certificate ends; None with a provider key, which never does."""
    if credentials.certificate_pem is None:
        return None
    return from_datetime(x509.load_pem_x509_certificate(credentials.certificate_pem.encode()).not_valid_after_utc)


def check_of(found: list[Found], now: Millis) -> Check:
    """What is kept of a look: the first thing wrong, else that nothing is."""
    bad = [f"{one.carrier}: {one.text}" if one.carrier else one.text for one in found if not one.well]
    return Check(at=now, well=not bad, text="; ".join(bad) if bad else found[0].text)


def about(path: Path, document: bytes) -> dict[str, Any]:
    """What of credentials is no secret: enough to see which they are."""
    fields = msgspec.json.decode(document)
    if path is Path.FCM:
        account = fields.get("service_account")
        account = msgspec.json.decode(account) if isinstance(account, str) else account or {}
        return {"project_id": account.get("project_id"), "client_email": account.get("client_email")}
    if path is Path.SMS:
        if isinstance(fields.get("carriers"), list):
            return {"carriers": [_about_carrier(one) for one in fields["carriers"]]}
        return _about_carrier(fields)
    shown = {name: fields[name] for name in ("topic", "key_id", "team_id") if fields.get(name) is not None}
    if fields.get("certificate_pem"):
        ends = x509.load_pem_x509_certificate(fields["certificate_pem"].encode()).not_valid_after_utc
        shown["certificate_ends"] = rfc3339(from_datetime(ends))
    return shown


def about_each(document: bytes) -> list[tuple[str, dict[str, Any]]]:
    """The SMS carriers by name, the preferred one first, without what is secret; none where they cannot work."""
    try:
        carriers = named_carriers(read_credentials(Path.SMS, document))
    except BadCredentials:
        return []
    return [(name, _about_carrier(msgspec.structs.asdict(one))) for name, one in carriers]


def _about_carrier(fields: dict[str, Any]) -> dict[str, Any]:
    names = ("carrier", "account_sid", "messaging_service_sid")
    shown = {name: fields[name] for name in names if fields.get(name) is not None}
    if fields.get("carrier") == "http":
        shown["endpoint"] = fields.get("endpoint")
    return shown
